//! The load generator against real daemons: that it tells everything, not that anything is fast.

use std::net::{SocketAddr, TcpListener};
use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Daemon, Setup, command};
use crate::wire::Framing;

const PERCENTILES: [&str; 6] = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];
const MIXES: [&str; 5] = ["presence", "reads", "study-time", "schedule", "mixed"];

fn bench(arguments: &[&str]) -> Output {
    let dir = TempDir::new().unwrap();
    command(dir.path()).arg("bench").args(arguments).stdout(Stdio::piped()).output().unwrap()
}

/// Two short rounds at this address.
fn short(address: SocketAddr, arguments: &[&str]) -> Output {
    let address = address.to_string();
    let short = ["--rounds", "2", "--duration", "100ms", "--warm-up", "20ms", "--users", "50"];
    bench(&[&["--addr", &address], &short[..], arguments].concat())
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("the output is JSON")
}

fn daemon() -> Daemon {
    Setup::new().start()
}

/// Every figure is there, and could be true.
fn check(report: &Value) {
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2, "{report}");
    for figures in rounds.iter().chain([report]) {
        let latency = |name: &str| figures["latency_us"][name].as_f64().expect(name);
        let latencies = PERCENTILES.map(latency);
        assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{figures}");
        assert_eq!(figures["errors"], serde_json::json!({}), "{figures}");
    }
    for round in rounds {
        assert!(round["requests"].as_u64().unwrap() > 0, "{round}");
        assert!(round["requests_per_second"].as_f64().unwrap() > 0.0, "{round}");
        assert!(round["cpu_seconds"].is_number(), "{round}");
        assert!(round["resident_bytes"].as_u64().unwrap() > 100_000, "{round}");
    }
    let spread = |name: &str| report["requests_per_second"][name].as_f64().unwrap();
    assert!(spread("min") <= spread("median") && spread("median") <= spread("max"), "{report}");
}

#[test]
fn every_mix_is_served_without_an_error() {
    let daemon = daemon();
    for mix in MIXES {
        let load = ["--mix", mix, "--connections", "3", "--in-flight", "4", "--json"];
        let output = short(daemon.addresses[0], &load);
        let report = json(&output);
        assert_eq!(report["daemon"]["mix"], mix);
        check(&report["daemon"]);
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn every_framing_that_can_carry_the_load_is_spoken() {
    let daemon = Setup::new().listens(&Framing::ALL).start();
    for (framing, address) in Framing::ALL.iter().zip(&daemon.addresses) {
        let load = ["--framing", framing.name(), "--mix", "presence", "--json"];
        check(&json(&short(*address, &load))["daemon"]);
    }
    let output = short(daemon.addresses[2], &["--framing", "length1", "--mix", "schedule"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not fit"));
}

#[test]
fn an_open_loop_sends_at_its_rate_whatever_comes_back() {
    let daemon = daemon();
    let load = ["--rate", "1000", "--connections", "3", "--threads", "2", "--json"];
    let report = &json(&short(daemon.addresses[0], &load))["daemon"];
    check(report);
    for round in report["rounds"].as_array().unwrap() {
        assert_eq!(round["requests"], 100, "due within 100 ms");
    }
}

#[test]
fn a_reference_is_measured_in_the_same_run() {
    let daemon = daemon();
    for pace in [&["--in-flight", "2"][..], &["--rate", "500"]] {
        let load = [pace, &["--reference", "echo", "--json"]].concat();
        let report = json(&short(daemon.addresses[0], &load));
        check(&report["daemon"]);
        check(&report["echo"]);
        for figure in ["requests_per_second", "p99"] {
            assert!(report["ratio"][figure]["median"].as_f64().unwrap() > 0.0, "{report}");
        }
    }
}

#[test]
fn people_read_the_same_figures() {
    let daemon = daemon();
    let output = short(daemon.addresses[0], &["--reference", "echo"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let words = ["requests/s", "errors: none", "resident", "CPU", "daemon / echo, p99: median"];
    for word in words.iter().chain(&PERCENTILES) {
        assert!(said.contains(word), "{word} is missing:\n{said}");
    }
}

#[test]
fn errors_are_counted_by_code_and_end_with_a_status_of_their_own() {
    // Every message is longer than this.
    let daemon = Setup::new().key("limits.max_frame_bytes", "20").start();
    let output = short(daemon.addresses[0], &["--json"]);
    let report = json(&output);
    let errors = report["daemon"]["errors"].as_object().unwrap();
    // The daemon closes each connection after its answer.
    assert_eq!(errors["CHAT-003"], 64, "{errors:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn requests_that_are_never_answered_are_counted_too() {
    let daemon = Setup::new().key("limits.max_connections", "3").start();
    let output = short(daemon.addresses[0], &["--connections", "5", "--json"]);
    let report = json(&output);
    assert_eq!(output.status.code(), Some(1));
    let errors = report["daemon"]["errors"].as_object().unwrap();
    assert!(!errors.is_empty(), "{report}");
}

#[test]
fn without_a_daemon_nothing_is_measured() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = short(closed, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("can't connect"));
    assert_eq!(bench(&["--suite", "--rounds", "2"]).status.code(), Some(2));
    assert_eq!(bench(&["--quick"]).status.code(), Some(2));
}

#[test]
fn the_suite_prints_a_row_for_every_promise_or_says_why_not() {
    let output = bench(&["--suite", "--quick", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report = json(&output);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 14, "{report}");
    for row in rows {
        assert_eq!(row["errors"], 0, "{row}");
        match row["not_measured"].as_str() {
            Some(reason) => assert!(!reason.is_empty(), "{row}"),
            None => assert!(row["compared"]["median"].is_number(), "{row}"),
        }
    }
}
