//! `stated status` against a real daemon: one screen, a document, an exit status, over and over.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::Fleet;
use crate::harness::{self, Daemon, Setup, wait_until};
use crate::http::{admin_address, get, observed};
use crate::place::{Place, wait_for};
use crate::requests::{enter, kick_out, leave, subscribe};
use crate::servers::redis::RedisServer;

/// A command of the program that asks the daemon at this address.
pub(crate) fn ask(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = harness::command(&std::env::temp_dir());
    command.args(arguments).args(["--admin", &address.to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("NO_COLOR");
    command
}

/// As [`ask`], on a terminal; what is read from it and typed into it. `None` where there is no
/// `script`.
pub(crate) fn on_a_terminal(
    address: SocketAddr,
    arguments: &[&str],
    typed: &str,
    variables: &[(&str, &str)],
) -> Option<Output> {
    let dir = TempDir::new().unwrap();
    let typescript = dir.path().join("typescript");
    let command = format!("{} {} --admin {address}", harness::PROGRAM, arguments.join(" "));
    let mut script = harness::command_of("script", dir.path());
    script.args(["--quiet", "--return", "--command", &command]).arg(&typescript);
    script.env_remove("NO_COLOR").env("TERM", "xterm").envs(variables.iter().copied());
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match script.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        spawned => {
            let mut child = spawned.unwrap();
            child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
            Some(child.wait_with_output().unwrap())
        }
    }
}

pub(crate) fn said(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn complained(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

fn wait_for_readiness(daemon: &Daemon, status: &str) {
    wait_until(status, || get(daemon, "/api/v1/status")["readiness"]["status"] == status);
}

#[test]
fn a_ready_daemon_is_shown_on_one_screen() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet)).start();
    let mut peer = daemon.connect();
    peer.served(subscribe("u1", 7, "s1"));
    peer.served(enter("u1"));
    peer.refused("{}", "CHAT-003");
    peer.served(leave("u2", "00:10:00"));
    wait_for_readiness(&daemon, "ready");
    let output = ask(admin_address(&daemon), &["status"]).output().unwrap();
    let page = said(&output);
    assert_eq!(output.status.code(), Some(0), "{page}{}", complained(&output));
    assert!(page.starts_with(concat!("stated ", env!("CARGO_PKG_VERSION"), " (")), "{page}");
    for line in [
        "  ready",
        "  store       up      for ",
        "  connections 1 of 10,000 ",
        "  answered    3                           errors     1",
        "  room      ",
        "  day 1 runs",
        "  all closed days are delivered",
    ] {
        assert!(page.lines().any(|shown| shown.starts_with(line)), "{line} is not in\n{page}");
    }
    assert!(!page.contains('\u{1b}'), "colours without a terminal");
    for line in page.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn the_document_is_printed_as_the_daemon_gave_it() {
    let daemon = observed(Setup::new()).start();
    let output = ask(admin_address(&daemon), &["status", "--json"]).output().unwrap();
    let document: Value = serde_json::from_str(said(&output)).unwrap();
    let asked = get(&daemon, "/api/v1/status");
    assert_eq!(document["started_at"], asked["started_at"]);
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&document), names(&asked));
}

#[test]
fn a_daemon_whose_peer_is_away_is_degraded_and_the_exit_status_says_so() {
    let daemon = observed(Setup::new()).start();
    let mut peer = daemon.connect();
    wait_until("signaling is down", || {
        peer.ask(kick_out("u1", 7));
        get(&daemon, "/api/v1/status")["readiness"]["status"] == "degraded"
    });
    let output = ask(admin_address(&daemon), &["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("  signaling   down    for "), "{}", said(&output));
}

#[test]
fn a_daemon_without_its_store_is_unready_and_still_shown() {
    let mut server = wait_for(RedisServer::start());
    let place = Place::at(server.url().expose());
    let daemon = observed(Setup::new().keeps(&place)).start();
    // It is unready as well until it has looked for the first time.
    wait_for_readiness(&daemon, "ready");
    server.stop();
    wait_for_readiness(&daemon, "unready");
    let output = ask(admin_address(&daemon), &["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("so the store said last; it does not answer now"));
    assert!(said(&output).contains("  store       down    for "), "{}", said(&output));
    wait_for(server.start_again());
}

/// The address of a server that gives one request this answer.
fn answers(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).unwrap() > 0);
        stream.write_all(answer).unwrap();
    });
    address
}

#[test]
fn who_can_t_be_asked_is_named_and_that_is_another_exit_status() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = answers(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>");
    let older = answers(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}");
    for (address, reason) in [
        (closed, "can't reach"),
        (silent.local_addr().unwrap(), "did not answer within 300 ms"),
        (other, "something else than JSON"),
        (older, "the daemon is older than this command"),
    ] {
        let output = ask(address, &["status", "--timeout", "300ms"]).output().unwrap();
        let complaint = complained(&output);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(
            complaint.contains(reason) && complaint.contains(&address.to_string()),
            "{complaint}"
        );
    }
}

#[test]
fn the_variable_of_the_daemon_s_key_names_its_address() {
    let daemon = observed(Setup::new()).start();
    let address = admin_address(&daemon).to_string();
    let status = |address: &str| {
        let mut command = harness::command(&std::env::temp_dir());
        command.arg("status").env("STATED_ADMIN__ADDRESS", address);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    };
    assert!(said(&status(&address)).starts_with("stated "));
    let off = status("");
    assert_eq!(off.status.code(), Some(2));
    assert!(complained(&off).contains("answers nobody"), "{}", complained(&off));
}

/// The lines of a command that goes on.
struct Watch {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn start(address: SocketAddr) -> Self {
        let mut child = ask(address, &["status", "--watch", "1"]).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn wait_for(&mut self, part: &str) {
        let found = self.lines.by_ref().map(Result::unwrap).any(|line| line.contains(part));
        assert!(found, "it ended without {part}");
    }

    fn interrupt(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

#[test]
fn a_watch_shows_rates_outlives_the_daemon_and_ends_cleanly() {
    let daemon = observed(Setup::new()).start();
    daemon.connect().served(enter("u1"));
    let address = admin_address(&daemon);
    let mut watch = Watch::start(address);
    watch.wait_for("  answered    1 ");
    watch.wait_for("  answered    1 (0/s)");
    daemon.stop();
    watch.wait_for("can't reach");
    let again = Setup::new().key("admin.address", &format!("\"{address}\"")).start();
    watch.wait_for("  ready");
    assert_eq!(watch.interrupt(), Some(0));
    drop(again);
}

#[test]
fn a_watch_of_documents_tells_its_troubles_elsewhere() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut child = ask(nobody, &["status", "--watch", "1", "--json"]).spawn().unwrap();
    let mut complained = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut complained).unwrap();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(said(&output), "");
    assert!(complained.contains("can't reach"), "{complained}");
}

#[test]
fn a_terminal_gets_colours_unless_it_or_its_user_has_none() {
    let daemon = observed(Setup::new()).start();
    wait_for_readiness(&daemon, "ready");
    let address = admin_address(&daemon);
    let green = "\u{1b}[32mready\u{1b}[0m";
    for (variables, is_coloured) in
        [(&[][..], true), (&[("NO_COLOR", "1")], false), (&[("TERM", "dumb")], false)]
    {
        let Some(output) = on_a_terminal(address, &["status"], "", variables) else { return };
        let page = said(&output);
        assert_eq!(page.contains(green), is_coloured, "{variables:?}: {page}");
        assert_eq!(output.status.code(), Some(0));
    }
}
