//! The table of what the project promises about speed, measured.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::child::Server;
use super::load::{Load, Pace, REPLY_MAX, Speech};
use super::messages::Mix;
use super::table::{Figures, Goal, Row};
use super::tail::{self, Pair};
use super::tally::Round;
use super::{Error, Outcome, idle, million, redis_benchmark, threads};
use crate::cli::child::Folder;
use crate::connection::frame::Framing;

/// Users that are spoken of.
const USERS: u64 = 100_000;
/// Users of the rows that are about many.
const MANY_USERS: u64 = 1_000_000;
/// The rate of the open loop.
const OPEN_RATE: f64 = 20_000.0;
/// Connections of the open loop.
const OPEN_CONNECTIONS: usize = 64;
/// Connections that say nothing.
const IDLE_CONNECTIONS: usize = 10_000;
/// Requests by which the speed of Redis is guessed, so that its rounds last as long as ours.
const GUESS_REQUESTS: u64 = 20_000;
/// What Redis is given to store: a record as the daemon writes it.
const RECORD: &str =
    r#"{"userId":"bench-p00000000","roomId":7,"sessionId":"bench-s00000000","studyTime":null}"#;
/// One HSET in a script.
const SCRIPT: &str = "return redis.call('HSET',KEYS[1],'data',ARGV[1])";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    pub(super) rounds: u32,
    duration: Duration,
    warm_up: Duration,
    /// Pairs of rounds by which tails are compared, and how long each round lasts.
    tail_pairs: u32,
    tail_duration: Duration,
    tail_warm_up: Duration,
    idle_connections: usize,
    many_users: u64,
}

/// Where a daemon keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Memory,
    Embedded,
    Redis,
}

impl Effort {
    fn new(quick: bool) -> Self {
        if quick {
            Self {
                rounds: 3,
                duration: Duration::from_millis(200),
                warm_up: Duration::from_millis(50),
                tail_pairs: 4,
                tail_duration: Duration::from_millis(200),
                tail_warm_up: Duration::from_millis(50),
                idle_connections: IDLE_CONNECTIONS / 10,
                many_users: MANY_USERS / 50,
            }
        } else {
            Self {
                rounds: 5,
                duration: Duration::from_secs(3),
                warm_up: Duration::from_secs(1),
                tail_pairs: 40,
                tail_duration: Duration::from_secs(1),
                tail_warm_up: Duration::from_millis(250),
                idle_connections: IDLE_CONNECTIONS,
                many_users: MANY_USERS,
            }
        }
    }

    /// A million, or as many as a quick look allows.
    pub(super) fn users(self) -> u64 {
        self.many_users
    }

    pub(super) fn load(self, connections: usize, pace: Pace) -> Load {
        Load {
            speech: Speech::Frames,
            framing: Framing::Length4,
            mix: Mix::Mixed,
            users: USERS,
            connections,
            pace,
            warm_up: self.warm_up,
            duration: self.duration,
            reply_max: REPLY_MAX,
            threads: threads(),
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command's own output")]
pub(super) fn run(quick: bool, as_json: bool) -> Result<Outcome, Error> {
    let effort = Effort::new(quick);
    if !as_json {
        println!("{}", head(effort));
    }
    let mut rows = Vec::new();
    for measure in MEASUREMENTS {
        for row in measure(effort)? {
            if !as_json {
                println!("{}", row.line());
            }
            rows.push(row);
        }
    }
    if as_json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        println!("{}", json!({"rounds": effort.rounds, "rows": rows}));
    }
    let clean = rows.iter().all(|row| row.errors == 0);
    Ok(if clean { Outcome::Clean } else { Outcome::Errors })
}

/// Measures one thing, and tells of it in a line or several.
type Measure = fn(Effort) -> Result<Vec<Row>, Error>;

/// The lines of the table, in its order.
const MEASUREMENTS: [Measure; 12] = [
    |effort| closed("memory store, 32 x 1", Store::Memory, 32, 1, 0.90, effort),
    |effort| closed("memory store, 64 x 16", Store::Memory, 64, 16, 0.50, effort),
    |effort| closed("embedded store, 32 x 1", Store::Embedded, 32, 1, 0.70, effort),
    |effort| closed("embedded store, 64 x 16", Store::Embedded, 64, 16, 0.30, effort),
    |effort| {
        let set = ["HSET", "realTimeData:__rand_int__", "data", RECORD];
        redis("Redis store, 32 x 1", "redis-benchmark HSET", (32, 1), &set, effort)
    },
    |effort| {
        let eval = ["EVAL", SCRIPT, "1", "realTimeData:__rand_int__", RECORD];
        redis("Redis store, 64 x 16", "redis-benchmark EVAL of one HSET", (64, 16), &eval, effort)
    },
    open,
    idle_memory,
    million::memory,
    million::restart,
    million::night,
    million::request,
];

/// The daemon against echo, in turn.
fn closed(
    what: &'static str,
    store: Store,
    connections: usize,
    in_flight: usize,
    goal: f64,
    effort: Effort,
) -> Result<Vec<Row>, Error> {
    let load = effort.load(connections, Pace::Closed { in_flight });
    let goal = Goal::Reach(goal);
    let mut row = Row::new(what, "echo", goal);
    let folder = Folder::create("bench").map_err(Error::io("can't make a temporary folder"))?;
    let daemon = Server::daemon(folder.path(), &config(store, None, NOBODY))?;
    let echo = Server::echo(load.framing)?;
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        reference.push(row.measure(echo.target(), &load, Round::throughput)?);
        ours.push(row.measure(daemon.target(), &load, Round::throughput)?);
    }
    row.outcome = Ok(Figures::ratio(&ours, &reference, "requests/s"));
    Ok(vec![row])
}

/// The tail of an open loop, against echo's: in many short rounds, so that what stalls the machine meets
/// both alike. Whoever has the first round of a pair has the second of the next.
fn open(effort: Effort) -> Result<Vec<Row>, Error> {
    let goal = Goal::AtMost(2.0, "");
    let mut row = Row::new("memory store, open loop at 20,000/s, p99", "echo", goal);
    let load = Load {
        warm_up: effort.tail_warm_up,
        duration: effort.tail_duration,
        ..effort.load(OPEN_CONNECTIONS, Pace::Open { rate: OPEN_RATE })
    };
    let folder = Folder::create("bench").map_err(Error::io("can't make a temporary folder"))?;
    let daemon = Server::daemon(folder.path(), &config(Store::Memory, None, NOBODY))?;
    let echo = Server::echo(load.framing)?;
    let mut pairs = Vec::new();
    for pair in 0..effort.tail_pairs {
        let (ours, reference) = if pair % 2 == 0 {
            let ours = row.round(daemon.target(), &load)?;
            (ours, row.round(echo.target(), &load)?)
        } else {
            let reference = row.round(echo.target(), &load)?;
            (row.round(daemon.target(), &load)?, reference)
        };
        pairs.push(Pair { ours, reference });
    }
    row.outcome = Ok(tail::p99(&pairs));
    Ok(vec![row])
}

/// The daemon against what `redis-benchmark` reaches with one command, on the same Redis, in turn.
fn redis(
    what: &'static str,
    compared_with: &'static str,
    (connections, in_flight): (usize, usize),
    command: &[&str],
    effort: Effort,
) -> Result<Vec<Row>, Error> {
    let mut row = Row::new(what, compared_with, Goal::Reach(0.50));
    for program in ["redis-server", "redis-benchmark"] {
        if Command::new(program).arg("--version").output().is_err() {
            row.outcome = Err(format!("{program} is not installed"));
            return Ok(vec![row]);
        }
    }
    let folder = Folder::create("bench").map_err(Error::io("can't make a temporary folder"))?;
    let redis = Server::redis(folder.path())?;
    let daemon = Server::daemon(folder.path(), &config(Store::Redis, Some(&redis), NOBODY))?;
    let load = effort.load(connections, Pace::Closed { in_flight });
    let commands = |requests| {
        redis_benchmark::commands_per_second(
            &redis,
            connections,
            in_flight,
            requests,
            USERS,
            command,
        )
    };
    let guess = commands(GUESS_REQUESTS)?;
    let requests = (guess * effort.duration.as_secs_f64()) as u64;
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        reference.push(commands(requests.max(GUESS_REQUESTS))?);
        ours.push(row.measure(daemon.target(), &load, Round::throughput)?);
    }
    row.outcome = Ok(Figures::ratio(&ours, &reference, "requests/s"));
    Ok(vec![row])
}

/// Memory of connections that say nothing: the daemon's against echo's.
fn idle_memory(effort: Effort) -> Result<Vec<Row>, Error> {
    let goal = Goal::AtMost(4.0, "KiB");
    let mut row = Row::new("idle connections, resident memory each", "above echo's", goal);
    if let Some(obstacle) = idle::obstacle(effort.idle_connections) {
        row.outcome = Err(obstacle);
        return Ok(vec![row]);
    }
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        // Memory that was used once stays with a process, so each round has new ones.
        let folder = Folder::create("bench").map_err(Error::io("can't make a temporary folder"))?;
        let echo = Server::echo(Framing::Length4)?;
        let daemon = Server::daemon(folder.path(), &config(Store::Memory, None, NOBODY))?;
        let kib = |server| {
            idle::bytes_per_connection(server, effort.idle_connections).map(|bytes| bytes / 1024.0)
        };
        reference.push(kib(&echo)?);
        ours.push(kib(&daemon)?);
    }
    row.outcome = Ok(Figures::difference(&ours, &reference, "KiB"));
    Ok(vec![row])
}

/// Where nobody listens.
pub(super) const NOBODY: &str = "127.0.0.1:1";

/// No request calls a gateway; nobody listens where it would, but for auth.
pub(super) fn config(store: Store, redis: Option<&Server>, auth: &str) -> String {
    let url = match (store, redis) {
        (Store::Redis, Some(redis)) => format!("redis://{}", redis.address),
        (Store::Embedded, _) => "embedded:state".to_owned(),
        (Store::Memory | Store::Redis, _) => "memory:".to_owned(),
    };
    let gateway = |(peer, address)| format!("[gateways.{peer}]\naddress = \"{address}\"\n");
    let gateways: String =
        [("room", NOBODY), ("signaling", NOBODY), ("auth", auth)].map(gateway).concat();
    format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n\
         [limits]\nmax_connections = 20000\n\
         [store]\nurl = \"{url}\"\n\
         [rollover]\nlast_timeout = \"24h\"\n\
         [log]\nformat = \"json\"\n{gateways}"
    )
}

/// What was measured how, and the head of the table.
fn head(effort: Effort) -> String {
    let Effort { rounds, duration, warm_up, idle_connections, many_users, .. } = effort;
    let Effort { tail_pairs, tail_duration, tail_warm_up, .. } = effort;
    format!(
        "stated {}, {} processors; {rounds} rounds of {duration:?} after {warm_up:?}, in turn with \
         the reference's, for p99 {tail_pairs} of {tail_duration:?} after {tail_warm_up:?}; mixed, {USERS} users; {idle_connections} idle connections; \
         a million users are {many_users}\n\
         medians, and in brackets the least and the greatest of the rounds\n\n\
         | what | compared with | ours | reference | ratio or difference | goal | reached | errors |\n\
         |---|---|---|---|---|---|---|---|",
        env!("CARGO_PKG_VERSION"),
        threads(),
    )
}
