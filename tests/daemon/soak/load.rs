//! Those who ask: peers of every kind, each at its own pace, whatever else happens.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use crate::harness::{Daemon, rest};
use crate::requests::{alert, enter, heartbeat, kick_out, leave, listing, subscribe, unsubscribe};
use crate::wire::{Client, Framing};

/// Peers that ask.
pub(super) const CLIENTS: usize = 12;
/// Users of each.
const USERS: usize = 100;
/// Between two requests of one peer.
const PAUSE: Duration = Duration::from_millis(60);

/// The load on one daemon.
pub(super) struct Load {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Held for reading while a request is under way.
    asking: RwLock<()>,
    is_over: AtomicBool,
    answered: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
}

/// What became of the requests so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    /// Requests with an answer.
    pub(super) answered: u64,
    /// Those of them whose answer is an error.
    pub(super) refused: u64,
    /// Requests after which the daemon closed, or said nothing.
    pub(super) unanswered: u64,
}

impl Load {
    pub(super) fn begin(daemon: &Daemon) -> Self {
        let shared = Arc::new(Shared::default());
        let addresses = [daemon.addresses[0], daemon.addresses[1]];
        let client = |id: usize| {
            let shared = Arc::clone(&shared);
            let (address, framing) = match id % 2 {
                0 => (addresses[0], Framing::Length4),
                _ => (addresses[1], Framing::Crlf),
            };
            thread::spawn(move || shared.ask_on_and_on(id, address, framing))
        };
        let threads = (0..CLIENTS).map(client).collect();
        Self { shared, threads }
    }

    /// Nobody asks anything for as long as this is kept; all stay connected.
    pub(super) fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.asking.write().unwrap()
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            answered: self.shared.answered.load(Relaxed),
            refused: self.shared.refused.load(Relaxed),
            unanswered: self.shared.unanswered.load(Relaxed),
        }
    }

    pub(super) fn end(mut self) -> Figures {
        self.shared.is_over.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        self.figures()
    }
}

/// A test that fails leaves nobody behind.
impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
    }
}

impl Shared {
    fn ask_on_and_on(&self, id: usize, address: SocketAddr, framing: Framing) {
        let mut peer = None;
        while !self.is_over.load(Relaxed) {
            rest(PAUSE);
            let _asking = self.asking.read().unwrap();
            // One in a hundred comes anew.
            if fastrand::u8(..100) == 0 {
                peer = None;
            }
            let connected = peer.get_or_insert_with(|| Client::connect(address, framing));
            connected.send(request(id));
            match connected.try_reply() {
                Ok(reply) => {
                    self.answered.fetch_add(1, Relaxed);
                    self.refused.fetch_add(u64::from(reply.contains("\"error\"")), Relaxed);
                }
                Err(_) => {
                    self.unanswered.fetch_add(1, Relaxed);
                    peer = None;
                }
            }
        }
    }
}

/// Of a hundred: 35 enter and leave rooms, 30 read, 20 record, 10 command, 5 are of another kind.
fn request(client: usize) -> String {
    let number = fastrand::usize(..USERS);
    let user = format!("c{client}-u{number}");
    let room = i64::try_from(number % 20).unwrap_or_default();
    match fastrand::u8(..100) {
        0..20 => subscribe(&user, room, &format!("{user}-s{}", fastrand::u8(..3))),
        20..35 => unsubscribe(&format!("{user}-s{}", fastrand::u8(..3))),
        35..65 => enter(&user),
        65..85 => leave(&user, &format!("00:{:02}:00", fastrand::u8(..60))),
        85..92 => kick_out(&user, room),
        92..95 => alert(&user, room, 1),
        95..98 => heartbeat(),
        98 => listing(&[(&user, "01:00:00")]),
        _ => "not a message".to_owned(),
    }
}
