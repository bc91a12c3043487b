//! What is forwarded to signaling, and what comes of it when signaling misbehaves.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::fleet::{Fleet, assert_told_only};
use crate::harness::{Setup, moment, wait_until};
use crate::played::{Act, Manners, Played};
use crate::requests::{alert, enter, heartbeat, kick_out, last, leave, subscribe};
use crate::wire::{Framing, error_of};

fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

#[test]
fn only_an_object_with_a_member_error_is_a_refusal() {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    let successes = [
        "SUCCESS",
        "",
        "error",
        "\"error\"",
        "[{\"error\":1}]",
        "{\"a\":{\"error\":1}}",
        "{\"Error\":1}",
        "{\"error\"",
        "{\"a\":\"error\"}",
        "성공",
    ];
    for text in successes {
        fleet.signaling.behave(say(text));
        assert_eq!(peer.ask(kick_out("u1", 1)), "", "{text}");
    }
    let refusals = [
        "{\"error\":{}}",
        "{\"error\":null}",
        "{\"error\":false}",
        "{\"a\":[1],\"error\":\"\"}",
        " { \"error\" : 1 } ",
        "{\"err\\u006fr\":1}",
    ];
    for text in refusals {
        fleet.signaling.behave(say(text));
        println!("{text}");
        peer.refused(kick_out("u1", 1), "CHAT-002");
    }
}

#[test]
fn signaling_is_spoken_to_in_its_own_framing_and_may_answer_byte_by_byte() {
    for framing in Framing::ALL {
        let mut fleet = Fleet::new();
        fleet.signaling = Played::absent(framing);
        fleet.signaling.behave(Act::SayByteByByte("SUCCESS".to_owned()));
        fleet.signaling.appear();
        let name = format!("\"{}\"", framing.name());
        let daemon = Setup::with(&fleet).key("gateways.signaling.framing", &name).start();
        let mut peer = daemon.connect();
        for count in 0..3 {
            assert_eq!(peer.ask(alert("가", 1, count)), "");
        }
        let told = fleet.signaling.told();
        assert_eq!(
            told[2],
            r#"{"server":"state","type":"ALERT","user_id":"\uAC00","room_id":1,"alert_count":2}"#
        );
        assert_eq!(fleet.signaling.connections(), 1, "a connection is used again");
    }
}

#[test]
fn a_reply_that_breaks_its_framing_is_not_a_delivery_and_costs_its_connection() {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    let too_long = ((1_u32 << 20) + 1).to_be_bytes().to_vec();
    for bytes in [too_long, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), vec![0xff; 4]] {
        fleet.signaling.behave(Act::Write(bytes));
        peer.refused(kick_out("u1", 1), "CHAT-002");
        fleet.signaling.behave(say("SUCCESS"));
        assert_eq!(peer.ask(kick_out("u1", 1)), "");
    }
}

#[test]
fn what_nobody_asked_for_is_not_taken_for_the_next_reply() {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    let two = [Framing::Length4.frame(b"SUCCESS"), Framing::Length4.frame(b"{\"error\":1}")];
    fleet.signaling.behave(Act::Write(two.concat()));
    assert_eq!(peer.ask(kick_out("u1", 1)), "");
    fleet.signaling.behave(say("SUCCESS"));
    assert_eq!(peer.ask(kick_out("u1", 2)), "");
}

#[test]
fn a_reply_that_comes_too_late_is_not_taken_for_the_next_one() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::Wait);
    let daemon = Setup::with(&fleet).key("gateways.signaling.reply_timeout", "\"300ms\"").start();
    let mut peer = daemon.connect();
    peer.refused(kick_out("u1", 1), "CHAT-023");
    fleet.signaling.play(|text| say(if text.contains(":1}") { "{\"error\":1}" } else { "yes" }));
    for _ in 0..5 {
        assert_eq!(peer.ask(kick_out("u1", 2)), "");
    }
}

#[test]
fn connections_that_went_stale_in_the_pool_are_no_failure() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::SayAndHangUp("SUCCESS".to_owned()));
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    for room in 0..20 {
        assert_eq!(peer.ask(kick_out("u1", room)), "");
        wait_until("signaling has closed", || fleet.signaling.open() == 0);
    }
    assert_eq!(fleet.signaling.told().len(), 20);
}

#[test]
fn the_pool_is_bounded_and_whoever_waits_for_it_is_served_in_time() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::Wait);
    let daemon = Setup::with(&fleet).key("gateways.signaling.pool_size", "3").start();
    let mut peers: Vec<_> = (0..20).map(|_| daemon.connect()).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.send(kick_out(&format!("u{number}"), 1));
    }
    fleet.signaling.wait_told(3);
    moment();
    assert_eq!(fleet.signaling.told().len(), 3);
    fleet.signaling.behave(say("SUCCESS"));
    for peer in &mut peers {
        assert_eq!(peer.reply(), "");
    }
    assert_eq!(fleet.signaling.told().len(), 20);
    assert!(fleet.signaling.open_max() <= 3, "{} connections", fleet.signaling.open_max());
}

#[test]
fn waiting_for_a_connection_of_the_pool_counts_towards_the_reply_timeout() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::KeepSilent);
    let daemon = Setup::with(&fleet)
        .key("gateways.signaling.pool_size", "1")
        .key("gateways.signaling.reply_timeout", "\"500ms\"")
        .start();
    let mut peers: Vec<_> = (0..40).map(|_| daemon.connect()).collect();
    let asked = Instant::now();
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.send(kick_out(&format!("u{number}"), 1));
    }
    for peer in &mut peers {
        error_of(&peer.reply(), "CHAT-023");
    }
    // One after the other they would take 20 s, and wait for it.
    assert!(asked.elapsed() < Duration::from_secs(18), "took {:?}", asked.elapsed());
}

#[test]
fn a_message_longer_than_signaling_reads_is_not_sent() {
    let fleet = Fleet::new();
    let as_long = r#"{"server":"state","type":"KICK_OUT","user_id":"u1","room_id":1}"#;
    let max = as_long.len().to_string();
    let daemon = Setup::with(&fleet).key("gateways.signaling.max_frame_bytes", &max).start();
    let mut peer = daemon.connect();
    assert_eq!(peer.ask(kick_out("u1", 1)), "");
    peer.refused(kick_out("u1", 12), "CHAT-002");
    assert_told_only(&fleet.signaling, &[as_long]);
}

#[test]
fn the_longest_and_strangest_id_fits_what_an_unconfigured_spring_peer_reads() {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    let user = "\u{1}".repeat(256);
    assert_eq!(peer.ask(alert(&user, i64::MIN, i64::MIN)), "");
    peer.served(subscribe(&user, i64::MIN, "s1"));
    peer.served(leave(&user, "1"));
    peer.served(last(&[]));
    assert!(fleet.signaling.wait_told(1)[0].len() > 1536);
    assert!(fleet.room.wait_told(1)[0].contains("-9223372036854775808"));
    assert!(fleet.auth.wait_told(1)[0].len() > 1536);
}

#[test]
fn signaling_is_found_again_when_it_comes_up_and_nobody_waits_while_it_is_away() {
    let mut fleet = Fleet::new();
    fleet.signaling = Played::absent(Framing::Length4);
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    for room in 0..50 {
        peer.send(kick_out("u1", room));
    }
    for _ in 0..50 {
        error_of(&peer.reply(), "CHAT-021");
    }
    fleet.signaling.appear();
    wait_until("signaling is found", || peer.ask(kick_out("u1", 99)).is_empty());
    assert_told_only(
        &fleet.signaling,
        &[r#"{"server":"state","type":"KICK_OUT","user_id":"u1","room_id":99}"#],
    );
}

#[test]
fn a_signaling_service_that_closes_every_connection_at_once_cannot_be_reached() {
    let fleet = Fleet::new();
    fleet.signaling.have(Manners::HangsUpAtOnce);
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    for room in 0..20 {
        let reply = peer.ask(kick_out("u1", room));
        // Which of the two depends on whether the message was on its way already.
        let known = ["CHAT-021", "CHAT-002"].iter().any(|code| reply.contains(code));
        assert!(known, "{reply}");
    }
    fleet.signaling.have(Manners::Reads);
    wait_until("signaling is found", || peer.ask(kick_out("u1", 99)).is_empty());
}

#[test]
fn what_one_connection_says_of_a_user_reaches_room_and_signaling_in_order() {
    const ROUNDS: i64 = 40;
    let fleet = Fleet::new();
    let told = Arc::new(Mutex::new(Vec::<String>::new()));
    for played in [&fleet.room, &fleet.signaling] {
        let told = Arc::clone(&told);
        played.play(move |text| {
            told.lock().unwrap().push(text.to_owned());
            say("SUCCESS")
        });
    }
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    for round in 0..ROUNDS {
        for user in ["u1", "u2", "u3"] {
            peer.send(subscribe(user, round, user));
            peer.send(leave(user, "1"));
            peer.send(kick_out(user, round));
            peer.send(alert(user, round, 1));
        }
    }
    for _ in 0..ROUNDS * 12 {
        peer.reply();
    }
    fleet.room.wait_told(3 * ROUNDS as usize);
    for user in ["u1", "u2", "u3"] {
        let mine = told.lock().unwrap().clone().into_iter();
        let mine: Vec<String> = mine.filter(|text| text.contains(&format!("\"{user}\""))).collect();
        let expected: Vec<String> = (0..ROUNDS)
            .flat_map(|room| {
                let about = format!(r#""user_id":"{user}","room_id":{room}"#);
                [
                    format!(r#"{{"server":"state",{about}}}"#),
                    format!(r#"{{"server":"state","type":"KICK_OUT",{about}}}"#),
                    format!(r#"{{"server":"state","type":"ALERT",{about},"alert_count":1}}"#),
                ]
            })
            .collect();
        assert_eq!(mine, expected);
    }
}

#[test]
fn a_slow_answer_about_one_user_holds_up_nothing_about_another() {
    let fleet = Fleet::new();
    fleet.signaling.play(|text| if text.contains("slow") { Act::Wait } else { say("SUCCESS") });
    let daemon = Setup::with(&fleet).start();
    let (mut peer, mut other) = (daemon.connect(), daemon.connect());
    peer.send(kick_out("slow", 1));
    peer.send(kick_out("slow", 2));
    peer.send(kick_out("quick", 3));
    other.served(kick_out("quick", 4));
    let told = fleet.signaling.wait_told(3);
    assert!(!told.iter().any(|text| text.ends_with(":2}")), "overtook the one before: {told:?}");
    other.served(enter("slow"));
    fleet.signaling.behave(say("SUCCESS"));
    for _ in 0..3 {
        assert_eq!(peer.reply(), "");
    }
    assert_eq!(fleet.signaling.told().len(), 4);
}

#[test]
fn no_peer_hears_anything_that_is_not_a_message_to_it() {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    peer.served(heartbeat());
    peer.served(kick_out("u1", 1));
    peer.served(subscribe("u1", 1, "s1"));
    peer.served(leave("u1", "1"));
    fleet.room.wait_told(1);
    crate::harness::rest(Duration::from_secs(2));
    drop(peer);
    daemon.stop();
    let told = [fleet.room.told().len(), fleet.signaling.told().len(), fleet.auth.told().len()];
    assert_eq!(told, [1, 1, 0]);
    wait_until("every connection is closed", || fleet.room.open() + fleet.signaling.open() == 0);
}
