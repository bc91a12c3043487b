//! What the daemon's log says: one line for an error, with what one would search by, some lines for
//! a flood of them, and nothing that is nobody's business.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::fleet::Fleet;
use crate::harness::{Daemon, Setup, WAIT_MAX, wait_until};
use crate::log::Log;
use crate::place::Place;
use crate::requests::{enter, kick_out, last, leave, listing, subscribe, unsubscribe};
use crate::wire::Client;

/// More than the log lets through of one cause, for all the windows a slow test may span.
const FLOOD: usize = 1_000;

fn lines(log: &Log) -> Vec<Value> {
    log.lines().iter().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// The lines about errors with this code.
fn about(log: &Log, code: &str) -> Vec<Value> {
    lines(log).into_iter().filter(|line| line["code"] == code).collect()
}

/// The line about an error with this code, once it is there.
fn line_about(daemon: &Daemon, code: &str) -> Value {
    wait_until("the error is logged", || !about(&daemon.log, code).is_empty());
    about(&daemon.log, code).remove(0)
}

fn nowhere() -> Place {
    Place::at("redis://127.0.0.1:1")
}

#[test]
fn an_error_that_a_peer_is_answered_is_one_line_with_what_one_would_search_by() {
    let daemon = Setup::new().start();
    let mut peer = daemon.connect();
    peer.refused(kick_out("u1", 7), "CHAT-021");
    let line = line_about(&daemon, "CHAT-021");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["peer"], peer.stream().local_addr().unwrap().to_string());
    assert_eq!(line["server"], "room");
    assert_eq!(line["type"], "KICK_OUT");
    assert_eq!(line["user.id"], "u1");
    let message = line["message"].as_str().unwrap();
    let begin = "room KICK_OUT answered CHAT-021: signaling can't be reached: ";
    assert!(message.starts_with(begin), "{message}");
    drop(peer);
}

#[test]
fn an_error_of_the_store_names_the_user() {
    let daemon = Setup::new().keeps(&nowhere()).start();
    let mut peer = daemon.connect();
    for (at, request) in
        [subscribe("u2", 7, "s"), enter("u2"), leave("u2", "1")].into_iter().enumerate()
    {
        peer.refused(request, "CHAT-031");
        wait_until("the error is logged", || about(&daemon.log, "CHAT-031").len() > at);
        let line = about(&daemon.log, "CHAT-031").remove(at);
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["user.id"], "u2", "{line}");
    }
    drop(peer);
}

#[test]
fn what_could_not_be_decoded_is_everyday_life_and_says_whose_it_is() {
    let daemon = Setup::new().start();
    let mut peer = daemon.connect();
    peer.refused("{}", "CHAT-003");
    let line = line_about(&daemon, "CHAT-003");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["peer"], peer.stream().local_addr().unwrap().to_string());
    assert_eq!(line["server"], "invalid");
    assert!(line.get("user.id").is_none(), "{line}");
    drop(peer);
}

#[test]
fn every_line_is_an_object_with_the_same_four_keys_and_no_depth() {
    let daemon = Setup::new().key("log.level", "\"trace\"").start();
    let mut peer = daemon.connect();
    peer.refused(unsubscribe("nobody"), "CHAT-001");
    peer.refused("no message", "CHAT-003");
    drop(peer);
    let log = daemon.log.clone();
    daemon.stop();
    for line in lines(&log) {
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key} of {line}");
        }
        let fields = line.as_object().unwrap();
        assert!(fields.values().all(|value| !value.is_object() && !value.is_array()), "{line}");
        assert!(fields.keys().all(|name| !name.starts_with("r#")), "{line}");
    }
}

/// What was counted as held back of this cause.
fn held_back(admin: SocketAddr, cause: &str) -> usize {
    sample(admin, &format!("stated_log_lines_held_back_total{{cause=\"{cause}\"}} "))
}

fn sample(admin: SocketAddr, series: &str) -> usize {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: stated\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page.lines().find_map(|line| line.strip_prefix(series)?.parse().ok()).unwrap()
}

fn admin_address(log: &Log) -> SocketAddr {
    let is_it = |line: &Value| line["message"] == "health and metrics are served";
    let line = lines(log).into_iter().find(is_it).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}

/// Each of the requests is in the log: with its line, or in the count of those without.
fn check_flood(setup: Setup, request: &str, code: &str) {
    let daemon = setup.key("admin.address", "\"127.0.0.1:0\"").start();
    let mut peer = daemon.connect();
    for _ in 0..FLOOD {
        peer.refused(request, code);
    }
    drop(peer);
    let log = daemon.log.clone();
    let counted = held_back(admin_address(&log), code);
    assert!(counted > FLOOD / 2, "{counted} of {FLOOD} lines were held back");
    // Nothing of it is lost with the end of the flood, be it the end of the daemon.
    daemon.stop();
    let told: u64 = lines(&log)
        .iter()
        .filter(|line| line["cause"] == code)
        .map(|line| line["held_back"].as_u64().unwrap())
        .sum();
    assert_eq!(about(&log, code).len() + counted, FLOOD);
    assert_eq!(told, counted as u64);
}

#[test]
fn a_peer_that_sends_garbage_fills_no_log() {
    check_flood(Setup::new(), "garbage", "CHAT-003");
}

#[test]
fn a_service_that_is_away_fills_no_log() {
    check_flood(Setup::new(), &kick_out("u1", 7), "CHAT-021");
}

#[test]
fn a_store_that_is_away_fills_no_log() {
    check_flood(Setup::new().keeps(&nowhere()), &enter("u1"), "CHAT-031");
}

#[test]
fn a_crowd_that_is_turned_away_fills_no_log() {
    let setup = Setup::new().key("limits.max_connections", "1").key("log.max_repeats", "3");
    let daemon = setup.key("admin.address", "\"127.0.0.1:0\"").start();
    let mut peer = daemon.connect();
    peer.served(enter("u1"));
    let mut crowd: Vec<_> = (0..20).map(|_| daemon.connect()).collect();
    crowd.iter_mut().for_each(Client::expect_end);
    let log = daemon.log.clone();
    let admin = admin_address(&log);
    let turned_away = "stated_connections_turned_away_total{limit=\"max_connections\"} ";
    assert_eq!(sample(admin, turned_away), crowd.len());
    let counted = held_back(admin, "turned_away");
    assert!(counted > 0);
    drop(peer);
    daemon.stop();
    let told = lines(&log).into_iter().filter(|line| {
        let message = line["message"].as_str().unwrap();
        message == "a peer is turned away: all places are taken"
    });
    assert_eq!(told.count() + counted, crowd.len());
}

#[test]
fn whoever_asks_for_lines_about_single_messages_gets_all_of_them() {
    let daemon = Setup::new().key("log.level", "\"debug\"").start();
    let mut peer = daemon.connect();
    for _ in 0..100 {
        peer.refused(unsubscribe("nobody"), "CHAT-001");
    }
    drop(peer);
    let log = daemon.log.clone();
    daemon.stop();
    assert_eq!(about(&log, "CHAT-001").len(), 100);
}

#[test]
fn a_level_can_be_for_lines_with_a_field() {
    let daemon = Setup::new().key("log.level", "\"info,stated[{code}]=debug\"").start();
    let mut peer = daemon.connect();
    peer.refused(unsubscribe("nobody"), "CHAT-001");
    drop(peer);
    let log = daemon.log.clone();
    daemon.stop();
    assert_eq!(about(&log, "CHAT-001").len(), 1);
    assert!(!log.has("a peer connected"));
}

#[test]
fn no_line_holds_a_study_time_or_what_else_a_message_says() {
    let secret = "7h-SECRET";
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).key("log.level", "\"trace\"").start();
    let mut peer = daemon.connect();
    peer.served(subscribe("u1", 7, "s1"));
    peer.served(leave("u1", secret));
    peer.served(enter("u1"));
    peer.served(listing(&[("u1", secret)]));
    peer.served(last(&[("u2", secret)]));
    for bad in [
        secret.to_owned(),
        format!("{{\"{secret}\":\"{secret}\"}}"),
        format!("{{\"server\":\"chat\",\"type\":\"SUBSCRIBE\",\"user_id\":[\"{secret}\"]}}"),
        leave("u1", &secret.repeat(20)),
        listing(&[("u1", &secret.repeat(20))]),
    ] {
        peer.refused(bad, "CHAT-003");
    }
    fleet.auth.wait_told(1);
    drop(peer);
    let log = daemon.log.clone();
    daemon.stop();
    assert!(!log.has("SECRET"), "{}", log.tail());
}
