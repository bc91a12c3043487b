//! What the page says about the store.

use std::sync::atomic::Ordering::Relaxed;

use crate::metrics::families as family;
use crate::metrics::text::Text;
use crate::store::redis::RedisStore;
use crate::store::upkeep::Upkeep;
use crate::store::{Observed, Population};

pub(super) fn put(text: &mut Text, store: &Observed) {
    let mut samples = text.family(&family::STORE_DURATION);
    for (operation, figures) in store.figures() {
        samples.histogram([operation.name()], figures.durations);
    }
    let mut samples = text.family(&family::STORE_ERRORS);
    for (operation, figures) in store.figures() {
        samples.labelled([operation.name()], figures.errors);
    }
    let links = store.links();
    let mut samples = text.family(&family::STORE_LINK_EVENTS);
    for (event, count) in links.events {
        samples.labelled([event.name()], count);
    }
    text.family(&family::STORE_LINKS).value(links.open);
    text.family(&family::SETBACKS).value(store.redis().map_or(0, RedisStore::setbacks));
    put_population(text, store.counted());
    put_upkeep(text, store.redis().map(RedisStore::upkeep));
}

fn put_population(text: &mut Text, counted: Option<Population>) {
    let values = |of: fn(&Population) -> u64| counted.as_ref().map(of);
    for (family, value) in [
        (&family::USERS, values(|counted| counted.users)),
        (&family::SESSIONS_LIVE, values(|counted| counted.sessions_live)),
        (&family::ROOMS, values(|counted| counted.rooms)),
        (&family::COUNTED_AT, values(|counted| counted.as_of.0 / 1000)),
    ] {
        text.family(family).value_if_known(value);
    }
}

fn put_upkeep(text: &mut Text, upkeep: Option<&Upkeep>) {
    let nothing = Upkeep::default();
    let upkeep = upkeep.unwrap_or(&nothing);
    let mut samples = text.family(&family::MENDED_LEFTOVERS);
    for (kind, count) in upkeep.mended() {
        samples.labelled([kind.name()], count);
    }
    text.family(&family::LEFT_ALONE).value(upkeep.left_alone.load(Relaxed));
    let mut samples = text.family(&family::ROOM_SETS_MISSED);
    samples.labelled(["entry"], upkeep.entries_refused.load(Relaxed));
    samples.labelled(["exit"], upkeep.exits_given_up.load(Relaxed));
}
