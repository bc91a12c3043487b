//! Telling the room service who left: at most once, as soon as it can be, and never at the cost of
//! the one who reports it.

use std::time::{Duration, Instant};

use crate::fleet::{Fleet, assert_told_only};
use crate::harness::{Setup, moment, wait_until};
use crate::played::{Act, Manners, Played};
use crate::requests::{enter, kick_out, leave, study_time, subscribe};
use crate::wire::{Client, Framing};

const WITH_OWNER: (&str, &str) = ("signaling.study_time_reply", "\"with_owner\"");

fn room_out(user: &str, room: i64) -> String {
    format!(r#"{{"server":"state","user_id":"{user}","room_id":{room}}}"#)
}

/// The user enters the room and leaves; the reply.
fn come_and_go(peer: &mut Client, user: &str, room: i64) -> String {
    peer.served(subscribe(user, room, user));
    peer.served(leave(user, "00:10:00"))
}

fn owner(user: &str, rest: &str) -> String {
    format!(r#"{{"user_id":"{user}","study_time":"00:10:00",{rest}}}"#)
}

#[test]
fn room_is_told_once_even_if_it_closes_at_any_point_of_the_message() {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    let frame_bytes = 4 + room_out("u1000", 1).len();
    let points = [1, 2, 3, 4, 5, 20, frame_bytes - 1, frame_bytes];
    for (round, bytes) in points.into_iter().enumerate() {
        wait_until("no connection is left", || fleet.room.open() == 0);
        fleet.room.have(Manners::HangsUpAfterBytes(bytes));
        let cut = format!("u1{round:03}");
        come_and_go(&mut peer, &cut, 1);
        fleet.room.wait_cut_short(round + 1);
        fleet.room.have(Manners::Reads);
        fleet.room.behave(Act::SayAndHangUp("SUCCESS".to_owned()));
        let next = format!("u2{round:03}");
        come_and_go(&mut peer, &next, 1);
        fleet.room.wait_told_that("of the next user", |told| {
            told.last().is_some_and(|last| last.contains(&next))
        });
        let told = fleet.room.told();
        assert!(!told.contains(&room_out(&cut, 1)), "told again after {bytes} bytes: {told:?}");
        assert_eq!(told.len(), round + 1);
    }
}

#[test]
fn room_is_told_once_if_it_closes_or_stays_silent_after_reading() {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).key("gateways.room.reply_timeout", "\"300ms\"").start();
    let mut peer = daemon.connect();
    let mut expected = Vec::new();
    for (number, act) in
        [Act::HangUp, Act::KeepSilent, Act::Say("{\"error\":1}".to_owned()), Act::Write(vec![9])]
            .into_iter()
            .enumerate()
    {
        fleet.room.behave(act);
        let user = format!("u{number}");
        come_and_go(&mut peer, &user, 1);
        expected.push(room_out(&user, 1));
        fleet.room.wait_told(expected.len());
    }
    fleet.room.behave(Act::Say("SUCCESS".to_owned()));
    come_and_go(&mut peer, "last", 1);
    expected.push(room_out("last", 1));
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    assert_told_only(&fleet.room, &expected);
}

#[test]
fn what_could_not_be_sent_is_told_once_when_room_comes_up() {
    let mut fleet = Fleet::new();
    fleet.room = Played::absent(Framing::Length4);
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    let mut expected = Vec::new();
    for number in 0..30 {
        let user = format!("u{}", number % 10);
        assert_eq!(come_and_go(&mut peer, &user, number), study_time(&user, Some("00:10:00")));
        expected.push(room_out(&user, number));
    }
    fleet.room.appear();
    fleet.room.wait_told(30);
    moment();
    let told = fleet.room.told();
    let of = |all: &[String], user: usize| -> Vec<String> {
        all.iter().filter(|text| text.contains(&format!("\"u{user}\""))).cloned().collect()
    };
    for user in 0..10 {
        assert_eq!(of(&told, user), of(&expected, user), "in order for each user, each once");
    }
}

#[test]
fn a_room_that_hangs_up_on_everybody_for_a_while_is_told_nothing_twice() {
    let fleet = Fleet::new();
    fleet.room.have(Manners::HangsUpAtOnce);
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    for number in 0..20 {
        come_and_go(&mut peer, &format!("u{number}"), 1);
    }
    moment();
    fleet.room.have(Manners::Reads);
    come_and_go(&mut peer, "the last one", 1);
    fleet.room.wait_told_that("of the last one", |told| {
        told.iter().any(|told| told.contains("the last one"))
    });
    let mut told = fleet.room.told();
    let count = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), count, "told twice: {told:?}");
}

#[test]
fn what_can_never_be_sent_is_given_up_and_logged() {
    let mut fleet = Fleet::new();
    fleet.room = Played::absent(Framing::Length4);
    let daemon = Setup::with(&fleet).key("gateways.room.retry_for", "\"300ms\"").start();
    let mut peer = daemon.connect();
    come_and_go(&mut peer, "u1", 1);
    wait_until("it is logged", || daemon.log.has("never told of 1 who left"));
    fleet.room.appear();
    come_and_go(&mut peer, "u2", 1);
    assert_told_only(&fleet.room, &[&room_out("u2", 1)]);
}

#[test]
fn a_silent_room_holds_back_no_reply_to_signaling() {
    let fleet = Fleet::new();
    fleet.room.behave(Act::Wait);
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    for number in 0..50 {
        let user = format!("u{number}");
        assert_eq!(come_and_go(&mut peer, &user, 1), study_time(&user, Some("00:10:00")));
    }
    fleet.room.behave(Act::Say("SUCCESS".to_owned()));
    fleet.room.wait_told(50);
    assert!(fleet.room.open_max() <= 10);
}

#[test]
fn a_full_queue_drops_the_newcomer_and_refuses_nobody() {
    let mut fleet = Fleet::new();
    fleet.room = Played::absent(Framing::Length4);
    let daemon = Setup::with(&fleet).key("gateways.room.max_queue", "5").start();
    let mut peer = daemon.connect();
    for number in 0..8 {
        come_and_go(&mut peer, &format!("u{number}"), 1);
    }
    wait_until("it is logged", || daemon.log.has("never told of"));
    fleet.room.appear();
    fleet.room.wait_told(5);
    moment();
    let mut told = fleet.room.told();
    told.sort();
    let expected: Vec<String> = (0..5).map(|number| room_out(&format!("u{number}"), 1)).collect();
    assert_eq!(told, expected);
}

#[test]
fn the_queue_is_worked_off_before_the_daemon_ends() {
    let fleet = Fleet::new();
    fleet.room.behave(Act::Wait);
    let daemon = Setup::with(&fleet).key("gateways.room.pool_size", "1").start();
    let mut peer = daemon.connect();
    for number in 0..20 {
        come_and_go(&mut peer, &format!("u{number}"), 1);
    }
    drop(peer);
    fleet.room.wait_told(1);
    daemon.signal("-TERM");
    wait_until("it is stopping", || daemon.log.has("stopping"));
    fleet.room.behave(Act::Say("SUCCESS".to_owned()));
    let (status, log) = daemon.ended();
    assert!(status.success());
    assert!(!log.has("grace period is over"));
    assert_eq!(fleet.room.told().len(), 20);
}

#[test]
fn a_user_without_a_room_or_without_a_record_concerns_nobody() {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    peer.served(leave("new", "00:10:00"));
    let nowhere = r#"{"server":"chat","type":"SUBSCRIBE","user_id":"u1","session":"s1"}"#;
    peer.served(nowhere);
    peer.served(leave("u1", "00:10:00"));
    come_and_go(&mut peer, "u2", 7);
    assert_told_only(&fleet.room, &[&room_out("u2", 7)]);
}

#[test]
fn the_reply_with_owner_carries_what_room_said_and_keep_for_everything_else() {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).key(WITH_OWNER.0, WITH_OWNER.1).start();
    let mut peer = daemon.connect();
    let changes = [
        (r#"{"type":"CHANGE","user_id":"u2","room_id":5}"#, r#""userId":"u2","room_id":5"#),
        (
            r#" {"room_id" : 9223372036854775807, "type" : "CHANGE", "user_id" : "소라", "x":1} "#,
            r#""userId":"\uC18C\uB77C","room_id":9223372036854775807"#,
        ),
    ];
    for (said, carried) in changes {
        fleet.room.behave(Act::Say(said.to_owned()));
        let expected = owner("u1", &format!(r#""type":"CHANGE",{carried}"#));
        assert_eq!(come_and_go(&mut peer, "u1", 5), expected, "{said}");
    }
    let keeps = [
        r#"{"type":"KEEP"}"#,
        "SUCCESS",
        "",
        "{",
        "[]",
        "null",
        r#"{"type":"CHANGE"}"#,
        r#"{"type":"CHANGE","user_id":7,"room_id":5}"#,
        r#"{"type":"CHANGE","user_id":"","room_id":5}"#,
        r#"{"type":"OTHER","user_id":"u2","room_id":5}"#,
        r#"{"error":{"code":"ROOM-001"}}"#,
        r#"{"type":"CHANGE","user_id":"u2","room_id":5,"error":null}"#,
    ];
    for said in keeps {
        fleet.room.behave(Act::Say(said.to_owned()));
        assert_eq!(come_and_go(&mut peer, "u1", 5), owner("u1", r#""type":"KEEP""#), "{said}");
    }
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("00:10:00")));
    let told = fleet.room.told();
    assert_eq!(told.len(), changes.len() + keeps.len());
}

#[test]
fn with_owner_answers_in_time_and_stores_the_time_however_room_stalls() {
    let fleet = Fleet::new();
    fleet.room.behave(Act::KeepSilent);
    let daemon = Setup::with(&fleet)
        .key(WITH_OWNER.0, WITH_OWNER.1)
        .key("gateways.room.reply_timeout", "\"400ms\"")
        .key("gateways.room.pool_size", "2")
        .key("limits.request_timeout", "\"2s\"")
        .start();
    let mut peers: Vec<Client> = (0..100).map(|_| daemon.connect()).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.served(subscribe(&format!("u{number}"), 1, &format!("s{number}")));
    }
    let asked = Instant::now();
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.send(leave(&format!("u{number}"), "00:10:00"));
    }
    for (number, peer) in peers.iter_mut().enumerate() {
        assert_eq!(peer.reply(), owner(&format!("u{number}"), r#""type":"KEEP""#));
    }
    // One after the other, on both connections, they would take 20 s, and wait for it.
    assert!(asked.elapsed() < Duration::from_secs(18), "took {:?}", asked.elapsed());
    let time = peers[0].ask(enter("u19"));
    assert_eq!(time, study_time("u19", Some("00:10:00")));
    drop(peers);
    fleet.room.behave(Act::Say("SUCCESS".to_owned()));
}

#[test]
fn signaling_hears_of_a_user_only_after_room_did() {
    let fleet = Fleet::new();
    fleet.room.behave(Act::Wait);
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    come_and_go(&mut peer, "u1", 1);
    fleet.room.wait_told(1);
    peer.send(leave("u1", "00:10:00"));
    peer.send(kick_out("u1", 1));
    peer.reply();
    moment();
    assert_eq!(fleet.signaling.told().len(), 0, "overtook a room-out that is under way");
    fleet.room.behave(Act::Say("SUCCESS".to_owned()));
    assert_eq!(peer.reply(), "");
    assert_eq!((fleet.room.told().len(), fleet.signaling.told().len()), (2, 1));
}
