//! The command line as people and scripts use it.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Daemon, Setup, command, start_in_vain, write_config};
use crate::place::Place;
use crate::requests::{enter, heartbeat, leave, subscribe, unsubscribe};
use crate::wire::{Client, Framing};

fn run(dir: &Path, arguments: &[&str]) -> Output {
    command(dir).args(arguments).stdout(Stdio::piped()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn messages(log: &[String]) -> Vec<Value> {
    log.iter().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn is_of_descriptors(line: &Value) -> bool {
    line["message"].as_str().is_some_and(|message| message.starts_with("file descriptors:"))
}

#[test]
fn serve_says_first_what_it_keeps_where_and_whom_it_will_call() {
    let place = Place::embedded();
    let daemon = Setup::new().keeps(&place).listens(&[Framing::Lf, Framing::Length1]).start();
    let log = messages(&daemon.log.lines());
    // What is said of file descriptors depends on whoever starts it.
    let log: Vec<Value> = log.into_iter().filter(|line| !is_of_descriptors(line)).collect();
    let said: Vec<&str> = log.iter().map(|line| line["message"].as_str().unwrap()).collect();
    let expected = [
        "stated starts",
        "the state is kept",
        "will be called",
        "will be called",
        "will be called",
        "embedded store opened",
        "listening",
        "listening",
        "ready",
    ];
    assert_eq!(said, expected);
    assert_eq!(log[0]["version"], env!("CARGO_PKG_VERSION"));
    let peers: Vec<&Value> = log[2..5].iter().map(|line| &line["gateway"]).collect();
    assert_eq!(peers, ["room", "signaling", "auth"]);
    assert_eq!((&log[6]["framing"], &log[7]["framing"]), (&"lf".into(), &"length1".into()));
}

#[test]
fn no_message_and_no_id_is_in_the_log() {
    let daemon = Setup::new().key("limits.shutdown_grace", "\"1s\"").start();
    let mut peer = daemon.connect();
    peer.served(subscribe("Sherlock", 221, "Baker Street"));
    peer.served(leave("Sherlock", "00:10:00"));
    peer.served(unsubscribe("Baker Street"));
    peer.ask(r#"{"server":"auth","type":"STUDY_TIME_FROM_TCP","user_id":5,"session":"Moriarty"}"#);
    let lines = daemon.log.lines().join("\n");
    for secret in ["Sherlock", "Baker", "Moriarty", "00:10:00"] {
        assert!(!lines.contains(secret), "{secret} is in the log:\n{lines}");
    }
    drop(peer);
    daemon.stop_in_debt();
}

#[test]
fn flags_go_before_variables_and_variables_before_the_file() {
    let dir = TempDir::new().unwrap();
    let setup = Setup::new().key("limits.max_frame_bytes", "100");
    let file = write_config(dir.path(), &setup.toml());
    let mut started = command(dir.path());
    started
        .args(["serve", "--config", file.to_str().unwrap()])
        .args(["--listen", "127.0.0.1:0", "--store", "memory:"])
        .env("STATED_STORE__URL", "embedded:nowhere")
        .env("STATED_LIMITS__MAX_FRAME_BYTES", "70");
    let daemon = Daemon::adopt(dir, started, &[Framing::Length4]);
    daemon.log.tells("the store is memory");
    let mut peer = daemon.connect();
    peer.served(heartbeat());
    // 80 bytes: the file allows them, the variable does not.
    peer.refused(format!("{:<80}", heartbeat()), "CHAT-003");
    peer.expect_end();
}

#[test]
fn a_taken_address_is_said_by_its_code_and_ends_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::embedded();
    let setup = Setup::new().keeps(&place).key("listen", &format!("[{{address=\"{address}\"}}]"));
    let (status, log) = start_in_vain(&setup.listens(&[]));
    assert!(!status.success() && status.code().is_some());
    let last = log.lines().pop().unwrap();
    assert!(last.contains("CHAT-022 TCP_BIND_FAILED") && last.contains(&address), "{last}");
    assert!(last.contains("\"level\":\"ERROR\""));
}

#[test]
fn a_wrong_configuration_is_told_whole_and_starts_nothing() {
    let dir = TempDir::new().unwrap();
    let wrong = "store.url = \"memory:\"\n[limits]\nmax_in_fligt = 3\nrequest_timeout = \"8\"\n";
    let file = write_config(dir.path(), wrong);
    let file = file.to_str().unwrap();
    for arguments in [vec!["serve", "--config", file], vec!["check-config", file]] {
        let output = run(dir.path(), &arguments);
        assert!(!output.status.success());
        let said = text(&output.stderr);
        assert!(said.contains("max_in_fligt") && said.contains("max_in_flight"), "{said}");
        assert!(said.contains("limits.request_timeout"), "{said}");
        assert!(said.contains("3:1"), "{said}");
    }
    let output = run(dir.path(), &["serve", "--config", "nowhere.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("nowhere.toml"));
}

#[test]
fn the_example_configuration_has_no_mistakes() {
    let dir = TempDir::new().unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/stated.toml");
    let output = run(dir.path(), &["check-config", file]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("no mistakes"));
}

/// Runs `stated send` against the daemon.
fn send(daemon: SocketAddr, arguments: &[&str], input: &str) -> Output {
    let dir = TempDir::new().unwrap();
    let mut child = command(dir.path())
        .args(["send", "--addr", &daemon.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn send_prints_every_reply_and_shows_korean_as_korean() {
    let daemon = Setup::new().start();
    let messages = [subscribe("소라", 7, "s1"), enter("소라"), heartbeat()];
    let arguments: Vec<&str> = messages.iter().map(String::as_str).collect();
    let output = send(daemon.addresses[0], &arguments, "");
    assert_eq!(output.status.code(), Some(0));
    let expected = "{\"userId\":\"소라\",\"roomId\":7,\"sessionId\":\"s1\",\"studyTime\":null}\n\
                    {\"user_id\":\"소라\",\"study_time\":null}\n(empty)\n";
    assert_eq!(text(&output.stdout), expected);
    let output = send(daemon.addresses[0], &["--raw", &enter("소라"), &heartbeat()], "");
    assert_eq!(text(&output.stdout), "{\"user_id\":\"\\uC18C\\uB77C\",\"study_time\":null}\n\n");
}

#[test]
fn send_reads_lines_and_tells_errors_by_its_status() {
    let daemon = Setup::new().listens(&[Framing::Crlf]).start();
    let crlf = ["--framing", "crlf", "-"];
    let input = format!("{}\n\n  {}  \n{}", enter("u1"), "{}", enter("u2"));
    let output = send(daemon.addresses[0], &crlf, &input);
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].contains("형식이 잘못됨") && lines[2].contains("u2"));
    assert_eq!(output.status.code(), Some(1), "one of them was an error");
    let output = send(daemon.addresses[0], &crlf, &enter("u1"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn send_fails_with_another_status_if_nobody_answers() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = send(closed, &[&heartbeat()], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("can't reach"));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let output = send(address, &["--timeout", "200ms", &heartbeat()], "");
    assert_eq!(output.status.code(), Some(2));
    let output = send(address, &[], "");
    assert_eq!(output.status.code(), Some(2), "without a message there is nothing to send");
}

#[test]
fn the_demo_plays_its_day_to_the_end() {
    let dir = TempDir::new().unwrap();
    let output = run(dir.path(), &["demo"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", text(&output.stderr));
    assert!(said.trim_end().ends_with("Everything was as it should be."), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it left something behind");
}

#[test]
fn version_and_help_say_what_this_is() {
    let dir = TempDir::new().unwrap();
    let version = run(dir.path(), &["-V"]);
    assert_eq!(text(&version.stdout), concat!("stated ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = run(dir.path(), &["--help"]);
    assert!(version.status.success() && help.status.success());
    for command in ["serve", "check-config", "send", "demo"] {
        assert!(text(&help.stdout).contains(command));
        let help = run(dir.path(), &[command, "--help"]);
        assert!(help.status.success() && text(&help.stdout).contains("Usage: stated"));
    }
    for wrong in [&["dance"][..], &[], &["serve", "--nonsense"]] {
        assert_eq!(run(dir.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn the_long_version_names_the_commit_it_was_built_from() {
    let dir = TempDir::new().unwrap();
    let version = run(dir.path(), &["--version"]);
    let (first, second) = text(&version.stdout).split_once('\n').unwrap();
    let (head, commit) = first.split_once(" (").unwrap();
    assert_eq!(head, concat!("stated ", env!("CARGO_PKG_VERSION")));
    assert!(commit.starts_with(stated::build::COMMIT) && commit.ends_with(')'), "{first}");
    assert!(second.starts_with("features: ") && second.contains("; target: "), "{second}");
    // What git says of this source, where it was asked.
    let git = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    if let Ok(output) = git
        && output.status.success()
        && option_env!("STATED_COMMIT").is_none()
        && stated::build::COMMIT != "unknown"
    {
        assert!(text(&output.stdout).starts_with(stated::build::COMMIT), "{first}");
    }
}

#[test]
fn without_a_configuration_file_the_state_is_kept_beside_it() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("stated-data");
    let mut started = command(dir.path());
    started.args(["serve", "--listen", "127.0.0.1:0"]).env("STATED_LOG__FORMAT", "json");
    let daemon = Daemon::adopt(dir, started, &[Framing::Length4]);
    let mut peer = Client::connect(daemon.addresses[0], Framing::Length4);
    peer.served(leave("u1", "1"));
    assert!(folder.is_dir());
}
