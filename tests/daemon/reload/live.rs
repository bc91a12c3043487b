//! Each key that takes effect with a reload does so, on connections that are open.

mod access;
mod gateways;
mod limits;
mod rollover;
mod scrub;

use std::collections::BTreeSet;

/// Every live key, and the test that proves it.
const PROVED: &[&[&str]] =
    &[limits::KEYS, access::KEYS, gateways::KEYS, rollover::KEYS, scrub::KEYS, TLS, KEYS];

const KEYS: &[&str] =
    &["signaling.study_time_reply", "log.level", "log.max_repeats", "admin.token"];

/// Proved where TLS is: a renewed certificate is presented, an authority taken back is gone, and
/// what a gateway is called by changes, in `tls::` and `access::tls::`.
const TLS: &[&str] = &[
    "[listen].tls.cert",
    "[listen].tls.key",
    "[listen].tls.client_ca",
    "[listen].tls.client_auth",
    "admin.tls.cert",
    "admin.tls.key",
    "admin.tls.client_ca",
    "admin.tls.client_auth",
    "gateways.*.tls.ca",
    "gateways.*.tls.cert",
    "gateways.*.tls.key",
    "gateways.*.tls.server_name",
    "store.redis.tls.ca",
    "store.redis.tls.cert",
    "store.redis.tls.key",
];

use crate::fleet::Fleet;
use crate::harness::{Setup, wait_until};
use crate::http::{observed, request};
use crate::requests::{heartbeat, leave, study_time, subscribe};

#[test]
fn the_reference_calls_live_what_is_proved_to_be() {
    let reference = include_str!("../../../docs/configuration.md");
    let mut table = "";
    let mut live = BTreeSet::new();
    for line in reference.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            // Keys outside of all tables have a heading that is no table's.
            let name = heading.strip_prefix("`[").and_then(|rest| rest.strip_suffix("]`"));
            table = name.unwrap_or_default();
        }
        let cells: Vec<_> = line.split(" | ").collect();
        if let [key, _, .., "live", _] = cells.as_slice() {
            let key = key.trim_start_matches("| ").trim_matches('`');
            live.insert(if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") });
        }
    }
    let proved = PROVED.iter().copied().flatten().flat_map(|key| match key.split_once('*') {
        Some((before, after)) => {
            gateways::PEERS.iter().map(|peer| format!("{before}{peer}{after}")).collect()
        }
        None => vec![(*key).to_owned()],
    });
    assert_eq!(live, proved.collect());
}

#[test]
fn signaling_study_time_reply() {
    let fleet = Fleet::new();
    let setup = Setup::with(&fleet);
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.served(subscribe("u1", 1, "s1"));
    assert_eq!(peer.ask(leave("u1", "1")), study_time("u1", Some("1")));
    daemon.reload(&setup.key("signaling.study_time_reply", "\"with_owner\""));
    let with_owner = r#"{"user_id":"u1","study_time":"2","type":"KEEP"}"#;
    assert_eq!(peer.ask(leave("u1", "2")), with_owner);
}

#[test]
fn log_level() {
    let setup = Setup::new().key("log.level", "\"info\"");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.served(heartbeat());
    daemon.reload(&setup.clone().key("log.level", "\"info,stated::connection=debug\""));
    drop(daemon.connect());
    wait_until("a debug line is written", || daemon.log.has("\"level\":\"DEBUG\""));
    daemon.log.tells("changed: log.level: info -> info,stated::connection=debug");
    peer.served(heartbeat());
}

#[test]
fn a_reload_that_silences_the_log_is_in_the_log() {
    let setup = Setup::new().key("log.level", "\"info\"");
    let daemon = setup.start();
    let silenced = setup.key("log.level", "\"error\"");
    daemon.reload_text(&silenced.toml(), "changed: log.level: info -> error");
}

#[test]
fn admin_token() {
    let setup = observed(Setup::new());
    let daemon = setup.start();
    let change = || request("POST", "/api/v1/night/deliver");
    assert_eq!(change().ask(&daemon).status, 202);
    daemon.reload(&setup.clone().key("admin.token", "\"the-token-of-today\""));
    assert_eq!(change().ask(&daemon).status, 401);
    let bearer = change().header("Authorization", "Bearer the-token-of-today");
    assert_eq!(bearer.ask(&daemon).status, 202);
    daemon.reload(&setup.key("admin.token", "\"the-token-of-tomorrow\""));
    assert_eq!(bearer.ask(&daemon).status, 401);
    assert!(!daemon.log.has("the-token-of"), "{}", daemon.log.tail());
}

#[test]
fn log_max_repeats() {
    const FLOOD: usize = 1_000;
    let setup = Setup::new().key("log.max_repeats", "1");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    (0..FLOOD).for_each(|_| drop(peer.refused("garbage", "CHAT-003")));
    let few = daemon.log.count("answered CHAT-003");
    assert!(few < FLOOD / 2, "{few} lines");
    daemon.reload(&setup.key("log.max_repeats", "1000000"));
    (0..FLOOD).for_each(|_| drop(peer.refused("garbage", "CHAT-003")));
    wait_until("each has its line", || daemon.log.count("answered CHAT-003") >= FLOOD);
}
