//! The figures of a real daemon, and what is built on them: alerts, their tests, the dashboard.

mod dashboard;
mod rules;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use stated::build;

use crate::admin::{metrics, observed, sample};
use crate::fleet::Fleet;
use crate::harness::{Daemon, Setup, wait_until};
use crate::place::{Place, wait_for};
use crate::requests::{enter, heartbeat, kick_out, last, leave, listing, subscribe, unsubscribe};
use crate::servers::redis::RedisServer;
use crate::wire::Framing;

/// Runs promtool with this input; `None` where it is not installed, which the test says.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    promtool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = promtool.spawn() else {
        println!("skipped: promtool is not installed");
        return None;
    };
    promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(promtool.wait_with_output().unwrap())
}

pub(crate) fn value(daemon: &Daemon, series: &str) -> f64 {
    let page = metrics(daemon);
    sample(&page, series).unwrap_or_else(|| panic!("{series} in:\n{page}"))
}

#[test]
fn the_page_satisfies_promtool() {
    let daemon = observed(Setup::new()).start();
    let Some(output) = promtool(&["check", "metrics"], &metrics(&daemon)) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_process_and_its_runtime_are_measured() {
    let daemon = observed(Setup::new().key("limits.max_connections", "77")).start();
    let open = |of: &str| value(&daemon, of);
    assert_eq!(open("stated_connections_max"), 77.0);
    assert_eq!(open("stated_alive"), 1.0);
    let (version, commit, features) = (build::VERSION, build::COMMIT, build::FEATURES);
    let built = format!("version=\"{version}\",commit=\"{commit}\",features=\"{features}\"");
    assert_eq!(open(&format!("stated_build_info{{{built}}}")), 1.0);
    assert!(open("stated_runtime_workers") >= 1.0 && open("stated_runtime_tasks") >= 3.0);
    assert!(open("stated_runtime_busy_seconds_total") > 0.0);
    assert!(open("process_threads") >= open("stated_runtime_workers"));
    assert!(open("process_resident_memory_bytes") > f64::from(1 << 20));
    assert!(open("process_virtual_memory_bytes") > open("process_resident_memory_bytes"));
    assert!(open("process_max_fds") > open("process_open_fds"));
    let before = open("process_open_fds");
    let mut peers: Vec<_> = (0..50).map(|_| daemon.connect()).collect();
    for peer in &mut peers {
        peer.ask(heartbeat());
    }
    // The connections on which we ask may be closed sooner or later.
    let after = open("process_open_fds");
    assert!(after >= before + 45.0, "{before} {after}");
}

#[test]
fn users_sessions_and_rooms_are_counted() {
    let daemon = observed(Setup::new()).start();
    let mut peer = daemon.connect();
    peer.ask(subscribe("u1", 7, "s1"));
    peer.ask(subscribe("u2", 7, "s2"));
    peer.ask(subscribe("u3", 8, "s3"));
    peer.ask(unsubscribe("s3"));
    wait_until("they are counted", || {
        let page = metrics(&daemon);
        let of = |name: &str| sample(&page, name);
        (of("stated_users"), of("stated_sessions_live"), of("stated_rooms"))
            == (Some(3.0), Some(2.0), Some(1.0))
    });
    assert!(value(&daemon, "stated_store_counted_timestamp_seconds") > 1.7e9);
}

#[test]
fn the_stage_of_the_night_is_the_one_that_is_1() {
    let daemon = observed(Setup::new()).start();
    let stage = || {
        let page = metrics(&daemon);
        let of_stage = |line: &str| line.starts_with("stated_night_stage{") && line.ends_with(" 1");
        let lines: Vec<_> = page.lines().filter(|line| of_stage(line)).collect();
        assert_eq!(lines.len(), 1, "{page}");
        lines[0].split('"').nth(1).unwrap().to_owned()
    };
    wait_until("nothing is to be done", || stage() == "idle");
    daemon.connect().ask(listing(&[("u1", "01:00:00")]));
    wait_until("it is being listed", || stage() == "listing");
    daemon.connect().ask(last(&[]));
    wait_until("auth is not there, and is tried again", || stage() == "retrying");
}

/// Names and labels of all samples.
fn series(page: &str) -> BTreeSet<String> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

#[test]
fn no_peer_adds_a_series() {
    let daemon = observed(Setup::new()).start();
    wait_until("the night is known", || metrics(&daemon).contains("\nstated_night_day "));
    let before = series(&metrics(&daemon));
    let mut peer = daemon.connect();
    for number in 0..50 {
        let name = format!("x{number}");
        peer.ask(leave(&name, &name));
        peer.ask(enter(&name));
        peer.ask(kick_out(&name, number));
        peer.ask(format!("{{\"server\":\"{name}\",\"type\":\"{name}\"}}"));
        peer.ask(name);
    }
    let after = series(&metrics(&daemon));
    assert!(before.is_subset(&after));
    let new = after.difference(&before).filter(|one| !one.starts_with("stated_dependency_up{"));
    assert_eq!(new.collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(after.len() < 1500, "{}", after.len());
}

#[test]
fn the_configuration_in_force_is_named_and_reloads_are_counted() {
    let digest_of = |page: &str| {
        let line = page.lines().find(|line| line.starts_with("stated_config_info{")).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let setup = observed(Setup::new());
    let daemon = setup.start();
    let first = metrics(&daemon);
    let digest = digest_of(&first);
    assert!(digest.len() == 16 && digest.chars().all(|c| c.is_ascii_hexdigit()), "{digest}");
    daemon.reload(&setup.clone().key("limits.max_connections", "77"));
    daemon.reload_text("nonsense", "reload refused");
    let live = metrics(&daemon);
    assert_ne!(digest_of(&live), digest);
    let loaded = |page: &str| sample(page, "stated_config_loaded_timestamp_seconds");
    assert!(loaded(&live) > loaded(&first) && loaded(&first) > Some(1.7e9));
    let of = |name: &str| value(&daemon, name);
    assert_eq!(of("stated_connections_max"), 77.0);
    assert_eq!(of("stated_config_reloads_total{outcome=\"applied\"}"), 1.0);
    assert_eq!(of("stated_config_reloads_total{outcome=\"refused\"}"), 1.0);
    assert_eq!(of("stated_config_needs_restart"), 0.0);
    daemon.reload(&setup.key("store.redis.command_timeout", "\"3s\""));
    assert_eq!(of("stated_config_needs_restart"), 1.0);
}

#[test]
fn a_gateway_shows_its_pool_and_its_breaker() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet).key("gateways.signaling.pool_size", "3")).start();
    daemon.connect().ask(kick_out("u1", 7));
    let of = |name: &str, state: &str| format!("stated_gateway_{name}{{peer={state}}}");
    assert_eq!(value(&daemon, &of("pool_connections_max", "\"signaling\"")), 3.0);
    assert_eq!(value(&daemon, &of("pool_connections", "\"signaling\",state=\"idle\"")), 1.0);
    assert_eq!(value(&daemon, &of("pool_connections", "\"signaling\",state=\"in_use\"")), 0.0);
    assert_eq!(value(&daemon, &of("waiting_callers", "\"signaling\"")), 0.0);
    assert_eq!(value(&daemon, &of("breaker_state", "\"signaling\",state=\"closed\"")), 1.0);
    let alone = observed(Setup::new()).start();
    alone.connect().refused(kick_out("u1", 7), "CHAT-021");
    assert_eq!(value(&alone, &of("breaker_state", "\"signaling\",state=\"closed\"")), 0.0);
}

#[test]
fn links_to_redis_are_counted_as_they_come_and_go() {
    let mut server = wait_for(RedisServer::start());
    let place = Place::at(server.url().expose());
    let daemon = observed(Setup::new().keeps(&place)).start();
    let event =
        |name: &str| value(&daemon, &format!("stated_store_link_events_total{{event=\"{name}\"}}"));
    let open = || value(&daemon, "stated_store_links");
    wait_until("it is connected", || open() == 1.0 && event("opened") == 1.0);
    assert_eq!(event("lost"), 0.0);
    server.stop();
    wait_until("the loss is counted", || event("lost") == 1.0 && event("failed") > 0.0);
    assert_eq!(open(), 0.0);
    wait_for(server.start_again());
    wait_until("it is connected again", || open() == 1.0 && event("opened") == 2.0);
}

/// A study time is longer than what a peer with one byte for the length can be told.
#[test]
fn an_answer_that_the_framing_can_not_carry_counts_as_the_error_that_was_sent() {
    let framings = [Framing::Length4, Framing::Length1];
    let daemon = observed(Setup::new().listens(&framings)).start();
    let (user, time) = ("u".repeat(185), "0".repeat(64));
    daemon.connect().served(leave(&user, &time));
    daemon.connect_in(Framing::Length1).refused(enter(&user), "CHAT-031");
    let of = |outcome: &str| {
        let labels = "server=\"signaling\",type=\"STUDY_TIME_FROM_TCP\"";
        value(&daemon, &format!("stated_requests_total{{{labels},outcome=\"{outcome}\"}}"))
    };
    assert_eq!((of("ok"), of("CHAT-031")), (0.0, 1.0));
}
