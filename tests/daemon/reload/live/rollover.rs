//! `[rollover]`, changed between two nights and in the middle of one.

use serde_json::Value;

use crate::fleet::{Fleet, times_in};
use crate::harness::{Setup, wait_until};
use crate::played::Act;
use crate::requests::{enter, last, leave, listing, subscribe, unsubscribe};
use crate::wire::Client;

pub(super) const KEYS: &[&str] = &[
    "rollover.batch_users",
    "rollover.keep_online",
    "rollover.last_timeout",
    "rollover.retry_max",
    "rollover.stamp",
    "rollover.time_zone",
];

fn come_and_go(peer: &mut Client, users: &[&str]) {
    for user in users {
        peer.served(leave(user, "00:10:00"));
    }
}

#[test]
fn batch_users() {
    let fleet = Fleet::new();
    let setup = Setup::with(&fleet).key("rollover.batch_users", "1");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    come_and_go(&mut peer, &["u1", "u2", "u3"]);
    peer.served(last(&[]));
    fleet.auth.wait_told(3);
    daemon.reload(&setup.key("rollover.batch_users", "3"));
    come_and_go(&mut peer, &["u1", "u2", "u3"]);
    peer.served(last(&[]));
    assert_eq!(times_in(&fleet.auth.wait_told(4)[3]).len(), 3);
}

#[test]
fn keep_online() {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::Wait);
    let setup = Setup::with(&fleet);
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.served(subscribe("u1", 1, "s1"));
    peer.served(leave("u1", "00:10:00"));
    peer.served(last(&[]));
    fleet.auth.wait_told(1);
    // That night's frame is under way. What it was sent with holds for it to its end.
    daemon.reload(&setup.key("rollover.keep_online", "false"));
    fleet.auth.behave(Act::Echo);
    peer.served(subscribe("u2", 1, "s2"));
    peer.served(last(&[]));
    fleet.auth.wait_told_that("of the second night", |told| {
        told.iter().any(|frame| frame.contains("u2"))
    });
    wait_until("who was online is gone", || peer.ask(enter("u2")).contains("null"));
    wait_until("the session too", || peer.ask(unsubscribe("s2")).contains("CHAT-001"));
}

#[test]
fn last_timeout() {
    let fleet = Fleet::new();
    let setup = Setup::with(&fleet).key("rollover.last_timeout", "\"1h\"");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.served(listing(&[("u1", "00:10:00")]));
    daemon.reload(&setup.key("rollover.last_timeout", "\"300ms\""));
    assert_eq!(times_in(&fleet.auth.wait_told(1)[0]).len(), 1);
}

#[test]
fn retry_max() {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::Say("{\"error\":1}".to_owned()));
    let setup = Setup::with(&fleet).key("rollover.retry_max", "\"1h\"");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "00:10:00"));
    peer.served(last(&[]));
    // Each reload ends the pause, and the next one is twice as long.
    for attempt in 1..=12 {
        fleet.auth.wait_told(attempt);
        daemon.reload(&setup);
    }
    daemon.reload(&setup.key("rollover.retry_max", "\"10ms\""));
    let told = fleet.auth.told_count();
    fleet.auth.wait_told(told + 10);
    fleet.auth.behave(Act::Echo);
}

/// `day` and `batch` of a frame.
fn stamp(frame: &str) -> (Value, Value) {
    let frame: Value = serde_json::from_str(frame).unwrap();
    (frame["day"].clone(), frame["batch"].clone())
}

#[test]
fn stamp_and_time_zone() {
    let fleet = Fleet::new();
    let setup = Setup::with(&fleet).key("rollover.time_zone", "\"Pacific/Pago_Pago\"");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    let mut night = |told: usize| {
        peer.served(leave("u1", "00:10:00"));
        peer.served(last(&[]));
        stamp(&fleet.auth.wait_told(told)[told - 1])
    };
    assert_eq!(night(1), (Value::Null, Value::Null));
    let setup = setup.key("rollover.stamp", "true");
    daemon.reload(&setup);
    let (day, batch) = night(2);
    assert!(day.is_string() && batch.is_string());
    // 25 hours ahead: never the same date.
    daemon.reload(&setup.key("rollover.time_zone", "\"Pacific/Kiritimati\""));
    let (next, _) = night(3);
    assert!(next.as_str() > day.as_str(), "{next} after {day}");
}
