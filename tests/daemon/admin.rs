//! The admin server of a real daemon, asked over real HTTP: life, readiness, figures.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::Value;
use stated::metrics::families::{self, Kind};

use crate::fleet::Fleet;
use crate::harness::{Daemon, Setup, WAIT_MAX, start_in_vain, wait_until};
use crate::place::{Place, wait_for};
use crate::requests::{enter, heartbeat, kick_out, last, leave, subscribe};
use crate::servers::redis::RedisServer;
use crate::wire::Framing;

/// With an admin server on a port of its own.
pub(crate) fn observed(setup: Setup) -> Setup {
    setup.key("admin.address", "\"127.0.0.1:0\"")
}

fn admin_address(daemon: &Daemon) -> SocketAddr {
    let lines = daemon.log.lines();
    let line = lines.iter().find(|line| line.contains("health and metrics are served")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}

/// What is answered: the status and the whole answer, head included.
fn ask(daemon: &Daemon, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin_address(daemon)).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: stated\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn get(daemon: &Daemon, path: &str) -> (u16, Value) {
    let (status, answer) = ask(daemon, "GET", path);
    assert!(answer.contains("content-type: application/json"), "{answer}");
    (status, serde_json::from_str(body(&answer)).unwrap())
}

pub(crate) fn metrics(daemon: &Daemon) -> String {
    let (status, answer) = ask(daemon, "GET", "/metrics");
    assert_eq!(status, 200);
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    body(&answer).to_owned()
}

/// The value of one sample, named with its labels.
pub(crate) fn sample(page: &str, series: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    page.lines().find_map(value)
}

fn check(page: &str, expected: &[(&str, f64)]) {
    for (series, value) in expected {
        assert_eq!(sample(page, series), Some(*value), "{series} in:\n{page}");
    }
}

fn state_of(ready: &Value, dependency: &str) -> String {
    let all = ready["dependencies"].as_array().unwrap();
    let found = all.iter().find(|one| one["name"] == dependency).unwrap();
    assert!(found["since"].as_str().unwrap().ends_with('Z'), "{found}");
    found["state"].as_str().unwrap().to_owned()
}

pub(crate) fn wait_for_status(daemon: &Daemon, path: &str, status: u16) -> Value {
    let mut answer = Value::Null;
    wait_until(&format!("{path} answers {status}"), || {
        let (found, body) = get(daemon, path);
        answer = body;
        found == status
    });
    answer
}

#[test]
fn every_metric_is_on_the_page_and_nothing_else() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet)).start();
    wait_for_status(&daemon, "/readyz", 200);
    let page = metrics(&daemon);
    let told: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect();
    let known: Vec<_> =
        families::ALL.iter().map(|one| format!("{} {}", one.name, one.kind.name())).collect();
    assert_eq!(told, known);
    for family in families::ALL {
        let suffix = if family.kind == Kind::Histogram { "_count" } else { "" };
        let begins = |end: &str| format!("{}{suffix}{end}", family.name);
        let starts = [begins("{"), begins(" ")];
        let has = page.lines().any(|line| starts.iter().any(|start| line.starts_with(start)));
        // There is none of a certificate, where there is no certificate.
        let has = has || family.name.starts_with("stated_tls_certificate_");
        assert!(has, "{} has no sample", family.name);
    }
}

#[test]
fn figures_move_as_requests_are_made() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet)).start();
    let mut peer = daemon.connect();
    peer.ask(subscribe("u1", 7, "s1"));
    peer.ask(leave("u1", "00:10:00"));
    peer.ask(enter("u1"));
    peer.ask(heartbeat());
    peer.ask(kick_out("u1", 7));
    peer.ask("{}");
    peer.ask(r#"{"server":"<script>","type":"\" } 1"}"#);
    fleet.room.wait_told(1);
    wait_until("room's answer is counted", || {
        sample(&metrics(&daemon), "stated_room_outs_total{outcome=\"answered\"}") == Some(1.0)
    });
    let page = metrics(&daemon);
    let request = |of: &str| format!("stated_requests_total{{{of}}}");
    for (of, count) in [
        ("server=\"chat\",type=\"SUBSCRIBE\",outcome=\"ok\"", 1.0),
        ("server=\"chat\",type=\"other\",outcome=\"ok\"", 1.0),
        ("server=\"signaling\",type=\"STUDY_TIME_TO_TCP\",outcome=\"ok\"", 1.0),
        ("server=\"room\",type=\"KICK_OUT\",outcome=\"ok\"", 1.0),
        ("server=\"invalid\",type=\"invalid\",outcome=\"CHAT-003\"", 2.0),
    ] {
        check(&page, &[(&request(of), count)]);
    }
    check(
        &page,
        &[
            ("stated_request_duration_seconds_count{server=\"signaling\"}", 2.0),
            ("stated_request_duration_seconds_bucket{server=\"chat\",le=\"+Inf\"}", 2.0),
            ("stated_requests_in_flight", 0.0),
            ("stated_connections", 1.0),
            ("stated_store_operation_duration_seconds_count{operation=\"open_session\"}", 1.0),
            ("stated_gateway_calls_total{peer=\"signaling\",outcome=\"ok\"}", 1.0),
            ("stated_gateway_connections_total{peer=\"signaling\",event=\"opened\"}", 1.0),
            ("stated_users", 1.0),
        ],
    );
    assert!(sample(&page, "stated_received_bytes_total") > Some(300.0));
    assert!(!page.contains("script"), "a label came from the wire");
    drop(peer);
    wait_until("the connection's end is counted", || {
        let page = metrics(&daemon);
        sample(&page, "stated_connections_closed_total{reason=\"peer\"}") == Some(1.0)
            && sample(&page, "stated_connections") == Some(0.0)
    });
}

#[test]
fn the_night_is_counted() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet)).start();
    let day = || sample(&metrics(&daemon), "stated_night_day");
    wait_until("the running day is known", || day().is_some());
    let before = day();
    daemon.connect().ask(last(&[("u1", "01:00:00"), ("u2", "02:00:00")]));
    wait_until("the night is over", || {
        let page = metrics(&daemon);
        sample(&page, "stated_night_batches_delivered_total") == Some(1.0)
            && sample(&page, "stated_night_day") > before
            && sample(&page, "stated_night_undelivered_closes") == Some(0.0)
    });
    check(
        &metrics(&daemon),
        &[
            ("stated_night_users_delivered_total", 2.0),
            ("stated_night_closes_total{closed_by=\"last\"}", 1.0),
            ("stated_night_closes_total{closed_by=\"timeout\"}", 0.0),
        ],
    );
}

#[test]
fn a_day_that_auth_does_not_take_grows_old() {
    let daemon = observed(Setup::new()).start();
    daemon.connect().ask(last(&[("u1", "01:00:00")]));
    wait_until("the day waits, and is tried again", || {
        let page = metrics(&daemon);
        sample(&page, "stated_night_undelivered_closes") == Some(1.0)
            && sample(&page, "stated_night_undelivered_age_seconds") > Some(0.0)
            && sample(&page, "stated_night_batches_retried_total") > Some(0.0)
    });
}

#[test]
fn readiness_follows_the_store_and_life_does_not() {
    let mut server = wait_for(RedisServer::start());
    let place = Place::at(server.url().expose());
    let daemon = observed(Setup::new().keeps(&place)).start();
    let ready = wait_for_status(&daemon, "/readyz", 200);
    assert_eq!((&ready["status"], &*state_of(&ready, "store")), (&"ready".into(), "up"));
    server.stop();
    let unready = wait_for_status(&daemon, "/readyz", 503);
    assert_eq!((&unready["status"], &*state_of(&unready, "store")), (&"unready".into(), "down"));
    assert_eq!(get(&daemon, "/livez").0, 200);
    let page = metrics(&daemon);
    check(&page, &[("stated_dependency_up{dependency=\"store\"}", 0.0)]);
    assert!(sample(&page, "stated_store_errors_total{operation=\"prove_writable\"}") > Some(0.0));
    wait_for(server.start_again());
    let ready = wait_for_status(&daemon, "/readyz", 200);
    assert_eq!(state_of(&ready, "store"), "up");
}

/// A Redis that answers questions and takes no changes is of no use to requests.
#[test]
fn a_redis_that_lost_the_night_is_told_of_once() {
    let server = wait_for(RedisServer::start());
    let place = Place::at(server.url().expose());
    let daemon = observed(Setup::new().keeps(&place)).start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "1"));
    peer.served(last(&[]));
    let setbacks = "stated_store_setbacks_total";
    check(&metrics(&daemon), &[(setbacks, 0.0)]);
    wait_for(server.ask::<()>(&["FLUSHALL"]));
    let lost = "redis has lost what it knew of the night";
    wait_until("the loss is found", || daemon.log.has(lost));
    // The day goes on, and what is closed from now on is not lost.
    peer.served(leave("u1", "2"));
    peer.served(last(&[]));
    wait_until("the day goes on", || sample(&metrics(&daemon), "stated_night_day") == Some(3.0));
    check(&metrics(&daemon), &[(setbacks, 1.0)]);
    assert_eq!(daemon.log.count(lost), 1);
}

#[test]
fn a_redis_that_refuses_to_write_makes_the_daemon_unready() {
    let server = wait_for(RedisServer::start());
    let place = Place::at(server.url().expose());
    let daemon = observed(Setup::new().keeps(&place)).start();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port().to_string();
    for (at, (refuse, accept, why)) in [
        (
            ["CONFIG", "SET", "maxmemory", "1"].as_slice(),
            ["CONFIG", "SET", "maxmemory", "0"].as_slice(),
            "OOM",
        ),
        (&["REPLICAOF", "127.0.0.1", &port], &["REPLICAOF", "NO", "ONE"], ""),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
            "NOREPLICAS",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        wait_for_status(&daemon, "/readyz", 200);
        wait_for(server.ask::<()>(refuse));
        let unready = wait_for_status(&daemon, "/readyz", 503);
        assert_eq!(state_of(&unready, "store"), "down", "{refuse:?}");
        assert!(unready.to_string().contains(why), "{unready}");
        let said =
            |what: &str| daemon.log.lines().iter().filter(|line| line.contains(what)).count();
        wait_until("the log tells that it is unready", || {
            said("unready, store is down: ") == at + 1
        });
        assert_eq!(get(&daemon, "/livez").0, 200);
        wait_for(server.ask::<()>(accept));
        wait_until("the log tells that it is over", || said("store is up again") == at + 1);
    }
    wait_for_status(&daemon, "/readyz", 200);
}

#[test]
fn a_full_disk_makes_the_daemon_unready() {
    let setup = Setup::new().keeps(&Place::embedded()).file_blocks_max(64);
    let daemon = observed(setup).start();
    wait_for_status(&daemon, "/readyz", 200);
    let mut peer = daemon.connect();
    let refused = (1..2000).find(|number| {
        let reply = peer.ask(leave("u1", &format!("{number:064}")));
        reply.contains("CHAT-031")
    });
    assert!(refused.is_some(), "2,000 writes need more than 32 KiB");
    let unready = wait_for_status(&daemon, "/readyz", 503);
    assert_eq!(state_of(&unready, "store"), "down");
}

#[test]
fn looking_at_the_store_makes_nobody_for_the_night_to_tell_of() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet)).start();
    wait_for_status(&daemon, "/readyz", 200);
    check(&metrics(&daemon), &[("stated_users", 0.0)]);
    daemon.connect().ask(last(&[]));
    crate::fleet::assert_told_only(&fleet.auth, &[]);
}

#[test]
fn a_scrub_counts_what_is_in_redis_and_tells_what_it_mended() {
    let server = wait_for(RedisServer::start());
    wait_for(server.ask::<()>(&["SADD", "chat:room:7:sessions", "stale"]));
    let place = Place::at(server.url().expose());
    let setup = observed(Setup::new().keeps(&place));
    let daemon = setup.key("store.redis.scrub_interval", "\"100ms\"").start();
    let mut peer = daemon.connect();
    peer.ask(subscribe("u1", 7, "s1"));
    peer.ask(subscribe("u2", 8, "s2"));
    wait_until("everything is counted", || {
        let page = metrics(&daemon);
        sample(&page, "stated_users") == Some(2.0)
            && sample(&page, "stated_sessions_live") == Some(2.0)
            && sample(&page, "stated_rooms") == Some(2.0)
    });
    let page = metrics(&daemon);
    check(&page, &[("stated_store_scrub_mended_total{kind=\"stale_member\"}", 1.0)]);
    assert!(sample(&page, "stated_store_counted_timestamp_seconds") > Some(1.7e9));
    drop(peer);
    daemon.stop();
    let lock: i64 = wait_for(server.ask(&["EXISTS", "stated:scrub:lock"]));
    assert_eq!(lock, 0, "whoever comes next would have to wait");
}

#[test]
fn a_peer_that_is_down_degrades_the_daemon_and_does_not_make_it_unready() {
    let daemon = observed(Setup::new()).start();
    let ready = wait_for_status(&daemon, "/readyz", 200);
    assert_eq!((&ready["status"], &*state_of(&ready, "signaling")), (&"ready".into(), "unknown"));
    daemon.connect().ask(kick_out("u1", 7));
    wait_until("signaling is known to be down", || {
        let (status, ready) = get(&daemon, "/readyz");
        assert_eq!(status, 200);
        ready["status"] == "degraded" && state_of(&ready, "signaling") == "down"
    });
}

#[test]
fn other_paths_and_methods_are_refused() {
    let daemon = observed(Setup::new()).start();
    assert_eq!(get(&daemon, "/livez").0, 200);
    for path in ["/", "/livez/", "/metrics/x", "/..", "/api/v1"] {
        assert_eq!(get(&daemon, path).0, 404, "{path}");
    }
    assert_eq!(ask(&daemon, "POST", "/livez").0, 405);
    assert_eq!(ask(&daemon, "HEAD", "/livez").0, 200);
}

#[test]
fn a_client_that_never_finishes_does_not_keep_the_daemon_from_stopping() {
    let daemon = observed(Setup::new()).start();
    let mut idle = TcpStream::connect(admin_address(&daemon)).unwrap();
    idle.write_all(b"GET /livez HT").unwrap();
    assert_eq!(get(&daemon, "/livez").0, 200);
    daemon.stop();
}

#[test]
fn an_address_that_was_chosen_and_is_taken_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("\"{}\"", taken.local_addr().unwrap());
    let (status, log) = start_in_vain(&Setup::new().key("admin.address", &address));
    assert!(!status.success());
    log.tells("the admin server can't be started");
}

/// Whoever has the default address, this test or another program: the daemon starts without.
#[test]
fn a_default_address_that_is_taken_is_a_warning() {
    let _taken = TcpListener::bind(stated::config::ADMIN_ADDRESS);
    let address = format!("\"{}\"", stated::config::ADMIN_ADDRESS);
    let daemon = Setup::new().listens(&[Framing::Lf]).key("admin.address", &address).start();
    daemon.log.tells("the default address is taken");
}

#[test]
fn a_crowd_that_says_nothing_keeps_no_operator_out() {
    const CROWD: usize = 100;
    let daemon = observed(Setup::new()).start();
    let address = admin_address(&daemon);
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            // Those who have to go can't be written to any more.
            drop(stream.write_all(b"GET /livez HTTP/1.1\r\nHost: st"));
            stream
        })
        .collect();
    let (status, _) = ask(&daemon, "GET", "/livez");
    assert_eq!(status, 200);
    assert!(!daemon.log.has("turns a client away"), "{}", daemon.log.tail());
    drop(crowd);
}
