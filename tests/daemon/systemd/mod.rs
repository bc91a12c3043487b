//! The program under a service manager: what it tells, and the sockets it is passed.

mod reload;
mod units;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::servers::eventually;
use crate::servers::redis::RedisServer;

const PATIENCE: Duration = Duration::from_secs(30);
const REQUEST: &str = r#"{"server":"auth","type":"STUDY_TIME_FROM_TCP","user_id":"u1"}"#;
const REPLY: &str = r#"{"user_id":"u1","study_time":null}"#;

/// A service manager: it holds the daemon's socket, starts it, and hears what it says.
struct Manager {
    folder: TempDir,
    heard: UnixDatagram,
    socket: TcpListener,
    address: SocketAddr,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let heard = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        Self { folder, heard, socket, address }
    }

    /// A daemon that listens on the socket, with an embedded store that outlives it.
    fn start(&self) -> Child {
        let store = format!("embedded:{}", self.folder.path().join("data").display());
        self.start_with(&["--listen", &self.address.to_string(), "--store", &store])
    }

    fn start_with(&self, arguments: &[&str]) -> Child {
        let socket = OwnedFd::from(self.socket.try_clone().unwrap());
        // Descriptors are passed from 3 on, and the process id has to be the daemon's own: a shell
        // that becomes the daemon can do both.
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"LISTEN_PID=$$ exec "$0" serve "$@" 3<&0 0</dev/null"#])
            .arg(env!("CARGO_BIN_EXE_stated"))
            .args(arguments)
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .env("LISTEN_FDS", "1")
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("WATCHDOG_USEC", "400000");
        tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap()
    }

    /// What the daemon says next.
    async fn hear(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = timeout(PATIENCE, self.heard.recv(&mut message)).await.expect("silence");
        let text = std::str::from_utf8(&message[..length.unwrap()]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Listens until it is said, and returns all that was said up to then.
    async fn hear_until(&self, begin: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let said = self.hear().await;
            let found = said.iter().any(|word| word.starts_with(begin));
            all.extend(said);
            if found {
                return all;
            }
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    timeout(PATIENCE, TcpStream::connect(address)).await.expect("not even refused")
}

async fn ask(stream: &mut TcpStream) -> io::Result<String> {
    let length = u32::try_from(REQUEST.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, REQUEST.as_bytes()].concat()).await?;
    let answered = async {
        let length = stream.read_u32().await?;
        let mut reply = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut reply).await?;
        Ok(String::from_utf8(reply).unwrap())
    };
    timeout(PATIENCE, answered).await.expect("no answer")
}

fn terminate(daemon: &Child) {
    signal(daemon, "-TERM");
}

fn signal(daemon: &Child, name: &str) {
    let id = daemon.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
}

async fn exit(daemon: Child) -> (bool, String) {
    let output = timeout(PATIENCE, daemon.wait_with_output()).await.expect("no exit").unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn the_manager_hears_of_readiness_life_and_end_in_this_order() {
    let manager = Manager::new();
    let daemon = manager.start();
    let start = manager.hear_until("READY=1").await;
    assert!(!start.iter().any(|word| word == "WATCHDOG=1"), "{start:?}");
    let status = start.last().unwrap();
    assert_eq!(
        status,
        "STATUS=serving; connections: 0; in flight: 0; the store answers; day 1, all closed days delivered"
    );
    let mut peer = connect(manager.address).await.unwrap();
    assert_eq!(ask(&mut peer).await.unwrap(), REPLY);
    let life =
        manager.hear_until("STATUS=serving; connections: 1; in flight: 0; the store answers").await;
    assert!(life.iter().any(|word| word == "WATCHDOG=1"), "{life:?}");
    manager.hear_until("WATCHDOG=1").await;
    terminate(&daemon);
    let end = manager.hear_until("STOPPING=1").await;
    assert_eq!(end.last().unwrap(), "EXTEND_TIMEOUT_USEC=25000000");
    let (success, log) = exit(daemon).await;
    assert!(success, "{log}");
}

#[tokio::test]
async fn a_daemon_whose_redis_is_away_serves_and_asks_for_time_and_is_ready_when_it_comes() {
    let mut redis = RedisServer::start().await;
    redis.stop();
    let manager = Manager::new();
    let address = manager.address.to_string();
    let daemon = manager.start_with(&["--listen", &address, "--store", redis.url().expose()]);
    let waiting = manager.hear_until("STATUS=waiting for the store").await;
    assert_eq!(waiting.first().unwrap(), "EXTEND_TIMEOUT_USEC=30000000");
    let mut peer = connect(manager.address).await.unwrap();
    let reply = ask(&mut peer).await.unwrap();
    assert!(reply.contains("CHAT-031"), "{reply}");
    for _ in 0..3 {
        let said = manager.hear().await;
        assert!(!said.contains(&"READY=1".to_owned()), "{said:?}");
    }
    redis.start_again().await;
    manager.hear_until("READY=1").await;
    assert_eq!(ask(&mut peer).await.unwrap(), REPLY);
    redis.stop();
    // Readiness is not taken back, and the watchdog is none of the store's business.
    manager.hear_until("STATUS=serving; connections: 1; in flight: 0; the store is away").await;
    manager.hear_until("WATCHDOG=1").await;
    terminate(&daemon);
    exit(daemon).await;
}

#[tokio::test]
async fn a_passed_socket_is_listened_on_and_other_listeners_are_opened() {
    let manager = Manager::new();
    let config = manager.folder.path().join("stated.toml");
    let text = format!(
        "store.url = \"memory:\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\n\
         [[listen]]\naddress = \"{}\"\nframing = \"lf\"\n",
        manager.address
    );
    std::fs::write(&config, text).unwrap();
    let daemon = manager.start_with(&["--config", config.to_str().unwrap()]);
    let mut peer = connect(manager.address).await.unwrap();
    peer.write_all(format!("{REQUEST}\n").as_bytes()).await.unwrap();
    let mut reply = vec![0; REPLY.len()];
    timeout(PATIENCE, peer.read_exact(&mut reply)).await.expect("no answer").unwrap();
    assert_eq!(reply, REPLY.as_bytes());
    terminate(&daemon);
    let (success, log) = exit(daemon).await;
    assert!(success, "{log}");
    assert_eq!(log.matches("\"passed\":true").count(), 1, "{log}");
    assert_eq!(log.matches("\"passed\":false").count(), 1, "{log}");
}

/// Systemd's own activator: it listens, and becomes the daemon when the first peer comes.
#[tokio::test]
async fn the_peer_that_has_the_daemon_started_is_answered() {
    let address = Manager::new().address;
    let activator = tokio::process::Command::new("systemd-socket-activate")
        .args(["-l", &address.to_string(), env!("CARGO_BIN_EXE_stated")])
        .args(["serve", "--listen", &address.to_string(), "--store", "memory:"])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut daemon = match activator {
        Ok(activator) => activator,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => panic!("{error}"),
    };
    let mut peer =
        eventually("the activator listens", || async { TcpStream::connect(address).await.ok() })
            .await;
    assert_eq!(ask(&mut peer).await.unwrap(), REPLY);
    terminate(&daemon);
    let status = timeout(PATIENCE, daemon.wait()).await.expect("no exit").unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_passed_socket_that_nobody_wants_ends_the_start() {
    let manager = Manager::new();
    let daemon = manager.start_with(&["--listen", "127.0.0.1:0", "--store", "memory:"]);
    let expected = format!("a socket was passed that listens on {}", manager.address);
    let said = manager.hear().await;
    assert!(said[0].starts_with("STATUS=") && said[0].contains(&expected), "{said:?}");
    let (success, log) = exit(daemon).await;
    assert!(!success);
    assert!(log.contains(&expected), "{log}");
}

/// What the peers of one daemon after the other met with.
#[derive(Default)]
struct Met {
    answered: AtomicUsize,
    /// Closed without an answer: the daemon had accepted and stopped before the request came. It
    /// waits a little for those, and on a busy machine that may be too short.
    closed: AtomicUsize,
}

/// Connects, asks and leaves until told to stop. That a connection is refused or reset ends the
/// test.
async fn come_and_go(address: SocketAddr, met: Arc<Met>, stop: Arc<AtomicBool>) {
    while !stop.load(Relaxed) {
        let mut peer = connect(address).await.expect("refused");
        match ask(&mut peer).await {
            Ok(reply) => {
                assert_eq!(reply, REPLY);
                met.answered.fetch_add(1, Relaxed);
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
                met.closed.fetch_add(1, Relaxed);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_load_refuses_no_connection() {
    const PEERS: usize = 16;
    const RESTARTS: usize = 5;
    let manager = Manager::new();
    let mut daemon = manager.start();
    let (met, stop) = (Arc::new(Met::default()), Arc::new(AtomicBool::new(false)));
    let mut peers = JoinSet::new();
    for _ in 0..PEERS {
        peers.spawn(come_and_go(manager.address, Arc::clone(&met), Arc::clone(&stop)));
    }
    for _ in 0..RESTARTS {
        let before = met.answered.load(Relaxed);
        manager.hear_until("READY=1").await;
        while met.answered.load(Relaxed) < before + 10 * PEERS {
            manager.hear().await;
        }
        terminate(&daemon);
        let (success, log) = exit(daemon).await;
        assert!(success, "{log}");
        // Peers have come meanwhile: they wait for this one.
        daemon = manager.start();
    }
    manager.hear_until("READY=1").await;
    stop.store(true, Relaxed);
    while let Some(done) = peers.join_next().await {
        done.unwrap();
    }
    // At the most, each peer was at the door once in each restart.
    assert!(met.closed.load(Relaxed) <= PEERS * RESTARTS);
    terminate(&daemon);
    exit(daemon).await;
}
