//! The end of a study day, on every store: closed at once, delivered to the last time, forgotten
//! only when auth has it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::fleet::{Fleet, times_in};
use crate::harness::{Daemon, Setup, moment, wait_until};
use crate::place::Place;
use crate::played::Act;
use crate::requests::{enter, last, leave, listing, study_time, subscribe, unsubscribe};
use crate::wire::Client;

/// A crowded machine must not make auth wait longer than a test.
fn setup(place: &Place, fleet: &Fleet) -> Setup {
    Setup::with(fleet)
        .keeps(place)
        .key("gateways.auth.reply_timeout", "\"500ms\"")
        .key("rollover.retry_max", "\"300ms\"")
}

fn entries(told: &[String]) -> usize {
    told.iter().map(|told| times_in(told).len()).sum()
}

fn delivered(frames: &[String]) -> Vec<(String, Option<String>)> {
    frames.iter().flat_map(|frame| times_in(frame)).collect()
}

fn wait_delivered(fleet: &Fleet, count: usize) -> Vec<(String, Option<String>)> {
    let what = format!("{count} study times");
    delivered(&fleet.auth.wait_told_that(&what, |told| entries(told) >= count))
}

fn time(user: &str, time: &str) -> (String, Option<String>) {
    (user.to_owned(), Some(time.to_owned()))
}

/// Asserts that the night is over: nothing is told any more, on another night either.
fn assert_delivered_once(daemon: Daemon, fleet: &Fleet, expected: &[(String, Option<String>)]) {
    wait_delivered(fleet, expected.len());
    moment();
    daemon.stop();
    assert_eq!(delivered(&fleet.auth.told()), expected);
}

pub(crate) fn what_is_closed_reads_as_null_from_the_reply_on(place: &Place) {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::Wait);
    let daemon = setup(place, &fleet).start();
    let (mut peer, mut other) = (daemon.connect(), daemon.connect());
    let users: Vec<String> = (0..200).map(|number| format!("u{number}")).collect();
    for user in &users {
        peer.send(subscribe(user, 1, &format!("s-{user}")));
        peer.send(leave(user, "00:10:00"));
    }
    for _ in 0..2 * users.len() {
        peer.reply();
    }
    peer.served(last(&[("u0", "00:20:00"), ("listed alone", "00:30:00")]));
    for user in users.iter().map(String::as_str).chain(["listed alone"]) {
        assert_eq!(other.ask(enter(user)), study_time(user, None));
    }
    let gone = r#"{"userId":"u7","roomId":1,"sessionId":"s-u7","studyTime":null}"#;
    assert_eq!(other.ask(unsubscribe("s-u7")), gone);
    fleet.auth.behave(Act::Echo);
    let told = wait_delivered(&fleet, 201);
    let told: BTreeSet<_> = told.into_iter().collect();
    assert!(told.contains(&time("u0", "00:20:00")) && told.contains(&time("u1", "00:10:00")));
    assert!(told.contains(&time("listed alone", "00:30:00")));
}

pub(crate) fn frames_are_as_small_as_auth_reads_them(place: &Place) {
    let fleet = Fleet::new();
    let daemon = setup(place, &fleet).start();
    let mut peer = daemon.connect();
    let mut users: Vec<String> = (0..60).map(|number| format!("u{number}")).collect();
    // An id that is three times as long on the wire as in memory.
    users.extend((0..30).map(|number| format!("{}{number}", "가".repeat(60))));
    for user in &users {
        peer.send(leave(user, &"\u{1}".repeat(64)));
    }
    users.iter().for_each(|_| drop(peer.reply()));
    peer.served(last(&[]));
    let told: BTreeSet<String> =
        wait_delivered(&fleet, users.len()).into_iter().map(|(user, _)| user).collect();
    assert_eq!(told, users.into_iter().collect());
    for frame in fleet.auth.told() {
        assert!(frame.len() <= 2046, "{} bytes", frame.len());
        assert!((1..=25).contains(&times_in(&frame).len()));
    }
}

pub(crate) fn a_frame_is_sent_again_until_auth_acknowledges_it(place: &Place) {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::Say("{\"error\":{\"code\":\"AUTH-001\"}}".to_owned()));
    let daemon = setup(place, &fleet).start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "00:10:00"));
    peer.served(leave("u2", "00:20:00"));
    peer.served(last(&[]));
    fleet.auth.wait_told(2);
    for act in [Act::HangUp, Act::KeepSilent, Act::Write(vec![0xff; 4])] {
        let before = fleet.auth.told().len();
        fleet.auth.behave(act);
        fleet.auth.wait_told(before + 2);
    }
    let before = fleet.auth.told().len();
    fleet.auth.behave(Act::Say(String::new()));
    // One that was on its way, and one that is acknowledged.
    fleet.auth.wait_told(before + 1);
    wait_until("the day is delivered", || daemon.connect().ask(enter("u1")).contains("null"));
    peer.served(last(&[]));
    moment();
    let told = fleet.auth.told();
    assert!(told.len() <= before + 2, "sent again after it was acknowledged");
    assert!(told.iter().all(|frame| *frame == told[0]), "not the same frame: {told:?}");
}

pub(crate) fn a_time_after_the_listing_belongs_to_the_new_day(place: &Place) {
    let fleet = Fleet::new();
    let daemon = setup(place, &fleet).start();
    let mut peer = daemon.connect();
    peer.served(subscribe("u1", 1, "s1"));
    peer.served(leave("u1", "before"));
    peer.served(listing(&[("u1", "old")]));
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("old")));
    peer.served(leave("u1", "new"));
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("new")));
    peer.served(last(&[]));
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("new")));
    peer.served(leave("u1", "newer"));
    assert_eq!(wait_delivered(&fleet, 1), [time("u1", "old")]);
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("newer")));
    peer.served(last(&[]));
    drop(peer);
    assert_delivered_once(daemon, &fleet, &[time("u1", "old"), time("u1", "newer")]);
}

pub(crate) fn a_listing_counts_even_if_a_time_came_after_it(place: &Place) {
    let fleet = Fleet::new();
    let daemon = setup(place, &fleet).start();
    let mut peer = daemon.connect();
    peer.served(listing(&[("u1", "old")]));
    peer.served(leave("u1", "new"));
    // Signaling lists it once more, in its last frame: still the old day's last word.
    peer.served(last(&[("u1", "older still")]));
    wait_delivered(&fleet, 1);
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("new")));
    drop(peer);
    assert_delivered_once(daemon, &fleet, &[time("u1", "older still")]);
}

pub(crate) fn a_night_without_a_last_frame_closes_by_itself(place: &Place) {
    let fleet = Fleet::new();
    let daemon = setup(place, &fleet).key("rollover.last_timeout", "\"1s\"").start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "00:10:00"));
    moment();
    assert_eq!(fleet.auth.told().len(), 0, "a day without a listing does not close");
    peer.served(listing(&[("u2", "00:20:00")]));
    let mut told = wait_delivered(&fleet, 2);
    told.sort();
    assert_eq!(told, [time("u1", "00:10:00"), time("u2", "00:20:00")]);
    daemon.log.tells("\"level\":\"WARN\",\"message\":\"no SCHEDULER_LAST came");
    assert_eq!(peer.ask(enter("u2")), study_time("u2", None));
}

pub(crate) fn who_is_online_keeps_room_and_session(place: &Place) {
    let fleet = Fleet::new();
    let daemon = setup(place, &fleet).start();
    let mut peer = daemon.connect();
    come(&mut peer);
    peer.served(last(&[]));
    wait_delivered(&fleet, 2);
    let record = r#"{"userId":"on","roomId":1,"sessionId":"s1","studyTime":null}"#;
    assert_eq!(peer.ask(unsubscribe("s1")), record);
    // Who was offline is forgotten: room is not told of him any more.
    moment();
    let told = fleet.room.told().len();
    peer.served(leave("off", "00:01:00"));
    drop(peer);
    daemon.stop();
    assert_eq!(fleet.room.told().len(), told);
}

/// One user who stays online and one who has gone, each with a time and a room.
fn come(peer: &mut Client) {
    for (user, session) in [("on", "s1"), ("off", "s2")] {
        peer.served(subscribe(user, 1, session));
        peer.served(leave(user, "00:10:00"));
    }
    peer.served(unsubscribe("s2"));
}

pub(crate) fn without_keep_online_everybody_goes_but_who_was_written_to(place: &Place) {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::Wait);
    let daemon = setup(place, &fleet).key("rollover.keep_online", "false").start();
    let mut peer = daemon.connect();
    come(&mut peer);
    peer.served(subscribe("written to", 2, "s3"));
    peer.served(last(&[]));
    peer.served(leave("written to", "00:00:05"));
    fleet.auth.behave(Act::Echo);
    wait_delivered(&fleet, 3);
    let index_is_gone = || peer.ask(unsubscribe("s1")).contains("CHAT-001");
    wait_until_true("the session is gone", index_is_gone, &daemon);
    let record = r#"{"userId":"written to","roomId":2,"sessionId":"s3","studyTime":"00:00:05"}"#;
    assert_eq!(daemon.connect().ask(unsubscribe("s3")), record);
}

/// The session may still resolve for as long as the acknowledgement is not written down; asking
/// ends it, so that it is asked for once, when nothing is under way any more.
fn wait_until_true(what: &str, mut holds: impl FnMut() -> bool, daemon: &Daemon) {
    moment();
    moment();
    assert!(holds(), "{what}: {:?}", daemon.log.lines().last());
}

pub(crate) fn a_second_close_during_a_delivery_joins_it(place: &Place) {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::Wait);
    let daemon = setup(place, &fleet).start();
    let mut peer = daemon.connect();
    for number in 0..60 {
        peer.served(leave(&format!("u{number}"), "first"));
    }
    peer.served(last(&[]));
    fleet.auth.wait_told(1);
    peer.served(leave("v", "second"));
    peer.served(last(&[("w", "second")]));
    fleet.auth.behave(Act::Echo);
    let told: BTreeSet<_> = wait_delivered(&fleet, 62).into_iter().collect();
    assert_eq!(told.len(), 62);
    assert!(told.contains(&time("v", "second")) && told.contains(&time("w", "second")));
}

pub(crate) fn two_undelivered_days_go_out_the_older_first(place: &Place) {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::Say("{\"error\":1}".to_owned()));
    let daemon = setup(place, &fleet).start();
    let mut peer = daemon.connect();
    for day in ["1", "2", "3"] {
        for user in ["u1", "u2", "u3"] {
            peer.served(leave(user, day));
        }
        peer.served(last(&[]));
        assert_eq!(peer.ask(enter("u1")), study_time("u1", None));
    }
    fleet.auth.wait_told(1);
    let before = fleet.auth.told().len();
    fleet.auth.behave(Act::Echo);
    wait_until("all days are delivered", || {
        let told = fleet.auth.told();
        told[before.saturating_sub(1)..].iter().any(|frame| frame.contains("\"3\""))
    });
    let mut frames = fleet.auth.told();
    frames.dedup();
    assert_eq!(frames.len(), 3, "{frames:?}");
    for (frame, day) in frames.iter().zip(["1", "2", "3"]) {
        let mut times = times_in(frame);
        times.sort();
        assert_eq!(times, [time("u1", day), time("u2", day), time("u3", day)]);
    }
}

pub(crate) fn a_stamped_frame_is_the_same_when_it_is_sent_again(place: &Place) {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::HangUp);
    let daemon =
        setup(place, &fleet).key("rollover.stamp", "true").key("rollover.batch_users", "1").start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "1"));
    peer.served(leave("u2", "2"));
    peer.served(last(&[]));
    fleet.auth.wait_told(3);
    fleet.auth.behave(Act::Echo);
    wait_until("both are delivered", || {
        let mut told = fleet.auth.told();
        told.dedup();
        told.len() == 2
    });
    let mut frames = fleet.auth.told();
    frames.dedup();
    let stamps: Vec<(String, String)> = frames
        .iter()
        .map(|frame| {
            let frame: Value = serde_json::from_str(frame).unwrap();
            let text = |name: &str| frame[name].as_str().unwrap().to_owned();
            (text("day"), text("batch"))
        })
        .collect();
    assert_eq!(stamps[0].0, stamps[1].0, "one day");
    assert_ne!(stamps[0].1, stamps[1].1, "each frame has a batch of its own");
    assert!(stamps.iter().all(|(day, batch)| day.len() == 10 && batch.len() == 16));
}

pub(crate) fn who_has_no_time_is_told_and_a_day_without_anybody_is_not(place: &Place) {
    let fleet = Fleet::new();
    let daemon = setup(place, &fleet).start();
    let mut peer = daemon.connect();
    peer.served(last(&[]));
    peer.served(last(&[]));
    moment();
    assert_eq!(fleet.auth.told().len(), 0);
    peer.served(subscribe("u1", 1, "s1"));
    peer.served(unsubscribe("s1"));
    let nulls = r#"{"server":"signaling_scheduling","type":"SCHEDULER_LAST","users":[{"user_id":"u2","study_time":null}]}"#;
    assert_eq!(peer.ask(nulls), nulls);
    drop(peer);
    let mut told = wait_delivered(&fleet, 2);
    told.sort();
    assert_eq!(told, [("u1".to_owned(), None), ("u2".to_owned(), None)]);
}

pub(crate) fn a_refused_listing_changes_nothing_and_closes_nothing(place: &Place) {
    let fleet = Fleet::new();
    let daemon = setup(place, &fleet).start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "1"));
    for kind in ["SCHEDULER", "SCHEDULER_LAST"] {
        let wrong = format!(
            r#"{{"server":"signaling_scheduling","type":"{kind}","users":[{{"user_id":"u1","study_time":"2"}},{{"user_id":"u2"}}]}}"#
        );
        peer.refused(wrong, "CHAT-003");
    }
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("1")));
    assert_eq!(peer.ask(enter("u2")), study_time("u2", None));
    moment();
    assert_eq!(fleet.auth.told().len(), 0);
}

pub(crate) fn a_user_who_fits_no_frame_holds_nobody_else_up(place: &Place) {
    let fleet = Fleet::new();
    let daemon = setup(place, &fleet).key("gateways.auth.max_frame_bytes", "200").start();
    let mut peer = daemon.connect();
    let long = "x".repeat(200);
    peer.served(leave(&long, "1"));
    for number in 0..30 {
        peer.served(leave(&format!("u{number}"), "1"));
    }
    peer.served(last(&[]));
    let told = wait_delivered(&fleet, 30);
    assert!(told.iter().all(|(user, _)| *user != long));
    wait_until("it is said", || daemon.log.has("study times stay undelivered"));
    assert!(fleet.auth.told().iter().all(|frame| frame.len() <= 200));
    // With longer frames it goes out, on another day too.
    drop(peer);
    if place.url != "memory:" {
        daemon.stop();
        let daemon = setup(place, &fleet).start();
        wait_delivered(&fleet, 31);
        daemon.stop();
    }
}

pub(crate) fn as_many_users_as_a_frame_holds_are_listed_at_once(place: &Place) {
    let fleet = Fleet::new();
    // As much as fits a frame is more than a busy machine gets through in the usual time.
    let daemon = setup(place, &fleet)
        .key("store.redis.command_timeout", "\"30s\"")
        .key("limits.request_timeout", "\"60s\"")
        .start();
    let mut peer = daemon.connect();
    let names: Vec<String> = (0..18_000).map(|number| format!("user-{number:06}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), "01:30:00")).collect();
    let request = listing(&entries);
    assert!(request.len() < 1 << 20, "{} bytes", request.len());
    let reply = peer.served(&request);
    assert_eq!(times_in_any(&reply), names.len());
    assert_eq!(peer.ask(enter(&names[17_999])), study_time(&names[17_999], Some("01:30:00")));
}

fn times_in_any(listing: &str) -> usize {
    let listing: Value = serde_json::from_str(listing).unwrap();
    listing["users"].as_array().map_or(0, Vec::len)
}
