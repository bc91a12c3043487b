//! A service that moves to another address while it is called, and reloads under load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use serde_json::Value;

use crate::fleet::Fleet;
use crate::harness::{Setup, moment, wait_until};
use crate::played::{Act, Played};
use crate::requests::{enter, kick_out, last, leave, study_time, subscribe};
use crate::wire::Framing;

#[test]
fn a_call_under_way_ends_at_the_old_address_and_what_waits_goes_to_the_new_one() {
    let mut fleet = Fleet::new();
    fleet.signaling.behave(Act::Wait);
    let setup = Setup::with(&fleet).key("gateways.signaling.pool_size", "1");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    for room in 1..=3 {
        peer.send(kick_out("u1", room));
        peer.send(kick_out(&format!("other {room}"), room));
    }
    fleet.signaling.wait_told(1);
    let before = std::mem::replace(&mut fleet.signaling, Played::says("SUCCESS"));
    daemon.reload(&setup.calls("signaling", &fleet.signaling));
    // Those of other users go at once, those of the same one after the one that is under way.
    let of = |told: &[String], user: &str| -> Vec<String> {
        told.iter().filter(|text| text.contains(user)).cloned().collect()
    };
    fleet.signaling.wait_told(3);
    moment();
    assert_eq!(of(&fleet.signaling.told(), "u1"), Vec::<String>::new());
    before.behave(Act::Say("SUCCESS".to_owned()));
    (0..6).for_each(|_| assert_eq!(peer.reply(), ""));
    assert_eq!(before.told_count(), 1);
    let after = of(&fleet.signaling.told(), "\"u1\"");
    assert_eq!(after.len(), 2);
    assert!(after[0].contains(":2}") && after[1].contains(":3}"), "{after:?}");
}

/// Who is told to have left which room.
fn room_out(text: &str) -> (String, i64) {
    let message: Value = serde_json::from_str(text).unwrap();
    (message["user_id"].as_str().unwrap().to_owned(), message["room_id"].as_i64().unwrap())
}

#[test]
fn queued_room_outs_are_told_once_and_in_order_wherever_room_moves() {
    const USERS: usize = 10;
    const ROUNDS: i64 = 12;
    let absent = Played::absent(Framing::Length4);
    let mut fleet = Fleet::new();
    fleet.room = absent;
    let setup = Setup::with(&fleet);
    let daemon = setup.start();
    let mut peer = daemon.connect();
    let (one, other) = (Played::says("SUCCESS"), Played::says("SUCCESS"));
    // Nobody is there at first, so that some wait; then room moves to and fro.
    for round in 1..=ROUNDS {
        for user in 0..USERS {
            let user = format!("u{user}");
            peer.send(subscribe(&user, round, &user));
            peer.send(leave(&user, "00:10:00"));
        }
        let at = match round {
            1..=3 => &fleet.room,
            _ if round % 2 == 0 => &one,
            _ => &other,
        };
        daemon.reload(&setup.clone().calls("room", at));
    }
    for _ in 0..2 * USERS * usize::try_from(ROUNDS).unwrap() {
        peer.reply();
    }
    let told = || [one.told(), other.told()].concat();
    wait_until("all are told", || told().len() >= USERS * 12);
    moment();
    let told: Vec<_> = told().iter().map(|text| room_out(text)).collect();
    assert_eq!(told.len(), USERS * 12);
    let once: BTreeSet<_> = told.iter().collect();
    assert_eq!(once.len(), told.len(), "one was told twice");
    for place in [&one, &other] {
        let mut latest = BTreeMap::new();
        for (user, room) in place.told().iter().map(|text| room_out(text)) {
            let before = latest.insert(user, room);
            assert!(before.is_none_or(|before| before < room));
        }
    }
}

#[test]
fn a_night_goes_on_where_auth_moved_to() {
    let mut fleet = Fleet::new();
    fleet.auth = Played::absent(Framing::Length4);
    let setup =
        Setup::with(&fleet).key("rollover.batch_users", "2").key("rollover.retry_max", "\"1h\"");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    for user in 0..10 {
        peer.served(leave(&format!("u{user}"), "00:10:00"));
    }
    peer.served(last(&[]));
    fleet.auth = Played::says("SUCCESS");
    daemon.reload(&setup.calls("auth", &fleet.auth));
    assert_eq!(fleet.auth.wait_told(5).len(), 5);
    moment();
    assert_eq!(fleet.auth.told_count(), 5);
}

#[test]
fn reloads_under_load_drop_no_connection_and_no_reply() {
    const PEERS: usize = 8;
    let fleet = Fleet::new();
    let others = Fleet::new();
    let setup = Setup::with(&fleet);
    let daemon = setup.start();
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let peers: Vec<_> = (0..PEERS)
        .map(|number| {
            let mut peer = daemon.connect();
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                let user = format!("u{number}");
                while !stop.load(Relaxed) {
                    for room in 0..10 {
                        peer.send(enter(&user));
                        peer.send(kick_out(&user, room));
                    }
                    for _ in 0..10 {
                        assert_eq!(peer.reply(), study_time(&user, None));
                        assert_eq!(peer.reply(), "");
                        answered.fetch_add(2, Relaxed);
                    }
                }
            })
        })
        .collect();
    for round in 0..30 {
        let before = answered.load(Relaxed);
        let fleet = if round % 2 == 0 { &others } else { &fleet };
        let next = setup
            .clone()
            .calls("signaling", &fleet.signaling)
            .key("gateways.signaling.pool_size", &(1 + round % 5).to_string())
            .key("limits.max_in_flight", &(2 + round % 7).to_string())
            .key("limits.max_unread_reply_bytes", &(100 + round).to_string())
            .key("limits.max_connections", &(PEERS + round % 3).to_string());
        daemon.reload(&next);
        wait_until("requests go on", || answered.load(Relaxed) > before + PEERS);
    }
    stop.store(true, Relaxed);
    for peer in peers {
        peer.join().unwrap();
    }
    let forwarded = fleet.signaling.told_count() + others.signaling.told_count();
    assert_eq!(2 * forwarded, answered.load(Relaxed), "each is forwarded once");
}
