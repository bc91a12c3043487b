//! The ways to the services that the daemon calls: pools, back-off, calls, the room-outs that wait.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use serde::Serialize;
use tokio::time::Instant;

use super::parameter::NoParameters;
use crate::admin::Desk;
use crate::admin::answer::{Answer, Moment, found};
use crate::admin::dependency::Standing;
use crate::domain::UnixMillis;
use crate::upstream::{self, CallOutcome, RoomGateway, Upstream};

#[derive(Debug, Serialize)]
pub(super) struct Gateways {
    gateways: Vec<Gateway>,
}

#[derive(Debug, Serialize)]
pub(super) struct Gateway {
    name: &'static str,
    address: String,
    framing: &'static str,
    state: &'static str,
    breaker: &'static str,
    retry_at: Option<Moment>,
    in_use: usize,
    idle: usize,
    opening: usize,
    waiting: usize,
    pool_size: usize,
    connections_opened: u64,
    connections_failed: u64,
    connections_discarded: u64,
    calls: Calls,
    queue: Option<Queue>,
}

/// By what came of them.
#[derive(Debug, Default, Serialize)]
struct Calls {
    ok: u64,
    too_long: u64,
    unreachable: u64,
    timeout: u64,
    refused: u64,
    dropped: u64,
}

/// Of room-outs.
#[derive(Debug, Serialize)]
struct Queue {
    length: u64,
    length_max: usize,
    answered: u64,
    refused: u64,
    unknown: u64,
    dropped_full: u64,
    dropped_late: u64,
    dropped_long: u64,
    dropped_stopping: u64,
    retried: u64,
}

pub(super) async fn list(State(desk): State<Arc<Desk>>, _: NoParameters) -> Answer<Gateways> {
    found(Gateways { gateways: all(&desk) })
}

/// In the order room, signaling, auth.
pub(super) fn all(desk: &Desk) -> Vec<Gateway> {
    let upstream: &Upstream = &desk.context.upstream;
    let picture = desk.health.picture();
    let describe = |gateway: &upstream::Gateway| {
        let known = picture.dependencies.iter().find(|one| one.name == gateway.peer());
        Gateway::of(gateway, known.map_or(Standing::Unknown, |one| one.standing))
    };
    let mut all: Vec<_> = upstream.gateways().into_iter().map(describe).collect();
    if let Some(room) = all.first_mut() {
        room.queue = Some(Queue::of(&upstream.room));
    }
    all
}

impl Gateway {
    fn of(gateway: &upstream::Gateway, state: Standing) -> Self {
        let (config, counters, pool) = (gateway.config(), gateway.counters(), gateway.standing());
        Self {
            name: gateway.peer(),
            address: config.address.clone(),
            framing: config.framing.name(),
            state: state.name(),
            breaker: pool.breaker.name(),
            retry_at: gateway.retry_at().map(|at| Moment(on_the_clock(at))),
            in_use: pool.in_use,
            idle: pool.idle,
            opening: pool.opening,
            waiting: pool.waiting,
            pool_size: pool.connections_max,
            connections_opened: counters.opened.load(Relaxed),
            connections_failed: counters.failed.load(Relaxed),
            connections_discarded: counters.discarded.load(Relaxed),
            calls: Calls::of(&counters.calls),
            queue: None,
        }
    }
}

impl Calls {
    fn of(calls: &upstream::Calls) -> Self {
        let mut counted = Self::default();
        for (outcome, count) in calls.outcomes() {
            match outcome {
                CallOutcome::Ok => counted.ok = count,
                CallOutcome::TooLong => counted.too_long = count,
                CallOutcome::Unreachable => counted.unreachable = count,
                CallOutcome::Timeout => counted.timeout = count,
                CallOutcome::Refused => counted.refused = count,
                CallOutcome::Dropped => counted.dropped = count,
            }
        }
        counted
    }
}

impl Queue {
    fn of(room: &RoomGateway) -> Self {
        let counters = room.counters();
        Self {
            length: counters.queued.load(Relaxed),
            length_max: room.queue_max(),
            answered: counters.answered.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            unknown: counters.unknown.load(Relaxed),
            dropped_full: counters.dropped_full.load(Relaxed),
            dropped_late: counters.dropped_late.load(Relaxed),
            dropped_long: counters.dropped_long.load(Relaxed),
            dropped_stopping: counters.dropped_stopping.load(Relaxed),
            retried: counters.retried.load(Relaxed),
        }
    }
}

/// When the wall clock will show what the runtime's clock shows at `at`.
fn on_the_clock(at: Instant) -> UnixMillis {
    let wait = u64::try_from(at.saturating_duration_since(Instant::now()).as_millis());
    UnixMillis(UnixMillis::now().0.saturating_add(wait.unwrap_or(u64::MAX)))
}
