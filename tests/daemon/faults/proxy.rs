//! A network that fails as a test wants it to: it stands between two sides, and passes on, holds
//! back, loses or cuts off what they say to each other.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::harness::{WAIT_MAX, rest, wait_until};

/// From whom to whom. The client is who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// What becomes of the bytes that go one way, on all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// They pass.
    Free,
    /// They pass, so much later.
    Delayed(Duration),
    /// They pass one by one, each a packet of its own.
    Trickles,
    /// They wait until the flow is another.
    Held,
    /// They are taken, and never arrive.
    Lost,
    /// So many pass, on whatever connections; then the one they passed on breaks, and the flow is
    /// free. With none to pass it breaks when something comes.
    Cut(usize, Break),
}

/// How a connection breaks, on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Both sides are told that the other has closed.
    Close,
    /// Both sides are told that there is no such connection.
    Reset,
    /// Nobody is told anything.
    Silence,
}

/// What becomes of those who connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// They are led to the server.
    Open,
    /// They are let in and meet with this.
    Breaks(Break),
}

/// A network between clients and one server.
pub(crate) struct Proxy {
    /// Where clients find it.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    door: Door,
    flows: [Flow; 2],
    /// Bytes that came, whatever became of them.
    seen: [u64; 2],
    cuts: usize,
    links: Vec<Weak<Link>>,
    gone: bool,
}

/// A connection on its two sides.
struct Link {
    client: TcpStream,
    server: TcpStream,
    broken: OnceLock<Break>,
    frozen: AtomicBool,
    /// Something was lost this way, so all that comes after it is.
    holed: [AtomicBool; 2],
}

/// Connections on which everything is held back.
pub(crate) struct Frozen {
    links: Vec<Weak<Link>>,
}

impl Proxy {
    /// Lets everything pass at first.
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            door: Door::Open,
            flows: [Flow::Free; 2],
            seen: [0; 2],
            cuts: 0,
            links: Vec::new(),
            gone: false,
        };
        let shared = Arc::new(Shared { server, state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared }
    }

    pub(crate) fn door(&self, door: Door) {
        self.shared.change(|state| state.door = door);
    }

    pub(crate) fn flow(&self, way: Way, flow: Flow) {
        self.shared.change(|state| state.flows[way as usize] = flow);
    }

    /// Everything passes from now on, and everybody has heard of what broke before.
    pub(crate) fn heal(&self) {
        self.wait_reset();
        self.shared.change(|state| {
            state.door = Door::Open;
            state.flows = [Flow::Free; 2];
        });
    }

    /// Breaks every connection that is open now.
    pub(crate) fn break_all(&self, how: Break) {
        let links = std::mem::take(&mut self.shared.state().links);
        links.iter().filter_map(Weak::upgrade).for_each(|link| link.break_off(how));
        // Whoever holds bytes back looks again.
        self.shared.change(|_| {});
    }

    /// Holds back what comes on the connections that are open now, both ways, until told to go on.
    /// What its sender has given up by then, by a reset, never arrives.
    pub(crate) fn freeze(&self) -> Frozen {
        let links = self.shared.state().links.clone();
        links.iter().filter_map(Weak::upgrade).for_each(|link| link.frozen.store(true, Relaxed));
        Frozen { links }
    }

    /// What was held back on these goes on. Waits until each of them has come to its end.
    pub(crate) fn thaw_to_the_end(&self, frozen: &Frozen) {
        let links = || frozen.links.iter().filter_map(Weak::upgrade);
        links().for_each(|link| link.frozen.store(false, Relaxed));
        self.shared.change(|_| {});
        wait_until("frozen connections end", || links().next().is_none());
    }

    /// Bytes that came so far, whatever became of them.
    pub(crate) fn seen(&self, way: Way) -> u64 {
        self.shared.state().seen[way as usize]
    }

    /// Connections cut off so far, as [`Flow::Cut`] has it.
    pub(crate) fn cuts(&self) -> usize {
        self.shared.state().cuts
    }

    /// Waits until so many were cut off, and everybody has heard of it.
    pub(crate) fn wait_cuts(&self, count: usize) {
        self.shared.wait_until("a connection is cut off", |state| state.cuts >= count);
        self.wait_reset();
    }

    pub(crate) fn wait_seen(&self, way: Way, bytes: u64) {
        self.shared.wait_until("enough is said", |state| state.seen[way as usize] >= bytes);
    }

    fn wait_reset(&self) {
        let is_reset = |link: Arc<Link>| link.broken.get() == Some(&Break::Reset);
        wait_until("what was to be reset is", || {
            !self.shared.state().links.iter().filter_map(Weak::upgrade).any(is_reset)
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| state.gone = true);
        self.break_all(Break::Reset);
        // Wakes the listener's thread, which then ends.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn wait_until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + WAIT_MAX;
        let mut state = self.state();
        while !holds(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain until {what}");
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Passes on what came, or does with it what the flow wants.
    fn pass(&self, link: &Link, way: Way, mut bytes: &[u8]) {
        let (_, to) = link.sides(way);
        while !bytes.is_empty() {
            let flow = match self.next_flow(link, way, bytes.len()) {
                Some(flow) => flow,
                None => return,
            };
            let count = match flow {
                Flow::Free => bytes.len(),
                Flow::Delayed(time) => {
                    rest(time);
                    bytes.len()
                }
                Flow::Trickles => 1,
                Flow::Cut(left, _) => left.min(bytes.len()),
                Flow::Held | Flow::Lost => return,
            };
            let (now, later) = bytes.split_at(count);
            bytes = later;
            if let Flow::Cut(left, how) = flow
                && left == count
            {
                // From here on nothing passes the other way.
                let is_first = link.broken.set(how).is_ok();
                drop(write_all(to, now));
                if is_first {
                    link.tell(how);
                }
                return self.change(|state| state.cuts += 1);
            }
            if write_all(to, now).is_err() {
                return link.break_off(Break::Reset);
            }
        }
    }

    /// What to do with so many bytes; nothing, if the connection is broken or they get lost.
    fn next_flow(&self, link: &Link, way: Way, count: usize) -> Option<Flow> {
        let mut state = self.state();
        loop {
            if link.broken.get().is_some() || link.holed[way as usize].load(Relaxed) {
                return None;
            }
            let flow = state.flows[way as usize];
            if flow == Flow::Held || link.frozen.load(Relaxed) {
                state = self.changed.wait(state).unwrap();
                link.forget_if_given_up(way);
                continue;
            }
            match flow {
                Flow::Lost => {
                    link.holed[way as usize].store(true, Relaxed);
                    return None;
                }
                Flow::Cut(left, how) => {
                    let next = match left.checked_sub(count) {
                        Some(left @ 1..) => Flow::Cut(left, how),
                        Some(0) | None => Flow::Free,
                    };
                    state.flows[way as usize] = next;
                }
                Flow::Free | Flow::Delayed(_) | Flow::Trickles | Flow::Held => {}
            }
            return Some(flow);
        }
    }
}

impl Link {
    fn sides(&self, way: Way) -> (&TcpStream, &TcpStream) {
        match way {
            Way::ToServer => (&self.client, &self.server),
            Way::ToClient => (&self.server, &self.client),
        }
    }

    /// What was on its way when its sender reset the connection never arrives.
    fn forget_if_given_up(&self, way: Way) {
        let (from, _) = self.sides(way);
        if !matches!(from.take_error(), Ok(None)) {
            self.break_off(Break::Reset);
        }
    }

    /// The first break counts.
    fn break_off(&self, how: Break) {
        if self.broken.set(how).is_ok() {
            self.tell(how);
        }
    }

    fn tell(&self, how: Break) {
        for side in [&self.client, &self.server] {
            match how {
                Break::Close => drop(side.shutdown(Shutdown::Write)),
                Break::Reset => {
                    drop(SockRef::from(side).set_linger(Some(Duration::ZERO)));
                    // Wakes our reader, and is not seen outside: the reset is sent when both are done.
                    drop(side.shutdown(Shutdown::Read));
                }
                Break::Silence => {}
            }
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let Ok(client) = client else { return };
        let door = {
            let state = shared.state();
            if state.gone {
                return;
            }
            state.door
        };
        // A server that is not there is one that hangs up.
        if let Ok(server) = TcpStream::connect(shared.server) {
            lead(client, server, door, shared);
        }
    }
}

fn lead(client: TcpStream, server: TcpStream, door: Door, shared: &Arc<Shared>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let link = Arc::new(Link {
        client,
        server,
        broken: OnceLock::new(),
        frozen: AtomicBool::default(),
        holed: Default::default(),
    });
    if let Door::Breaks(how) = door {
        link.break_off(how);
    }
    {
        let mut state = shared.state();
        state.links.retain(|link| link.strong_count() > 0);
        state.links.push(Arc::downgrade(&link));
    }
    for way in [Way::ToServer, Way::ToClient] {
        let (link, shared) = (Arc::clone(&link), Arc::clone(shared));
        thread::spawn(move || pump(&shared, &link, way));
    }
}

/// Until its source ends. Both sides are closed when both ways are done.
fn pump(shared: &Shared, link: &Link, way: Way) {
    let (mut from, to) = link.sides(way);
    let mut chunk = [0; 16 * 1024];
    while link.broken.get() != Some(&Break::Reset) {
        match from.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                shared.change(|state| state.seen[way as usize] += count as u64);
                shared.pass(link, way, &chunk[..count]);
            }
        }
    }
    if link.broken.get() != Some(&Break::Reset) {
        drop(to.shutdown(Shutdown::Write));
    }
}

fn write_all(mut to: &TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)
}
