//! The page of all metrics at one moment.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

use super::connections::Connections;
use super::families as family;
use super::requests::{Kind, Requests};
use super::text::Text;
use super::{Metrics, nights::Nights};
use crate::domain::{Context, UnixMillis};
use crate::store::{Night, Observed};
use crate::upstream::{BreakerState, Gateway, RoomCounters, Upstream};

/// The media type of the page.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the page needs beyond what is counted: what was last found out about the dependencies.
#[derive(Debug)]
pub struct Found<'a> {
    /// Those whose state is known, by name, and whether they work.
    pub dependencies: &'a [(&'static str, bool)],
    /// Where the night stood when the store last answered.
    pub night: Option<&'a Night>,
}

/// Writes the page. It asks nobody: a store that hangs doesn't keep it waiting.
pub fn render(context: &Context, found: &Found<'_>) -> String {
    let mut text = Text::default();
    let metrics = &*context.metrics;
    put_process(&mut text, metrics);
    put_requests(&mut text, &metrics.requests);
    put_connections(&mut text, &metrics.connections);
    put_store(&mut text, &context.store);
    put_gateways(&mut text, &context.upstream);
    put_pools(&mut text, &context.upstream);
    put_room_outs(&mut text, context.upstream.room.counters());
    let mut up = text.family(&family::UP);
    for (name, is_up) in found.dependencies {
        up.labelled([*name], u8::from(*is_up));
    }
    put_night(&mut text, found.night, &metrics.nights);
    text.finish()
}

fn put_process(text: &mut Text, metrics: &Metrics) {
    text.family(&family::BUILD).labelled([env!("CARGO_PKG_VERSION")], 1);
    let started = metrics.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    text.family(&family::STARTED).value(started.as_secs_f64());
}

fn put_requests(text: &mut Text, requests: &Requests) {
    let mut samples = text.family(&family::REQUESTS);
    for kind in Kind::ALL {
        for (outcome, count) in requests.outcomes(kind) {
            // What can't be decoded is never fulfilled.
            if kind != Kind::Invalid || outcome != "ok" {
                samples.labelled([kind.server(), kind.type_name(), outcome], count);
            }
        }
    }
    let mut samples = text.family(&family::REQUEST_DURATION);
    for (server, durations) in requests.durations() {
        samples.histogram([server], durations);
    }
    text.family(&family::IN_FLIGHT).value(requests.in_flight());
}

fn put_connections(text: &mut Text, connections: &Connections) {
    // The closed ones first: none of them is missing among the opened ones then.
    let closed: Vec<_> = connections.closed().collect();
    let opened = connections.opened();
    let ended: u64 = closed.iter().map(|(_, count)| count).sum();
    text.family(&family::CONNECTIONS).value(opened.saturating_sub(ended));
    text.family(&family::OPENED).value(opened);
    text.family(&family::TURNED_AWAY).value(connections.turned_away.load(Relaxed));
    let mut samples = text.family(&family::CLOSED);
    for (reason, count) in closed {
        samples.labelled([reason.name()], count);
    }
    text.family(&family::RECEIVED).value(connections.received_bytes.load(Relaxed));
    text.family(&family::SENT).value(connections.sent_bytes.load(Relaxed));
}

fn put_store(text: &mut Text, store: &Observed) {
    let mut samples = text.family(&family::STORE_DURATION);
    for (operation, figures) in store.figures() {
        samples.histogram([operation.name()], &figures.durations);
    }
    let mut samples = text.family(&family::STORE_ERRORS);
    for (operation, figures) in store.figures() {
        samples.labelled([operation.name()], figures.errors.load(Relaxed));
    }
    let mut users = text.family(&family::USERS);
    if let Some(count) = store.user_count() {
        users.value(count);
    }
}

fn put_gateways(text: &mut Text, upstream: &Upstream) {
    let gateways: [&Gateway; 3] = upstream.gateways();
    let mut samples = text.family(&family::CALLS);
    for gateway in gateways {
        for (outcome, count) in gateway.counters().calls.outcomes() {
            samples.labelled([gateway.peer(), outcome.name()], count);
        }
    }
    let mut samples = text.family(&family::CALL_DURATION);
    for gateway in gateways {
        samples.histogram([gateway.peer()], &gateway.counters().calls.durations);
    }
    let mut samples = text.family(&family::POOL);
    for gateway in gateways {
        let counters = gateway.counters();
        for (event, count) in [
            ("opened", &counters.opened),
            ("failed", &counters.failed),
            ("discarded", &counters.discarded),
        ] {
            samples.labelled([gateway.peer(), event], count.load(Relaxed));
        }
    }
}

fn put_pools(text: &mut Text, upstream: &Upstream) {
    let pools = upstream.gateways().map(|gateway| (gateway.peer(), gateway.standing()));
    let mut samples = text.family(&family::POOL_NOW);
    for (peer, pool) in &pools {
        samples.labelled([*peer, "in_use"], pool.in_use);
        samples.labelled([*peer, "idle"], pool.idle);
        samples.labelled([*peer, "opening"], pool.opening);
    }
    let mut samples = text.family(&family::POOL_MAX);
    for (peer, pool) in &pools {
        samples.labelled([*peer], pool.connections_max);
    }
    let mut samples = text.family(&family::WAITING);
    for (peer, pool) in &pools {
        samples.labelled([*peer], pool.waiting);
    }
    let mut samples = text.family(&family::BREAKER_STATE);
    for (peer, pool) in &pools {
        for state in BreakerState::ALL {
            samples.labelled([*peer, state.name()], u8::from(pool.breaker == state));
        }
    }
}

fn put_room_outs(text: &mut Text, counters: &RoomCounters) {
    let outcomes: [(&str, &AtomicU64); 7] = [
        ("answered", &counters.answered),
        ("refused", &counters.refused),
        ("unknown", &counters.unknown),
        ("dropped_full", &counters.dropped_full),
        ("dropped_late", &counters.dropped_late),
        ("dropped_long", &counters.dropped_long),
        ("dropped_stopping", &counters.dropped_stopping),
    ];
    let mut samples = text.family(&family::ROOM_OUTS);
    for (outcome, count) in outcomes {
        samples.labelled([outcome], count.load(Relaxed));
    }
    text.family(&family::ROOM_RETRIES).value(counters.retried.load(Relaxed));
    text.family(&family::ROOM_QUEUE).value(counters.queued.load(Relaxed));
}

fn put_night(text: &mut Text, night: Option<&Night>, nights: &Nights) {
    let mut day = text.family(&family::DAY);
    if let Some(night) = night {
        day.value(night.day.0);
    }
    let mut undelivered = text.family(&family::UNDELIVERED);
    if let Some(night) = night {
        undelivered.value(night.undelivered.len());
    }
    let mut age = text.family(&family::UNDELIVERED_AGE);
    if let Some(night) = night {
        let oldest = night.undelivered.first();
        let since = oldest.map_or(0.0, |day| UnixMillis::now().since(day.closed_at).as_secs_f64());
        age.value(since);
    }
    text.family(&family::BATCHES).value(nights.batches_delivered.load(Relaxed));
    text.family(&family::BATCH_USERS).value(nights.users_delivered.load(Relaxed));
    text.family(&family::BATCH_RETRIES).value(nights.batches_retried.load(Relaxed));
}
