//! Whatever comes in, the daemon answers each frame once and serves the next peer.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::harness::{Daemon, Setup};
use crate::requests::{enter, heartbeat, leave, study_time, subscribe};
use crate::schema::Schemas;
use crate::wire::{Client, Framing, is_closed};

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

fn assert_lives(daemon: &Daemon) {
    assert_eq!(daemon.connect().ask(enter("nobody")), study_time("nobody", None));
}

/// Reads what is answered until the daemon closes. All of it is frames, and in them errors,
/// replies or nothing.
fn read_to_end(peer: &mut Client) -> Vec<String> {
    let mut replies = Vec::new();
    loop {
        match peer.try_reply() {
            Ok(reply) => {
                let is_object = || serde_json::from_str::<Value>(&reply).unwrap().is_object();
                assert!(reply.is_empty() || is_object(), "{reply}");
                replies.push(reply);
            }
            Err(error) => {
                assert!(is_closed(&error), "neither answered nor closed: {error}");
                return replies;
            }
        }
    }
}

#[test]
fn any_bytes_are_survived_in_any_framing() {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).listens(&Framing::ALL).start();
    let valid = [heartbeat(), enter("u1"), leave("u1", "1"), subscribe("u1", 5, "s1")];
    let framed = |framing: Framing| -> Vec<u8> {
        valid.iter().flat_map(|text| framing.frame(text.as_bytes())).collect()
    };
    let strategy = (0..Framing::ALL.len(), vec(any::<u8>(), 0..300), any::<prop::sample::Index>());
    let outcome = runner(300).run(&strategy, |(framing, garbage, at)| {
        let framing = Framing::ALL[framing];
        let mut bytes = framed(framing);
        let at = at.index(bytes.len());
        // In front, in the middle of a frame, or after all of them.
        bytes.splice(at..(at + garbage.len() / 2).min(bytes.len()), garbage);
        let mut peer = daemon.connect_in(framing);
        // The daemon may have closed already.
        drop(peer.try_send_bytes(&bytes));
        drop(peer.stream().shutdown(std::net::Shutdown::Write));
        read_to_end(&mut peer);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert_lives(&daemon);
}

/// Values of every kind, among them those that mean something.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop_oneof![Just("u1"), Just("s1"), Just("5"), Just(" "), Just(""), Just("00:10:00")]
            .prop_map(Value::from),
        Just(json!([{"user_id": "u1", "study_time": "1"}, {"user_id": "u2", "study_time": null}])),
        Just(json!([{"user_id": "u1"}, 5])),
        Just(json!({"a": [[[]]]})),
    ]
}

fn any_request() -> impl Strategy<Value = Value> {
    let known = |words: &'static [&'static str]| {
        prop_oneof![
            9 => prop::sample::select(words).prop_map(Value::from),
            1 => any_value(),
        ]
    };
    let servers = known(&["chat", "signaling", "signaling_scheduling", "auth", "room"]);
    let types = known(&[
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "DISCONNECT",
        "SEND",
        "STUDY_TIME_FROM_TCP",
        "STUDY_TIME_TO_TCP",
        "SCHEDULER",
        "SCHEDULER_LAST",
        "ALERT",
        "KICK_OUT",
    ]);
    let member = prop::sample::select(
        &["user_id", "session", "room_id", "study_time", "alert_count", "users", "other"][..],
    );
    let members = prop::collection::btree_map(member, any_value(), 0..7);
    (servers, types, members).prop_map(|(server, kind, members)| {
        let mut request = json!({ "server": server, "type": kind });
        for (name, value) in members {
            request[name] = value;
        }
        request
    })
}

#[test]
fn any_object_is_answered_once_and_in_the_form_of_its_type() {
    let schemas = Schemas::load();
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).start();
    let outcome = runner(200).run(&vec(any_request(), 1..12), |requests| {
        let mut peer = daemon.connect();
        for request in &requests {
            peer.send(request.to_string());
        }
        peer.finish_sending();
        let replies = read_to_end(&mut peer);
        prop_assert_eq!(replies.len(), requests.len());
        for (request, reply) in requests.iter().zip(&replies) {
            let word = |name: &str| request[name].as_str().unwrap_or_default();
            schemas.check_reply(&format!("{}/{}", word("server"), word("type")), reply);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert_lives(&daemon);
}

#[test]
fn requests_may_be_split_anywhere() {
    let daemon = Setup::new().listens(&Framing::ALL).start();
    let strategy = (0..Framing::ALL.len(), vec(1..40_usize, 1..30));
    let outcome = runner(100).run(&strategy, |(framing, lengths)| {
        let framing = Framing::ALL[framing];
        let mut peer = daemon.connect_in(framing);
        let requests: Vec<String> = (0..8).map(|number| leave("u1", &number.to_string())).collect();
        let bytes: Vec<u8> =
            requests.iter().flat_map(|text| framing.frame(text.as_bytes())).collect();
        let mut rest = &bytes[..];
        for length in lengths.into_iter().cycle() {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            peer.send_bytes(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        for number in 0..8 {
            prop_assert_eq!(peer.reply(), study_time("u1", Some(&number.to_string())));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert_lives(&daemon);
}
