//! Plays the refused, the odd and the stored cases of `proto-json/` against the real daemon.

use serde_json::Value;

use crate::contract::json;
use crate::fleet::{Fleet, times_in};
use crate::harness::{Daemon, Setup};
use crate::place::{Place, wait_for};
use crate::schema::Schemas;
use crate::servers::redis::RedisServer;
use crate::wire::{Client, Framing};

fn bytes_of(case: &Value) -> Vec<u8> {
    match case["hex"].as_str() {
        Some(hex) => {
            let digits = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
            digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
        }
        None => case["payload"].as_str().unwrap().as_bytes().to_vec(),
    }
}

/// One refused request, after which the same connection is served.
fn check_refusal(peer: &mut Client, framing: Framing, case: &Value, schemas: &Schemas) {
    let payload = bytes_of(case);
    if payload.len() > framing.payload_bytes_max() {
        return;
    }
    println!("{}: {}", framing.name(), case["name"]);
    let error = peer.refused(&payload, case["code"].as_str().unwrap());
    schemas.check("error", &serde_json::json!({ "error": error }).to_string());
    // One length byte has no room for every detail.
    if let (Some(member), Some(detail)) = (case["detail_names"].as_str(), error["detail"].as_str())
    {
        assert!(detail.contains(member), "{detail:?} does not name {member}");
    }
    let next = r#"{"server":"auth","type":"STUDY_TIME_FROM_TCP","user_id":"u1"}"#;
    assert_eq!(peer.ask(next), r#"{"user_id":"u1","study_time":null}"#);
}

#[test]
fn every_wrong_request_is_refused_in_every_framing_and_changes_nothing() {
    let schemas = Schemas::load();
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).listens(&Framing::ALL).start();
    for framing in Framing::ALL {
        let mut peer = daemon.connect_in(framing);
        for case in json("errors/cases.json").as_array().unwrap() {
            check_refusal(&mut peer, framing, case, &schemas);
        }
    }
    // Had anything made a record, auth would be told of it.
    let last = r#"{"server":"signaling_scheduling","type":"SCHEDULER_LAST","users":[{"user_id":"the only one","study_time":"1"}]}"#;
    assert_eq!(daemon.connect().ask(last), last);
    let told = fleet.auth.wait_told(1);
    assert_eq!(times_in(&told[0]), [("the only one".to_owned(), Some("1".to_owned()))]);
    daemon.stop();
    assert_eq!(fleet.auth.told().len(), 1);
    assert_eq!((fleet.room.told(), fleet.signaling.told()), (vec![], vec![]));
}

fn check_acceptance(daemon: &Daemon, framing: Framing, case: &Value, schemas: &Schemas) {
    let mut peer = daemon.connect_in(framing);
    for before in case["before"].as_array().into_iter().flatten() {
        peer.served(before.as_str().unwrap());
    }
    let payload = case["payload"].as_str().unwrap();
    let reply = peer.ask(payload);
    assert_eq!(reply, case["reply"].as_str().unwrap(), "{}: {}", framing.name(), case["name"]);
    // A payload that serde_json's own value can't hold, such as 1e400, is not held against it.
    let Ok(value) = serde_json::from_str::<Value>(payload) else { return };
    let kind = format!("{}/{}", value["server"].as_str().unwrap(), value["type"].as_str().unwrap());
    assert!(schemas.is_valid(&kind, &value), "{}: not as {kind} says", case["name"]);
    schemas.check_reply(&kind, &reply);
}

#[test]
fn every_odd_request_is_served_in_every_framing() {
    let schemas = Schemas::load();
    for case in json("accepted/cases.json").as_array().unwrap() {
        let payloads = [&case["payload"], &case["reply"]].map(|text| text.as_str().unwrap().len());
        let longest = payloads.into_iter().max().unwrap();
        for framing in Framing::ALL.iter().filter(|one| longest <= one.payload_bytes_max()) {
            let fleet = Fleet::new();
            let daemon = Setup::with(&fleet).listens(&[*framing]).start();
            check_acceptance(&daemon, *framing, case, &schemas);
        }
    }
}

/// A user's record as somebody else wrote it.
fn check_stored(server: &RedisServer, daemon: &Daemon, case: &Value, schemas: &Schemas) {
    println!("{}", case["name"]);
    wait_for(server.ask::<()>(&["FLUSHALL"]));
    for (field, value) in case["fields"].as_object().unwrap() {
        wait_for(server.ask::<i64>(&["HSET", "realTimeData:u1", field, value.as_str().unwrap()]));
    }
    let stored = || wait_for(server.ask::<Vec<String>>(&["HGETALL", "realTimeData:u1"]));
    let (before, mut peer) = (stored(), daemon.connect());
    let request = r#"{"server":"auth","type":"STUDY_TIME_FROM_TCP","user_id":"u1"}"#;
    let write = r#"{"server":"chat","type":"SUBSCRIBE","user_id":"u1","room_id":9223372036854775807,"session":"s9"}"#;
    if let Some(code) = case["code"].as_str() {
        peer.refused(request, code);
        peer.refused(write, code);
        assert_eq!(stored(), before, "what can't be read is never overwritten");
        return;
    }
    let study_time = &case["study_time"];
    assert_eq!(peer.ask(request), format!(r#"{{"user_id":"u1","study_time":{study_time}}}"#));
    peer.served(write);
    let record: String = wait_for(server.ask(&["HGET", "realTimeData:u1", "data"]));
    schemas.check("record", &record);
    let expected = format!(
        r#"{{"userId":"u1","roomId":9223372036854775807,"sessionId":"s9","studyTime":{study_time}}}"#
    );
    assert_eq!(record, expected);
    assert_eq!(wait_for(server.ask::<String>(&["GET", "sessionIdIndex:s9"])), "u1");
}

#[test]
fn every_record_that_others_stored_is_read_or_left_alone() {
    let schemas = Schemas::load();
    let server = wait_for(RedisServer::start());
    let daemon = Setup::new().keeps(&Place::at(server.url().expose())).start();
    for case in json("stored/cases.json").as_array().unwrap() {
        check_stored(&server, &daemon, case, &schemas);
    }
}

#[test]
fn a_refused_request_leaves_no_key_in_redis() {
    let schemas = Schemas::load();
    let server = wait_for(RedisServer::start());
    let daemon = Setup::new().keeps(&Place::at(server.url().expose())).start();
    let mut peer = daemon.connect();
    let keys = || wait_for(server.ask::<Vec<String>>(&["KEYS", "*"]));
    let own = keys();
    for case in json("errors/cases.json").as_array().unwrap() {
        check_refusal(&mut peer, Framing::Length4, case, &schemas);
    }
    let left: Vec<String> = keys().into_iter().filter(|key| !own.contains(key)).collect();
    let records = |key: &&String| key.starts_with("realTimeData") || key.starts_with("sessionId");
    assert_eq!(left.iter().filter(records).collect::<Vec<_>>(), Vec::<&String>::new());
}
