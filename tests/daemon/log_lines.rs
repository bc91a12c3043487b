//! Where the daemon's log goes: the journal or standard error, read, unread or closed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{PROGRAM, Setup, WAIT_MAX, command, wait_until, write_config};
use crate::requests::{enter, kick_out};
use crate::wire::{Client, Framing};

/// A daemon whose standard error is the test's business.
struct Bare {
    child: Child,
    _dir: TempDir,
}

impl Bare {
    fn start(setup: &Setup, stderr: impl Into<Stdio>) -> Self {
        Self::start_with(setup, stderr, |_| {})
    }

    /// It can have no more descriptors than this.
    fn start_cramped(setup: &Setup, descriptors_max: u32, stderr: impl Into<Stdio>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = write_config(dir.path(), &setup.toml());
        let mut shell = Command::new("sh");
        let limited = format!("ulimit -n {descriptors_max}; exec \"$@\"");
        shell.args(["-c", &limited, "sh", PROGRAM, "serve", "--config"]).arg(file);
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        Self { child: shell.spawn().unwrap(), _dir: dir }
    }

    fn start_with(
        setup: &Setup,
        stderr: impl Into<Stdio>,
        more: impl FnOnce(&mut Command),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = write_config(dir.path(), &setup.toml());
        let mut command = command(dir.path());
        command.arg("serve").arg("--config").arg(file).stderr(stderr);
        more(&mut command);
        Self { child: command.spawn().unwrap(), _dir: dir }
    }

    /// It ends as an operator wants it to.
    fn stop(mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut status = None;
        wait_until("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A journal: it keeps the fields of each record.
struct Journal {
    socket: UnixDatagram,
}

type Record = Vec<(String, String)>;

impl Journal {
    fn bind(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
        Self { socket }
    }

    fn next(&self) -> Record {
        let mut record = vec![0; 1 << 18];
        let length = self.socket.recv(&mut record).expect("the daemon logs");
        let record = std::str::from_utf8(&record[..length]).unwrap();
        let field = |line: &str| line.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()));
        record.lines().map(|line| field(line).unwrap()).collect()
    }

    /// The next record with this message.
    fn until(&self, message: &str) -> Record {
        loop {
            let record = self.next();
            if of(&record, "MESSAGE").contains(message) {
                return record;
            }
        }
    }

    /// Where the daemon listens, once it is ready.
    fn address(&self) -> SocketAddr {
        let address = of(&self.until("listening"), "ADDRESS").parse().unwrap();
        self.until("ready");
        address
    }
}

fn of<'a>(record: &'a Record, field: &str) -> &'a str {
    let found: Vec<_> = record.iter().filter(|(name, _)| name == field).collect();
    assert_eq!(found.len(), 1, "{field} in {record:?}");
    &found[0].1
}

fn journald(setup: Setup, socket: &Path) -> Setup {
    setup
        .key("log.format", "\"journald\"")
        .key("log.journald_socket", &format!("{:?}", socket.to_str().unwrap()))
}

fn is_served(address: SocketAddr) {
    Client::connect(address, Framing::Length4).served(enter("u1"));
}

#[test]
fn the_journal_gets_a_record_with_fields_for_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("journal");
    let journal = Journal::bind(&socket);
    let daemon = Bare::start(&journald(Setup::new(), &socket), Stdio::null());
    let record = journal.until("stated starts");
    assert_eq!(of(&record, "PRIORITY"), "6");
    assert_eq!(of(&record, "SYSLOG_IDENTIFIER"), "stated");
    assert_eq!(of(&record, "VERSION"), env!("CARGO_PKG_VERSION"));
    assert_eq!(of(&record, "TARGET"), "stated::cli::serve");
    assert_eq!(of(&record, "CODE_FILE"), "src/cli/serve.rs");
    assert!(of(&record, "CODE_LINE").parse::<u32>().is_ok());
    let warning = journal.until("the store is memory");
    assert_eq!(of(&warning, "PRIORITY"), "4");
    let address = journal.address();
    is_served(address);
    let mut peer = Client::connect(address, Framing::Length4);
    peer.refused(kick_out("u1", 7), "CHAT-021");
    let refused = journal.until("room KICK_OUT answered CHAT-021");
    for (field, value) in [
        ("PRIORITY", "4"),
        ("PEER", &*peer.stream().local_addr().unwrap().to_string()),
        ("SERVER", "room"),
        ("TYPE", "KICK_OUT"),
        ("CODE", "CHAT-021"),
        ("USER_ID", "u1"),
    ] {
        assert_eq!(of(&refused, field), value);
    }
    drop(peer);
    assert!(daemon.stop().success());
    // The last line, too.
    journal.until("stopped");
}

#[test]
fn lines_go_to_standard_error_for_as_long_as_the_journal_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("journal");
    let setup = journald(Setup::new(), &socket).key("log.level", "\"debug\"");
    let mut daemon = Bare::start(&setup, Stdio::piped());
    let mut stderr = Stderr::of(&mut daemon);
    let address = stderr.ready();
    assert!(stderr.has_said("the journal can't be reached, lines go to standard error"));
    let journal = Journal::bind(&socket);
    is_served(address);
    journal.until("the journal is reachable again");
    std::fs::remove_file(&socket).unwrap();
    drop(journal);
    is_served(address);
    stderr.until("the journal can't be reached");
    // A new journal at the same place.
    let journal = Journal::bind(&socket);
    is_served(address);
    journal.until("a peer disconnected");
    assert!(daemon.stop().success());
}

#[test]
fn the_journal_is_chosen_where_standard_error_leads_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("journal");
    let journal = Journal::bind(&socket);
    let setup = journald(Setup::new(), &socket).key("log.format", "\"auto\"");
    let (read, stderr) = stream();
    let found = File::from(stderr.try_clone().unwrap()).metadata().unwrap();
    let stream = format!("{}:{}", found.dev(), found.ino());
    let daemon = Bare::start_with(&setup, stderr, |command| {
        command.env("JOURNAL_STREAM", stream);
    });
    is_served(journal.address());
    assert!(daemon.stop().success());
    let mut rest = String::new();
    File::from(read).read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn a_journal_stream_that_is_not_standard_error_means_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let setup = journald(Setup::new(), &folder.path().join("journal"));
    let setup = setup.key("log.format", "\"auto\"");
    let mut daemon = Bare::start_with(&setup, Stdio::piped(), |command| {
        command.env("JOURNAL_STREAM", "1:1");
    });
    is_served(Stderr::of(&mut daemon).ready());
    assert!(daemon.stop().success());
}

fn stream() -> (OwnedFd, OwnedFd) {
    let (read, write) = UnixStream::pair().unwrap();
    (read.into(), write.into())
}

/// What the daemon writes to a pipe, read when the test wants it.
struct Stderr {
    /// A line is read from the pipe when the one before was taken.
    lines: Receiver<String>,
    said: Vec<Value>,
}

impl Stderr {
    fn of(daemon: &mut Bare) -> Self {
        let pipe = BufReader::new(daemon.child.stderr.take().unwrap());
        let (read, lines) = mpsc::sync_channel(0);
        thread::spawn(move || pipe.lines().try_for_each(|line| read.send(line.unwrap())));
        Self { lines, said: Vec::new() }
    }

    fn next(&mut self) -> Option<Value> {
        let line = match self.lines.recv_timeout(WAIT_MAX) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => panic!("silence after {:?}", self.said.last()),
        };
        let line: Value = serde_json::from_str(&line).expect("a line is an object");
        self.said.push(line.clone());
        Some(line)
    }

    /// Whether it has said so already, or goes on to.
    fn has_said(&mut self, message: &str) -> bool {
        let said = |line: &Value| line["message"].as_str().unwrap().contains(message);
        self.said.iter().any(said) || std::iter::from_fn(|| self.next()).any(|line| said(&line))
    }

    fn until(&mut self, message: &str) -> Value {
        loop {
            let line = self.next().expect("the daemon goes on");
            if line["message"].as_str().unwrap().contains(message) {
                return line;
            }
        }
    }

    /// Where the daemon listens, once it is ready.
    fn ready(&mut self) -> SocketAddr {
        let address = self.until("listening")["address"].as_str().unwrap().parse().unwrap();
        self.until("ready");
        address
    }
}

/// A daemon that logs much, to a pipe that will not be read for a while.
fn chatty() -> (Bare, Stderr, SocketAddr, SocketAddr) {
    let setup = Setup::new()
        .key("log.level", "\"debug\"")
        .key("log.max_unwritten_bytes", "\"64 KiB\"")
        .key("admin.address", "\"127.0.0.1:0\"");
    let mut daemon = Bare::start(&setup, Stdio::piped());
    let mut stderr = Stderr::of(&mut daemon);
    let address = stderr.until("listening")["address"].as_str().unwrap().parse().unwrap();
    let line = stderr.until("health and metrics are served");
    let admin = line["address"].as_str().unwrap().parse().unwrap();
    stderr.until("ready");
    (daemon, stderr, address, admin)
}

fn lost_lines(admin: SocketAddr) -> u64 {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: stated\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let value = |line: &str| line.strip_prefix("stated_log_lines_lost_total ")?.parse().ok();
    page.lines().find_map(value).unwrap()
}

#[test]
fn requests_are_answered_while_nobody_reads_the_log_and_what_is_lost_is_counted_and_told() {
    let (daemon, mut stderr, address, admin) = chatty();
    assert_eq!(lost_lines(admin), 0);
    wait_until("lines are lost", || {
        is_served(address);
        lost_lines(admin) > 0
    });
    let told = stderr.until("lines of the log are lost");
    assert_eq!(told["level"], "WARN");
    assert!(told["total"].as_u64().unwrap() > 0, "{told}");
    let rest = thread::spawn(move || std::iter::from_fn(|| stderr.next()).last());
    assert!(daemon.stop().success());
    let last = rest.join().unwrap().unwrap();
    assert_eq!(last["message"], "stopped");
}

#[test]
fn it_stops_while_nobody_reads_the_log() {
    let (daemon, stderr, address, admin) = chatty();
    wait_until("lines are lost", || {
        is_served(address);
        lost_lines(admin) > 0
    });
    assert!(daemon.stop().success());
    drop(stderr);
}

#[test]
fn it_goes_on_and_stops_while_the_journal_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("journal");
    let journal = Journal::bind(&socket);
    let setup = journald(Setup::new(), &socket)
        .key("log.level", "\"debug\"")
        .key("log.max_unwritten_bytes", "\"64 KiB\"")
        .key("admin.address", "\"127.0.0.1:0\"");
    let daemon = Bare::start(&setup, Stdio::null());
    let address = of(&journal.until("listening"), "ADDRESS").parse().unwrap();
    let admin = of(&journal.until("health and metrics are served"), "ADDRESS").parse().unwrap();
    wait_until("lines are lost", || {
        is_served(address);
        lost_lines(admin) > 0
    });
    assert!(daemon.stop().success());
}

#[test]
fn it_goes_on_when_the_reader_of_its_log_is_gone() {
    let (daemon, stderr, address, admin) = chatty();
    drop(stderr);
    wait_until("a line is lost", || {
        is_served(address);
        lost_lines(admin) > 0
    });
    is_served(address);
    assert!(daemon.stop().success());
}

#[test]
fn it_says_that_it_can_accept_nobody_and_goes_on_once_it_can() {
    let mut daemon = Bare::start_cramped(&Setup::new(), 40, Stdio::piped());
    let mut stderr = Stderr::of(&mut daemon);
    let address = stderr.ready();
    let crowd: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    let line = stderr.until("a connection can't be accepted");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["address"], address.to_string());
    drop(crowd);
    is_served(address);
    let rest = thread::spawn(move || std::iter::from_fn(|| stderr.next()).last());
    assert!(daemon.stop().success());
    rest.join().unwrap();
}

#[test]
fn a_line_of_text_is_one_line_whatever_a_peer_sends() {
    let setup = Setup::new().key("log.format", "\"text\"");
    let mut daemon = Bare::start(&setup, Stdio::piped());
    let mut lines = BufReader::new(daemon.child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut next = |text: &str| lines.find(|line| line.contains(text)).unwrap();
    let listening = next("listening");
    let address = listening.split("address=").nth(1).unwrap().split(' ').next().unwrap();
    let mut peer = Client::connect(address.parse().unwrap(), Framing::Length4);
    let forged = r#"{"server":"chat","type":"a\n2026-11-20T00:00:00Z ERROR \u001b[31mforged"}"#;
    peer.refused(forged, "CHAT-003");
    let line = next("forged");
    assert!(line.contains("INFO") && line.contains("CHAT-003"), "{line}");
    assert!(!line.contains('\u{1b}'), "{line:?}");
    drop(peer);
    assert!(daemon.stop().success());
}
