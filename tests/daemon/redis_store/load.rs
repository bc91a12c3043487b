//! Connections that ask without a pause, pipelined, and know of every answer whether it can be right:
//! what each of their users may have stored follows from what was acknowledged and what may have been
//! done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::harness::{Daemon, wait_until};
use crate::requests::{enter, heartbeat, leave, study_time, subscribe, unsubscribe};
use crate::wire::{Client, Framing};

/// Requests of one connection at once.
const PIPELINED: usize = 16;
/// Users of one connection, whom nobody else asks for.
const USERS: usize = 12;

/// The load on a daemon.
pub(super) struct Load {
    connections: Vec<Connection>,
    is_over: Arc<AtomicBool>,
}

struct Connection {
    tag: &'static str,
    figures: Arc<Figures>,
    asking: JoinHandle<Vec<User>>,
}

/// What one connection was answered so far.
#[derive(Default)]
struct Figures {
    /// About a user, and no error.
    served: AtomicUsize,
    /// With an error of the store.
    refused: AtomicUsize,
}

/// What may be stored of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    room: Option<i64>,
    session: Option<String>,
    /// Whether the session resolves to the user.
    is_open: bool,
    time: Option<String>,
}

/// A user, and all that may be true of it.
struct User {
    id: String,
    /// The session that it was opened with last, perhaps.
    latest: String,
    possible: Vec<State>,
}

#[derive(Debug, Clone)]
enum Asked {
    Leave { time: String },
    Enter,
    Open { room: i64, session: String },
    Close { session: String },
}

impl Load {
    /// Two connections for each of these tags: the keys of all their users are in the tag's slot.
    pub(super) fn begin(daemon: &Daemon, tags: &[&'static str]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let connections = tags.iter().flat_map(|tag| [0, 1].map(|number| (*tag, number)));
        let connections = connections.map(|(tag, number)| {
            let figures = Arc::<Figures>::default();
            let (own, over, address) =
                (Arc::clone(&figures), Arc::clone(&is_over), daemon.addresses[0]);
            let asking =
                thread::spawn(move || ask(address, &format!("{{{tag}}}{number}"), &own, &over));
            Connection { tag, figures, asking }
        });
        let load = Self { connections: connections.collect(), is_over };
        load.goes_on();
        load
    }

    /// Waits until every connection was served for a while from now on.
    pub(super) fn goes_on(&self) {
        self.goes_on_for(|_| true);
    }

    /// As [`Self::goes_on`], of the connections with these tags.
    pub(super) fn goes_on_for(&self, is_meant: impl Fn(&str) -> bool) {
        let served = |one: &Connection| one.figures.served.load(Relaxed);
        let before: Vec<_> = self.connections.iter().map(served).collect();
        wait_until("every connection is served", || {
            self.connections.iter().zip(&before).all(|(one, before)| {
                !is_meant(one.tag)
                    || one.asking.is_finished()
                    || served(one) > before + 20 * PIPELINED
            })
        });
    }

    /// Waits until every connection was refused something from now on.
    pub(super) fn is_refused(&self) {
        let refused = |one: &Connection| one.figures.refused.load(Relaxed);
        let before: Vec<_> = self.connections.iter().map(refused).collect();
        wait_until("every connection is refused something", || {
            let mut since = self.connections.iter().zip(&before);
            since.all(|(one, before)| one.asking.is_finished() || refused(one) > *before)
        });
    }

    /// How many requests about the users of these tags were refused so far.
    pub(super) fn refused(&self, is_meant: impl Fn(&str) -> bool) -> usize {
        let meant = self.connections.iter().filter(|one| is_meant(one.tag));
        meant.map(|one| one.figures.refused.load(Relaxed)).sum()
    }

    /// Ends it, and asks once more for every user.
    pub(super) fn end(self, daemon: &Daemon) {
        self.is_over.store(true, Relaxed);
        let mut peer = daemon.connect();
        for Connection { asking, .. } in self.connections {
            for mut user in asking.join().expect("every answer was right") {
                for asked in [Asked::Enter, Asked::Close { session: user.latest.clone() }] {
                    let reply = peer.ask(user.message(&asked));
                    assert!(user.understand(&asked, &reply), "{}: {reply}", user.id);
                }
            }
        }
    }
}

/// Asks until it is over: for each request there is one answer, in its place, and it is right.
fn ask(daemon: SocketAddr, name: &str, figures: &Figures, is_over: &AtomicBool) -> Vec<User> {
    let mut peer = Client::connect(daemon, Framing::Length4);
    let mut users: Vec<_> =
        (0..USERS).map(|number| User::new(format!("{name}-u{number}"))).collect();
    let mut random = fastrand::Rng::new();
    let mut count = 0;
    while !is_over.load(Relaxed) {
        let mut batch = Vec::new();
        let mut bytes = Vec::new();
        for _ in 0..PIPELINED {
            count += 1;
            let user = random.usize(..USERS);
            let asked = users[user].next(count, &mut random);
            bytes.extend(Framing::Length4.frame(users[user].message(&asked).as_bytes()));
            batch.push((user, asked));
        }
        bytes.extend(Framing::Length4.frame(heartbeat().as_bytes()));
        peer.send_bytes(&bytes);
        for (user, asked) in batch {
            let reply = peer.reply();
            let is_served = users[user].understand(&asked, &reply);
            let counted = if is_served { &figures.served } else { &figures.refused };
            counted.fetch_add(1, Relaxed);
        }
        assert_eq!(peer.reply(), "", "a heartbeat needs no store");
    }
    users
}

impl User {
    fn new(id: String) -> Self {
        let nothing = State { room: None, session: None, is_open: false, time: None };
        Self { latest: format!("{id}-none"), possible: vec![nothing], id }
    }

    /// What is asked next. Each value, and each session, is there once.
    fn next(&mut self, count: usize, random: &mut fastrand::Rng) -> Asked {
        match random.u8(..10) {
            0..4 => Asked::Leave { time: count.to_string() },
            4..7 => Asked::Enter,
            7..9 => {
                self.latest = format!("{}-s{count}", self.id);
                Asked::Open { room: random.i64(1..5), session: self.latest.clone() }
            }
            _ => Asked::Close { session: self.latest.clone() },
        }
    }

    fn message(&self, asked: &Asked) -> String {
        match asked {
            Asked::Leave { time } => leave(&self.id, time),
            Asked::Enter => enter(&self.id),
            Asked::Open { room, session } => subscribe(&self.id, *room, session),
            Asked::Close { session } => unsubscribe(session),
        }
    }

    /// Takes an answer in; whether it was no error of the store. Nothing may be true that does not
    /// explain it.
    fn understand(&mut self, asked: &Asked, reply: &str) -> bool {
        let error: Value = match reply.starts_with("{\"error\"") {
            true => serde_json::from_str::<Value>(reply).unwrap()["error"].clone(),
            false => Value::Null,
        };
        if error["code"] == "CHAT-031" {
            let detail = error["detail"].as_str().unwrap();
            if !detail.starts_with("the store is away") {
                self.allow_for(asked);
            }
            return false;
        }
        let explained: Vec<_> = self
            .possible
            .iter()
            .filter_map(|before| {
                let (after, expected) = before.after(&self.id, asked);
                let is_it = match expected {
                    Some(expected) => expected == reply,
                    None => error["code"] == "CHAT-001",
                };
                is_it.then_some(after)
            })
            .collect();
        let possible = &self.possible;
        assert!(!explained.is_empty(), "{} {asked:?}: {reply}, of {possible:?}", self.id);
        self.possible.clear();
        explained.into_iter().for_each(|state| self.may_be(state));
        true
    }

    /// It was done, or not; of an opening perhaps half: then the record names a session that does not
    /// resolve.
    fn allow_for(&mut self, asked: &Asked) {
        for before in self.possible.clone() {
            let (after, _) = before.after(&self.id, asked);
            if matches!(asked, Asked::Open { .. }) {
                self.may_be(State { is_open: false, ..after.clone() });
            }
            self.may_be(after);
        }
    }

    fn may_be(&mut self, state: State) {
        if !self.possible.contains(&state) {
            self.possible.push(state);
        }
    }
}

impl State {
    /// What is stored if this is done, and what is answered; `None` if the session is nobody's.
    fn after(&self, id: &str, asked: &Asked) -> (Self, Option<String>) {
        let mut after = self.clone();
        match asked {
            Asked::Leave { time } => after.time = Some(time.clone()),
            Asked::Enter => {}
            Asked::Open { room, session } => {
                after.room = Some(*room);
                after.session = Some(session.clone());
                after.is_open = true;
            }
            Asked::Close { session } => {
                if !self.is_open || self.session.as_ref() != Some(session) {
                    return (after, None);
                }
                after.is_open = false;
            }
        }
        let reply = match asked {
            Asked::Leave { .. } | Asked::Enter => study_time(id, after.time.as_deref()),
            Asked::Open { .. } | Asked::Close { .. } => {
                let text = |text: &Option<String>| Value::from(text.clone());
                let (room, session) = (Value::from(after.room), text(&after.session));
                let time = text(&after.time);
                format!(
                    r#"{{"userId":"{id}","roomId":{room},"sessionId":{session},"studyTime":{time}}}"#
                )
            }
        };
        (after, Some(reply))
    }
}
