//! The examples, run against the real daemon.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use crate::harness::Setup;
use crate::requests::{kick_out, last};
use crate::wire::Framing;

/// Cargo builds examples before tests, into a folder beside the one tests are in; but not if it is
/// asked for this test alone.
fn example(name: &str) -> Command {
    static BUILT: Once = Once::new();
    let test: PathBuf = std::env::current_exe().unwrap();
    let target = test.parent().and_then(|deps| deps.parent()).unwrap();
    let program = target.join("examples").join(name);
    BUILT.call_once(|| {
        if !program.exists() {
            build(target);
        }
    });
    Command::new(program)
}

fn build(target: &Path) {
    let profile = match target.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--examples", "--locked", "--profile", profile, "--target-dir"])
        .arg(target.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(status.unwrap().success(), "the examples can't be built");
}

#[test]
fn the_sending_peer_is_served_in_every_framing() {
    let daemon = Setup::new().key("limits.shutdown_grace", "\"1s\"").listens(&Framing::ALL).start();
    for (address, framing) in daemon.addresses.iter().zip(Framing::ALL) {
        let output =
            example("peer_send").args([&address.to_string(), framing.name()]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("> ")).count(), 4);
        assert_eq!(said.lines().filter(|line| line.starts_with("< ")).count(), 4);
        assert!(said.contains(r#"< {"study_time":"00:10:00","user_id":"u1"}"#), "{said}");
    }
    daemon.stop_in_debt();
}

#[test]
fn the_sending_peer_tells_by_its_status_that_nobody_answers() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = example("peer_send").arg(nobody.to_string()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let output = example("peer_send").args(["x", "no such framing"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// A service played by the example; ends with the test.
struct StandIn {
    child: Child,
    address: SocketAddr,
    said: BufReader<std::process::ChildStdout>,
}

impl StandIn {
    fn start(arguments: &[&str]) -> Self {
        let mut child =
            example("peer_stand_in").args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut stand_in = Self { child, address, said };
        let first = stand_in.next_line();
        stand_in.address = first.strip_prefix("listening on ").expect(&first).parse().unwrap();
        stand_in
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_stand_in_answers_the_daemon_as_the_fleet_does() {
    let mut signaling = StandIn::start(&["signaling", "127.0.0.1:0"]);
    let mut auth = StandIn::start(&["auth", "127.0.0.1:0", "crlf"]);
    let quoted = |address: SocketAddr| format!("\"{address}\"");
    let daemon = Setup::new()
        .key("gateways.signaling.address", &quoted(signaling.address))
        .key("gateways.auth.address", &quoted(auth.address))
        .key("gateways.auth.framing", "\"crlf\"")
        .start();
    let mut peer = daemon.connect();
    assert_eq!(peer.ask(kick_out("u1", 5)), "");
    let told = r#"signaling < {"server":"state","type":"KICK_OUT","user_id":"u1","room_id":5}"#;
    assert_eq!(signaling.next_line(), told);
    peer.served(last(&[("u1", "00:10:00")]));
    let told = r#"auth < {"server":"state","type":"SCHEDULER","users":[{"user_id":"u1","study_time":"00:10:00"}]}"#;
    assert_eq!(auth.next_line(), told);
}
