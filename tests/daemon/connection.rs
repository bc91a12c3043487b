//! A peer's connection: order, limits, half-closes, broken framing, and peers that misbehave.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::fleet::Fleet;
use crate::harness::{Setup, moment, wait_until};
use crate::played::Act;
use crate::requests::{alert, enter, heartbeat, kick_out, leave, study_time, subscribe};
use crate::wire::{Framing, error_among, error_of, is_closed};

/// A daemon whose signaling service lets everybody wait until it is told to behave.
fn stalled() -> Fleet {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::Wait);
    fleet
}

#[test]
fn replies_keep_the_order_of_requests_while_a_slow_one_is_in_front() {
    let fleet = stalled();
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    peer.send(kick_out("slow", 1));
    for number in 0..20 {
        peer.send(enter(&format!("u{number}")));
    }
    assert!(!peer.hears_something(Duration::from_millis(200)), "a reply overtook the first");
    fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    assert_eq!(peer.reply(), "");
    for number in 0..20 {
        assert_eq!(peer.reply(), study_time(&format!("u{number}"), None));
    }
}

#[test]
fn a_slow_request_keeps_nobody_else_from_being_worked_on() {
    let fleet = stalled();
    let daemon = Setup::with(&fleet).start();
    let (mut slow, mut other) = (daemon.connect(), daemon.connect());
    slow.send(kick_out("slow", 1));
    slow.send(leave("u1", "00:10:00"));
    // Behind the slow request, and not answered yet, but done.
    wait_until("the later request took effect", || {
        other.ask(enter("u1")) == study_time("u1", Some("00:10:00"))
    });
    fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    assert_eq!([slow.reply(), slow.reply()], ["".to_owned(), study_time("u1", Some("00:10:00"))]);
}

#[test]
fn what_one_connection_says_of_a_user_takes_effect_in_order() {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    for number in 0..300 {
        peer.send(leave("u1", &number.to_string()));
        peer.send(enter("u1"));
        peer.send(subscribe("u1", number, &format!("s{number}")));
        if number == 0 {
            continue;
        }
        peer.send(crate::requests::unsubscribe(&format!("s{}", number - 1)));
    }
    for number in 0..300_i64 {
        let time = number.to_string();
        assert_eq!(peer.reply(), study_time("u1", Some(&time)));
        assert_eq!(peer.reply(), study_time("u1", Some(&time)));
        let record = format!(
            r#"{{"userId":"u1","roomId":{number},"sessionId":"s{number}","studyTime":"{time}"}}"#
        );
        assert_eq!(peer.reply(), record);
        if number > 0 {
            error_of(&peer.reply(), "CHAT-001");
        }
    }
}

#[test]
fn beyond_max_in_flight_the_socket_is_not_read() {
    let fleet = stalled();
    let daemon = Setup::with(&fleet).key("limits.max_in_flight", "4").start();
    let mut peer = daemon.connect();
    for number in 0..8 {
        peer.send(kick_out(&format!("u{number}"), number));
    }
    fleet.signaling.wait_told(4);
    let before = daemon.resident_kib();
    let (frame, written) = flood(&peer, enter("u1").as_bytes());
    moment();
    assert_eq!(fleet.signaling.told().len(), 4, "more than max_in_flight were worked on");
    let grown = daemon.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "grew by {grown} KiB over a peer that can't be served");
    fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    // The flood ended within a frame.
    let rest = frame[written % frame.len()..].to_vec();
    let mut writer = peer.stream().try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&rest).unwrap());
    for _ in 0..8 {
        assert_eq!(peer.reply(), "");
    }
    for _ in 0..written.div_ceil(frame.len()) {
        assert_eq!(peer.reply(), study_time("u1", None));
    }
    writing.join().unwrap();
}

/// Sends the same request until nobody takes it any more; the frame, and how many bytes went out.
pub(crate) fn flood(peer: &crate::wire::Client, payload: &[u8]) -> (Vec<u8>, usize) {
    const ENOUGH: usize = 256 << 20;
    let frame = Framing::Length4.frame(payload);
    let mut stream = peer.stream();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut written = 0;
    while let Ok(bytes) = stream.write(&frame[written % frame.len()..]) {
        written += bytes;
        assert!(written < ENOUGH, "the daemon takes everything");
    }
    stream.set_write_timeout(None).unwrap();
    (frame, written)
}

#[test]
fn whoever_stops_sending_still_gets_every_reply() {
    let fleet = stalled();
    let daemon = Setup::with(&fleet).listens(&Framing::ALL).start();
    for framing in Framing::ALL {
        fleet.signaling.behave(Act::Wait);
        let mut peer = daemon.connect_in(framing);
        peer.send(kick_out("slow", 1));
        peer.send(enter("u1"));
        peer.send("nonsense");
        peer.finish_sending();
        assert!(!peer.hears_something(Duration::from_millis(100)));
        fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
        assert_eq!(peer.reply(), "");
        assert_eq!(peer.reply(), study_time("u1", None));
        error_of(&peer.reply(), "CHAT-003");
        peer.expect_end();
    }
}

#[test]
fn a_peer_that_never_reads_costs_a_bounded_amount_of_memory_and_nobody_any_time() {
    let daemon = Setup::new().start();
    let before = daemon.resident_kib();
    let deaf: Vec<_> = (0..4).map(|_| daemon.connect()).collect();
    let user = "u".repeat(256);
    for peer in &deaf {
        flood(peer, enter(&user).as_bytes());
    }
    let grown = daemon.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "grew by {grown} KiB over four deaf peers");
    assert_eq!(daemon.connect().ask(enter("u1")), study_time("u1", None));
}

#[test]
fn one_connection_too_many_is_turned_away_until_another_leaves() {
    let daemon = Setup::new().key("limits.max_connections", "2").start();
    let (mut first, mut second) = (daemon.connect(), daemon.connect());
    first.served(heartbeat());
    second.served(heartbeat());
    let mut third = daemon.connect();
    drop(third.try_send_bytes(&Framing::Length4.frame(heartbeat().as_bytes())));
    assert!(third.try_reply().is_err_and(|error| is_closed(&error)));
    drop(first);
    second.served(heartbeat());
    wait_until("a place is free again", || {
        let mut next = daemon.connect();
        next.try_send_bytes(&Framing::Length4.frame(heartbeat().as_bytes())).is_ok()
            && next.try_reply().is_ok()
    });
}

#[test]
fn every_request_is_answered_in_time_however_many_wait_for_the_same_user() {
    let fleet = stalled();
    let daemon = Setup::with(&fleet)
        .key("limits.request_timeout", "\"600ms\"")
        .key("gateways.signaling.reply_timeout", "\"400ms\"")
        .start();
    let mut peer = daemon.connect();
    let asked = Instant::now();
    for count in 0..30 {
        peer.send(alert("u1", 1, count));
    }
    for _ in 0..30 {
        // Whose time was over before it had a connection was never at the peer at all.
        error_among(&peer.reply(), &["CHAT-021", "CHAT-023"]);
    }
    // One after the other they would take 12 s, and wait for it.
    assert!(asked.elapsed() < Duration::from_secs(11), "took {:?}", asked.elapsed());
    peer.served(enter("u1"));
}

#[test]
fn peers_that_stop_in_the_middle_of_a_frame_hold_nobody_up() {
    let daemon = Setup::new().listens(&Framing::ALL).start();
    let before = daemon.resident_kib();
    let idle: Vec<_> = (0..200)
        .map(|number| {
            let framing = Framing::ALL[number % Framing::ALL.len()];
            let mut peer = daemon.connect_in(framing);
            peer.send_bytes(&framing.frame(enter("u1").as_bytes())[..10]);
            peer
        })
        .collect();
    assert_eq!(daemon.connect().ask(enter("u1")), study_time("u1", None));
    let grown = daemon.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "grew by {grown} KiB over {} idle peers", idle.len());
}
