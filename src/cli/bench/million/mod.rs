//! What a million users cost: their memory, a restart, the night's close, a request among them.

mod auth;
mod fill;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::auth::Auth;
use self::fill::{Saying, ask, fill};
use super::Error;
use super::child::Server;
use super::load::{Load, Pace};
use super::messages::{ENTERING, LISTED, Mix, RECORDED};
use super::report::p99;
use super::suite::{Effort, NOBODY, Store, config};
use super::table::{Figures, Goal, Row};
use super::tally::{Round, Spread};
use crate::cli::child::Folder;

/// For figures before which everything is filled anew.
const ROUNDS: u32 = 3;
/// The load of the others during a night.
const OTHERS_RATE: f64 = 5_000.0;
const OTHERS_CONNECTIONS: usize = 16;
/// A round of the others: short, so that most of them lie within a night.
const OTHERS_ROUND: Duration = Duration::from_millis(500);
/// Rounds of the others before a night, to know how they are served in quiet.
const QUIET_ROUNDS: u32 = 5;
/// Between two looks at the daemon's memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Closes the day.
const LAST: &str = r#"{"server":"signaling_scheduling","type":"SCHEDULER_LAST","users":[]}"#;
/// Users in the daemon with few of them.
const FEW: u64 = 1_000;

/// Who is known when a day is full: everybody has a room, a session and a study time.
fn fill_day(daemon: &Server, users: u64) -> Result<(), Error> {
    fill(daemon.address, Saying::Enters, users)?;
    fill(daemon.address, Saying::Listed(ENTERING), users)
}

fn folder() -> Result<Folder, Error> {
    Folder::create("bench").map_err(Error::io("can't make a temporary folder"))
}

fn resident_bytes(daemon: &Server) -> Result<f64, Error> {
    let bytes = daemon.process().resident_bytes();
    let bytes = bytes.ok_or_else(|| Error::Server("a server's memory can't be seen".to_owned()))?;
    Ok(bytes as f64)
}

/// Resident memory of each user, in the embedded store.
pub(super) fn memory(effort: Effort) -> Result<Vec<Row>, Error> {
    let goal = Goal::AtMost(400.0, "B");
    let mut row = Row::new("embedded store, a million users, resident memory each", "", goal);
    let mut figures = Vec::new();
    for _ in 0..ROUNDS {
        let folder = folder()?;
        let daemon = Server::daemon(folder.path(), &config(Store::Embedded, None, NOBODY))?;
        let before = resident_bytes(&daemon)?;
        fill_day(&daemon, effort.users())?;
        figures.push((resident_bytes(&daemon)? - before) / effort.users() as f64);
    }
    row.outcome = Ok(Figures::alone(&figures, "B"));
    Ok(vec![row])
}

/// From the start of a daemon that was killed to its first answer.
pub(super) fn restart(effort: Effort) -> Result<Vec<Row>, Error> {
    let goal = Goal::AtMost(2.0, "s");
    let mut row = Row::new("embedded store, a million users, restart after a kill", "", goal);
    let folder = folder()?;
    let config = config(Store::Embedded, None, NOBODY);
    let mut daemon = Server::daemon(folder.path(), &config)?;
    fill_day(&daemon, effort.users())?;
    let mut figures = Vec::new();
    for _ in 0..effort.rounds {
        drop(daemon);
        let begun = Instant::now();
        daemon = Server::daemon(folder.path(), &config)?;
        ask(
            daemon.address,
            r#"{"server":"signaling","type":"STUDY_TIME_FROM_TCP","user_id":"bench-p00000000"}"#,
        )?;
        figures.push(begun.elapsed().as_secs_f64());
    }
    row.outcome = Ok(Figures::alone(&figures, "s"));
    Ok(vec![row])
}

/// What a request costs the daemon among a million users, and among a thousand.
pub(super) fn request(effort: Effort) -> Result<Vec<Row>, Error> {
    let goal = Goal::AtMost(1.2, "");
    let mut row = Row::new("memory store, cost of a request among a million users", "1,000", goal);
    let (folders, mut loads, mut daemons) = ([folder()?, folder()?], Vec::new(), Vec::new());
    for (folder, users) in folders.iter().zip([FEW, effort.users()]) {
        // A third of them enter, a third is recorded, a third is listed.
        let users = users / 3;
        let daemon = Server::daemon(folder.path(), &config(Store::Memory, None, NOBODY))?;
        fill(daemon.address, Saying::Enters, users)?;
        fill(daemon.address, Saying::Listed(RECORDED), users)?;
        fill(daemon.address, Saying::Listed(LISTED), users)?;
        loads.push(Load { users, ..effort.load(64, Pace::Closed { in_flight: 16 }) });
        daemons.push(daemon);
    }
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..effort.rounds {
        for ((daemon, load), figures) in daemons.iter().zip(&loads).zip(&mut figures) {
            figures.push(row.measure(daemon.target(), load, micros_each)?);
        }
    }
    let [few, many] = figures;
    row.outcome = Ok(Figures::ratio(&many, &few, "us"));
    Ok(vec![row])
}

/// The daemon's time for one request, in microseconds; nothing if it can't be seen.
fn micros_each(round: &Round) -> f64 {
    let cpu = round.times.map(|times| times.cpu).unwrap_or_default().as_secs_f64() * 1e6;
    cpu / round.tally.requests().max(1) as f64
}

/// What one night showed.
struct Night {
    seconds: f64,
    memory: f64,
    p99_quiet: f64,
    p99: f64,
}

/// The night's close: until auth was told of everybody, the memory it takes, and what the others
/// notice.
pub(super) fn night(effort: Effort) -> Result<Vec<Row>, Error> {
    let what = [
        ("embedded store, the night of a million users, until auth has them", "", 10.0, "s"),
        ("its memory at the peak", "before", 1.1, ""),
        ("p99 of the others meanwhile", "in quiet", 3.0, ""),
    ];
    let mut rows =
        what.map(|(what, with, most, unit)| Row::new(what, with, Goal::AtMost(most, unit)));
    let mut nights = Vec::new();
    for _ in 0..ROUNDS {
        nights.push(one_night(&mut rows[2], effort)?);
    }
    let all = |figure: fn(&Night) -> f64| nights.iter().map(figure).collect::<Vec<_>>();
    rows[0].outcome = Ok(Figures::alone(&all(|night| night.seconds), "s"));
    rows[1].outcome = Ok(Figures::alone(&all(|night| night.memory), ""));
    let (quiet, meanwhile) = (all(|night| night.p99_quiet), all(|night| night.p99));
    rows[2].outcome = Ok(Figures::ratio(&meanwhile, &quiet, "us"));
    Ok(rows.into())
}

fn one_night(row: &mut Row, effort: Effort) -> Result<Night, Error> {
    let folder = folder()?;
    let auth = Auth::start()?;
    let address = auth.address.to_string();
    let daemon = Server::daemon(folder.path(), &config(Store::Embedded, None, &address))?;
    fill_day(&daemon, effort.users())?;
    let others = Load {
        mix: Mix::Presence,
        warm_up: Duration::ZERO,
        duration: OTHERS_ROUND,
        ..effort.load(OTHERS_CONNECTIONS, Pace::Open { rate: OTHERS_RATE })
    };
    let round = |row: &mut Row| row.measure(daemon.target(), &others, p99);
    let quiet: Result<Vec<f64>, Error> = (0..QUIET_ROUNDS).map(|_| round(row)).collect();
    let before = resident_bytes(&daemon)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let begun = Instant::now();
        let (daemon, done) = (&daemon, &done);
        let told = scope.spawn(move || {
            let told = ask(daemon.address, LAST).and_then(|()| auth.told(effort.users()));
            done.store(true, Ordering::SeqCst);
            told
        });
        let peak = scope.spawn(|| peak_until(daemon, done));
        let mut meanwhile = Vec::new();
        while !done.load(Ordering::SeqCst) {
            meanwhile.push(round(row)?);
        }
        let told = told.join().unwrap_or(Err(Error::Panic))?;
        let peak = peak.join().unwrap_or(Err(Error::Panic))?;
        Ok(Night {
            seconds: (told - begun).as_secs_f64(),
            memory: peak / before,
            p99_quiet: Spread::of(quiet?).median,
            p99: Spread::of(meanwhile).median,
        })
    })
}

#[expect(clippy::disallowed_methods, reason = "a thread that no task runs on")]
fn peak_until(daemon: &Server, done: &AtomicBool) -> Result<f64, Error> {
    let mut peak = 0.0;
    while !done.load(Ordering::SeqCst) {
        peak = resident_bytes(daemon)?.max(peak);
        thread::sleep(LOOK_EVERY);
    }
    Ok(peak)
}
