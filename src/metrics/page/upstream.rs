//! What the page says about the services that are called.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::metrics::families as family;
use crate::metrics::text::Text;
use crate::upstream::{BreakerState, Gateway, RoomCounters, Upstream};

pub(super) fn put(text: &mut Text, upstream: &Upstream) {
    put_gateways(text, upstream);
    put_pools(text, upstream);
    put_room_outs(text, upstream.room.counters());
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
        samples.histogram([gateway.peer()], gateway.counters().calls.durations.snapshot());
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
