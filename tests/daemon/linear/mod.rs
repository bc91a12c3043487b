//! Histories of many clients at once, told apart from any that could not have happened one after the
//! other: several daemons on one Redis, with and without faults, and one daemon on its own stores.

mod checker;

use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::checker::{OPERATIONS_MAX, Record, is_linearizable};
use crate::fleet::Fleet;
use crate::harness::{Daemon, Setup, rest};
use crate::place::{Place, wait_for};
use crate::requests::{enter, leave, subscribe, unsubscribe};
use crate::servers::redis::RedisServer;
use crate::wire::{Client, Framing};

/// Clients at once.
const CLIENTS: usize = 6;
/// What each asks for before all turn to other users.
const OPERATIONS: usize = OPERATIONS_MAX / CLIENTS;
/// Users who are asked for at a time; they take sessions from each other.
const USERS: u8 = 2;

/// How often all clients turn to other users. More may be asked for: `LINEAR_ROUNDS=5000`.
fn rounds(usual: usize) -> usize {
    std::env::var("LINEAR_ROUNDS").map_or(usual, |text| text.parse().expect("a number"))
}

/// `LINEAR_SEED` repeats what was printed, as far as threads repeat anything.
fn seed() -> u64 {
    let seed = std::env::var("LINEAR_SEED").map(|text| text.parse().expect("a number"));
    let seed = seed.unwrap_or_else(|_| fastrand::u64(..));
    println!("LINEAR_SEED={seed}");
    seed
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Open { user: u8, room: u8, session: u8 },
    Close { session: u8 },
    Write { user: u8, time: u16 },
    Read { user: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Record(Record),
    Nobody,
    Done,
    Time(Option<u16>),
}

/// An operation, when it was asked for, and when and how it was answered, if its outcome is known.
#[derive(Debug, Clone, Copy)]
struct Asked {
    operation: Operation,
    at: Instant,
    answered: Option<(Instant, Answer)>,
}

/// Whose sessions are opened in a round. Not among them: a session that is opened again while
/// another daemon still removes the index with which it was replaced (`store::redis::sessions` says
/// what then may be seen).
#[derive(Clone, Copy)]
enum Custom {
    /// Every opening is of a new session and replaces the user's latest one.
    Replace,
    /// Each user has one, and opens it again and again.
    Return,
    /// All users have the same, and take it from each other.
    Share,
}

impl Custom {
    const ALL: [Self; 3] = [Self::Replace, Self::Return, Self::Share];
    /// With a Redis that loses replies, only sessions that are opened once are never mistaken: a
    /// repetition knows the record, and not the index.
    const WITH_FAULTS: [Self; 1] = [Self::Replace];

    /// The session that the user opens with this operation.
    fn session(self, user: u8, number: usize, step: usize) -> u8 {
        match self {
            Self::Replace => u8::try_from(number * OPERATIONS + step).unwrap(),
            Self::Return => user,
            Self::Share => 0,
        }
    }
}

/// What a client knows of what came of its request.
enum Heard {
    Answer(Answer),
    /// It was not done.
    Refused,
    /// It may have been done, or may be at any time.
    Unknown,
}

fn heard(operation: Operation, reply: &str) -> Heard {
    let reply: Value = serde_json::from_str(reply).unwrap();
    match reply["error"]["code"].as_str() {
        Some("CHAT-001") => return Heard::Answer(Answer::Nobody),
        Some("CHAT-031") => {
            let detail = reply["error"]["detail"].as_str().unwrap();
            let is_untouched = detail.starts_with("the store is away");
            return if is_untouched { Heard::Refused } else { Heard::Unknown };
        }
        Some(code) => panic!("{code}: {reply}"),
        None => {}
    }
    let time = |name: &str| reply[name].as_str().map(|time| time.parse().unwrap());
    Heard::Answer(match operation {
        Operation::Open { .. } | Operation::Close { .. } => {
            let session = reply["sessionId"].as_str();
            Answer::Record(Record {
                room: reply["roomId"].as_u64().map(|room| u8::try_from(room).unwrap()),
                session: session.map(|id| id.rsplit('-').next().unwrap().parse().unwrap()),
                time: time("studyTime"),
            })
        }
        Operation::Write { .. } => Answer::Done,
        Operation::Read { .. } => Answer::Time(time("study_time")),
    })
}

/// One of the clients: what it asks for in a round.
struct Asking<'a> {
    peer: Client,
    random: fastrand::Rng,
    number: usize,
    /// The session that each user was opened with last, by any client.
    latest: &'a [AtomicU8; USERS as usize],
}

impl Asking<'_> {
    fn operation(&mut self, custom: Custom, step: usize) -> Operation {
        let user = self.random.u8(..USERS);
        let latest = &self.latest[usize::from(user)];
        match self.random.u8(..10) {
            0..3 => {
                let session = custom.session(user, self.number, step);
                latest.store(session, Relaxed);
                Operation::Open { user, room: self.random.u8(1..4), session }
            }
            3..5 => Operation::Close { session: latest.load(Relaxed) },
            5..8 => {
                let time = u16::try_from(self.number * 1000 + step).unwrap();
                Operation::Write { user, time }
            }
            _ => Operation::Read { user },
        }
    }

    /// Nothing is noted of what left no trace.
    fn ask(&mut self, round: usize, operation: Operation) -> Option<Asked> {
        let name = |user: u8| format!("u{round}-{user}");
        let session = |session: u8| format!("s{round}-{session}");
        let message = match operation {
            Operation::Open { user, room, session: with } => {
                subscribe(&name(user), room.into(), &session(with))
            }
            Operation::Close { session: with } => unsubscribe(&session(with)),
            Operation::Write { user, time } => leave(&name(user), &time.to_string()),
            Operation::Read { user } => enter(&name(user)),
        };
        let at = Instant::now();
        let reply = self.peer.ask(message);
        match (heard(operation, &reply), operation) {
            (Heard::Answer(answer), _) => {
                Some(Asked { operation, at, answered: Some((Instant::now(), answer)) })
            }
            (Heard::Refused, _) | (Heard::Unknown, Operation::Read { .. }) => None,
            (Heard::Unknown, _) => Some(Asked { operation, at, answered: None }),
        }
    }
}

/// All clients' histories of every round.
fn histories(daemons: &[Daemon], customs: &[Custom], rounds: usize, seed: u64) -> Vec<Vec<Asked>> {
    let (barrier, latest) = (Barrier::new(CLIENTS), Default::default());
    let addresses: Vec<SocketAddr> = daemons.iter().map(|daemon| daemon.addresses[0]).collect();
    let of_client = |number: usize| {
        let peer = Client::connect(addresses[number % addresses.len()], Framing::Length4);
        let random = fastrand::Rng::with_seed(seed.wrapping_add(number as u64));
        let mut asking = Asking { peer, random, number, latest: &latest };
        let mut of_rounds = Vec::new();
        for round in 0..rounds {
            let custom = customs[round % customs.len()];
            barrier.wait();
            let mut asked = Vec::new();
            for step in 0..OPERATIONS {
                let operation = asking.operation(custom, step);
                asked.extend(asking.ask(round, operation));
            }
            of_rounds.push(asked);
        }
        of_rounds
    };
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || of_client(number))).collect();
        let mut all: Vec<Vec<Asked>> = vec![Vec::new(); rounds];
        for client in clients {
            for (all, asked) in all.iter_mut().zip(client.join().unwrap()) {
                all.extend(asked);
            }
        }
        all
    })
}

fn check(daemons: &[Daemon], customs: &[Custom], rounds: usize) {
    let seed = seed();
    let mut known = 0;
    for mut history in histories(daemons, customs, rounds, seed) {
        known += history.iter().filter(|asked| asked.answered.is_some()).count();
        if !is_linearizable(&history) {
            history.sort_by_key(|asked| asked.at);
            let zero = history[0].at;
            for Asked { operation, at, answered } in &history {
                let end = answered.map(|(at, answer)| (at - zero, answer));
                println!("{:?} {operation:?} {end:?}", *at - zero);
            }
            panic!("no order explains this history, of seed {seed}");
        }
    }
    assert!(known > rounds * CLIENTS * OPERATIONS / 4, "too little was answered: {known}");
}

fn on(place: &Place, fleet: &Fleet, count: usize) -> Vec<Daemon> {
    let setup = Setup::with(fleet).keeps(place);
    (0..count).map(|_| setup.start()).collect()
}

#[test]
fn a_daemon_on_a_store_of_its_own_is_linearizable() {
    let fleet = Fleet::new();
    for place in [Place::memory(), Place::embedded()] {
        check(&on(&place, &fleet, 1), &Custom::ALL, rounds(9));
    }
}

#[test]
fn three_daemons_on_one_redis_are_linearizable() {
    let (server, fleet) = (wait_for(RedisServer::start_forgetful()), Fleet::new());
    check(&on(&Place::at(server.url().expose()), &fleet, 3), &Custom::ALL, rounds(21));
}

/// Connections break, scripts are forgotten, Redis hangs for a moment: nothing is done twice
/// that anybody could see, and nothing is done that was told not to be.
#[test]
fn three_daemons_on_a_redis_with_faults_are_linearizable() {
    let (server, fleet) = (wait_for(RedisServer::start_forgetful()), Fleet::new());
    let daemons = on(&Place::at(server.url().expose()), &fleet, 3);
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(|| {
            let is_over = is_over;
            let mut random = fastrand::Rng::new();
            while is_over.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                disturb(&server, &mut random);
                rest(Duration::from_millis(random.u64(1..15)));
            }
        });
        check(&daemons, &Custom::WITH_FAULTS, rounds(20));
        drop(over);
    });
}

fn disturb(server: &RedisServer, random: &mut fastrand::Rng) {
    match random.u8(..8) {
        0 => wait_for(server.ask::<()>(&["SCRIPT", "FLUSH"])),
        1 => {
            server.pause();
            rest(Duration::from_millis(random.u64(1..20)));
            server.resume();
        }
        _ => {
            let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
            wait_for(server.ask::<redis::Value>(&kill));
        }
    }
}
