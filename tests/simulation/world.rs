//! One simulation: hosts, faults when they are due, and an end at which everything works again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use futures_util::future::join_all;
use stated::config::running::Running;
use stated::connection::passed::Passed;
use stated::daemon::Daemon;
use stated::log::Filter;
use tokio::time::{Instant, sleep};
use turmoil::Sim;

use super::caller::{self, Talk};
use super::history::{History, Seen, now};
use super::peer::Peer;
use super::plan::{
    CALLERS, CALM_AT, DAEMON, END_AT, Fault, Kind, PEERS, PROBER, Plan, SETTLED_AT, TICK, Theme,
};
use super::request::{Numbers, Request, USERS};
use super::{check, seeds};

/// What the hosts share with whoever watches them.
#[derive(Clone, Default)]
struct Watch {
    history: History,
    numbers: Rc<RefCell<Numbers>>,
    /// The daemon is to stop.
    stopping: Rc<Cell<bool>>,
    probed: Rc<Cell<bool>>,
}

/// Runs one seed to its end and says what was seen, and what is wrong with it.
pub(crate) fn run(theme: Theme, seed: u64) -> (Result<(), String>, Seen) {
    fastrand::seed(seed);
    let plan = Plan::of(theme, seed);
    let watch = Watch::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
        .tick_duration(TICK)
        .simulation_duration(END_AT)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(plan.latency_max)
        .tcp_capacity(1024)
        .build();
    host_daemon(&mut sim, &plan, &watch);
    host_peers(&mut sim, &plan, &watch, seed);
    host_callers(&mut sim, &plan, &watch, seed);
    let prober = watch.clone();
    sim.client(PROBER, async move {
        probe(&prober).await;
        prober.probed.set(true);
        Ok(())
    });
    let ran = drive(&mut sim, &plan, &watch);
    drop(sim);
    let mut seen = watch.history.into_seen();
    let verdict = ran.and_then(|()| check::everything(&plan, &mut seen));
    let verdict = match seeds::panics() {
        0 => verdict,
        panics => Err(format!("{panics} tasks panicked")),
    };
    (verdict, seen)
}

fn host_daemon(sim: &mut Sim<'_>, plan: &Plan, watch: &Watch) {
    let (config, watch) = (plan.config.clone(), watch.clone());
    sim.host(DAEMON, move || {
        let (config, watch) = (config.clone(), watch.clone());
        async move {
            let running = Arc::new(Running::of(config));
            let daemon = Daemon::start(running, Filter::of_no_log(), Passed::default()).await?;
            watch.history.change(|seen| seen.starts += 1);
            watch.history.note("the daemon runs");
            while !watch.stopping.get() {
                sleep(TICK).await;
            }
            let begun = Instant::now();
            daemon.stop().await;
            let left = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            watch.history.change(|seen| seen.stopped = Some((begun.elapsed(), left)));
            Ok(())
        }
    });
}

fn host_peers(sim: &mut Sim<'_>, plan: &Plan, watch: &Watch, seed: u64) {
    for (at, name) in PEERS.into_iter().enumerate() {
        let peer = Peer {
            name,
            framing: plan.config.gateways.auth.framing,
            moods: plan.moods,
            history: watch.history.clone(),
            rng: Rc::new(RefCell::new(Rng::with_seed(seed ^ 0xbee5 << at))),
        };
        sim.host(name, move || peer.clone().listen());
    }
}

fn host_callers(sim: &mut Sim<'_>, plan: &Plan, watch: &Watch, seed: u64) {
    for (at, name) in CALLERS.into_iter().enumerate() {
        let (watch, count) = (watch.clone(), plan.callers);
        sim.client(name, async move {
            let callers = (0..count).map(|number| {
                let rng = Rng::with_seed(seed ^ ((at * 100 + number + 1) as u64) << 20);
                let (history, numbers) = (watch.history.clone(), Rc::clone(&watch.numbers));
                caller::call(history, name, numbers, rng)
            });
            join_all(callers).await;
            Ok(())
        });
    }
}

/// Steps through the simulation; faults begin and end between two steps.
fn drive(sim: &mut Sim<'_>, plan: &Plan, watch: &Watch) -> Result<(), String> {
    let mut begins: Vec<&Fault> = plan.faults.iter().rev().collect();
    let mut ends: Vec<&Fault> = plan.faults.iter().collect();
    ends.sort_by_key(|fault| std::cmp::Reverse(fault.until));
    loop {
        while let Some(fault) = ends.pop_if(|fault| fault.until <= sim.elapsed()) {
            watch.history.note(&format!("over: {:?}", fault.kind));
            end(sim, plan, fault.kind);
        }
        while let Some(fault) = begins.pop_if(|fault| fault.from <= sim.elapsed()) {
            watch.history.note(&format!("fault: {:?}", fault.kind));
            begin(sim, fault.kind);
        }
        sim.step().map_err(|error| error.to_string())?;
        let stopped = watch.history.change(|seen| seen.stopped.is_some());
        if watch.probed.get() && !watch.stopping.get() {
            watch.stopping.set(true);
        }
        if stopped {
            return Ok(());
        }
        if sim.elapsed() > END_AT {
            return Err("the simulation does not come to its end".to_owned());
        }
    }
}

fn begin(sim: &mut Sim<'_>, kind: Kind) {
    match kind {
        Kind::Partition(host) => sim.partition(DAEMON, host),
        Kind::Deaf(host) => sim.partition_oneway(host, DAEMON),
        Kind::Mute(host) => sim.partition_oneway(DAEMON, host),
        Kind::Hold(host) => sim.hold(DAEMON, host),
        Kind::Slow(host) => {
            sim.set_link_max_message_latency(DAEMON, host, Duration::from_millis(900));
        }
        Kind::Crash(host) => sim.crash(host),
    }
}

fn end(sim: &mut Sim<'_>, plan: &Plan, kind: Kind) {
    match kind {
        Kind::Partition(host) | Kind::Deaf(host) | Kind::Mute(host) => sim.repair(DAEMON, host),
        Kind::Hold(host) => sim.release(DAEMON, host),
        Kind::Slow(host) => sim.set_link_max_message_latency(DAEMON, host, plan.latency_max),
        Kind::Crash(host) => sim.bounce(host),
    }
}

/// When all is calm again, everything has to work, and soon.
async fn probe(watch: &Watch) {
    sleep(SETTLED_AT.saturating_sub(now())).await;
    let history = &watch.history;
    assert!(now() > CALM_AT);
    let Some(mut talk) = Talk::open(history, PROBER, 0).await else {
        return history.complain("nobody listens after the calm".to_owned());
    };
    let number = || watch.numbers.borrow_mut().next();
    for user in 0..USERS {
        let request = Request::StudyTimeFrom { user, server: "signaling" };
        demand(&mut talk, history, request, "every user is answered").await;
    }
    // The first attempt may find the breaker as the faults left it.
    for attempt in 0..8 {
        let alert = Request::Alert { user: 0, number: number() };
        let said = talk.say(vec![alert]).await;
        match talk.hear().await {
            Ok(reply) if reply.is_empty() && said.is_ok() => break,
            _ if attempt == 7 => {
                history.complain("signaling is not told after the calm".to_owned())
            }
            _ => sleep(Duration::from_millis(500)).await,
        }
    }
    // Whoever was listed already begins the next day with what comes now.
    let last = Request::List { entries: Vec::new(), last: true };
    demand(&mut talk, history, last.clone(), "the day can be closed").await;
    let (room, session) = (number(), "s0-0".to_owned());
    let time = format!("t{}", number());
    let subscribe = Request::Subscribe { user: 0, room, session };
    demand(&mut talk, history, subscribe, "a session can be opened").await;
    let leave = Request::StudyTimeTo { user: 0, time: time.clone() };
    demand(&mut talk, history, leave, "a study time is taken").await;
    wait_for(history, "room is told", |seen| {
        seen.heard.iter().any(|heard| heard.message["room_id"] == room)
    })
    .await;
    demand(&mut talk, history, last, "the next day can be closed").await;
    wait_for(history, "auth is told", |seen| {
        let mut users = seen.heard.iter().filter_map(|heard| heard.message["users"].as_array());
        users.any(|users| users.iter().any(|user| user["study_time"] == time))
    })
    .await;
    // And with it of everybody else: then nothing is left to tell.
    let mut quiet_since = (history.change(|seen| seen.heard.len()), now());
    while now() - quiet_since.1 < Duration::from_secs(2) {
        sleep(Duration::from_millis(100)).await;
        let heard = history.change(|seen| seen.heard.len());
        if heard != quiet_since.0 {
            quiet_since = (heard, now());
        }
    }
    talk.finish().await;
}

async fn demand(talk: &mut Talk, history: &History, request: Request, what: &str) {
    let said = talk.say(vec![request]).await;
    if said.is_err() || talk.hear().await.is_err() {
        history.complain(format!("not so after the calm: {what}"));
    }
}

async fn wait_for(history: &History, what: &str, is_so: impl Fn(&Seen) -> bool) {
    for _ in 0..100 {
        if history.change(|seen| is_so(seen)) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    history.complain(format!("not so within ten seconds after the calm: {what}"));
}
