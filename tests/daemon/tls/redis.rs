//! A Redis that speaks TLS only and wants to know who calls: alone, as a cluster, under Sentinel.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::certificates::{Authority, Issued};
use crate::harness::{Daemon, Setup, wait_until};
use crate::place::Place;
use crate::requests::{enter, leave, subscribe};

/// A `redis-server`, or a sentinel, that speaks nothing but TLS.
struct Tls {
    port: u16,
    tls: Vec<String>,
    process: Child,
    _folder: TempDir,
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

impl Tls {
    /// `config` is its configuration; `arguments` follow it.
    fn start(authority: &Authority, config: &str, arguments: &[&str]) -> Self {
        let own = authority.issue("redis", &["IP:127.0.0.1"]);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("redis.conf");
        let (cert, key, ca) = (text(&own.cert), text(&own.key), text(&authority.file()));
        let config = format!(
            "port 0\ntls-port {port}\nbind 127.0.0.1\ndir {}\nsave \"\"\ntls-replication yes\n\
             tls-cluster yes\ntls-auth-clients yes\ntls-cert-file {cert}\ntls-key-file {key}\n\
             tls-ca-cert-file {ca}\n{config}",
            text(folder.path())
        );
        // What the sentinel may not have.
        let is_for_all = |line: &&str| !config.contains("sentinel ") || !line.starts_with("save");
        let config = config.lines().filter(is_for_all).collect::<Vec<_>>().join("\n");
        std::fs::write(&file, config).unwrap();
        let process = Command::new("redis-server")
            .arg(&file)
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let tls = ["--tls", "--cacert", &ca, "--cert", &cert, "--key", &key];
        let tls = tls.map(str::to_owned).to_vec();
        let server = Self { port, tls, process, _folder: folder };
        wait_until("redis answers over TLS", || server.ask(&["PING"]).contains("PONG"));
        server
    }

    fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(&self.tls).args(["-p", &self.port.to_string()]).args(words);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn keeps(url: &str, authority: &Authority, own: Option<&Issued>) -> Setup {
    let own = own.map(|own| format!(", {}", own.keys())).unwrap_or_default();
    Setup::new()
        .keeps(&Place::at(url))
        .key("store.redis.tls", &format!("{{ ca = {:?}{own} }}", authority.file()))
}

/// That it is there, and that it is the one that was asked for.
fn assert_kept(daemon: &Daemon) {
    let mut peer = daemon.connect();
    wait_until("the store serves", || !peer.ask(enter("u1")).contains("CHAT-031"));
    peer.ask(subscribe("u1", 1, "s1"));
    peer.ask(leave("u1", "01:02:03"));
    assert!(peer.ask(enter("u1")).contains("01:02:03"));
}

#[test]
fn a_redis_that_wants_certificates_keeps_the_state_for_who_shows_one() {
    let authority = Authority::new();
    let server = Tls::start(&authority, "", &[]);
    let url = format!("rediss://127.0.0.1:{}", server.port);
    let own = authority.issue("stated", &["DNS:stated"]);
    assert_kept(&keeps(&url, &authority, Some(&own)).start());

    for (authority, own) in [(&authority, None), (&Authority::new(), Some(&own))] {
        let daemon = keeps(&url, authority, own).start();
        daemon.connect().refused(enter("u1"), "CHAT-031");
        wait_until("that is told", || daemon.log.has("redis can't be reached"));
    }
}

#[test]
fn a_renewed_certificate_is_shown_to_redis_with_the_next_connection() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = Tls::start(&authority, "", &[]);
    let url = format!("rediss://127.0.0.1:{}", server.port);
    let own = other.issue("stated", &["DNS:stated"]);
    let setup = keeps(&url, &authority, Some(&own));
    let daemon = setup.start();
    daemon.connect().refused(enter("u1"), "CHAT-031");
    own.replace_by(&authority.issue("stated", &["DNS:stated"]));
    daemon.reload(&setup);
    assert_kept(&daemon);
}

#[test]
fn a_cluster_is_called_over_tls_at_all_its_nodes() {
    let authority = Authority::new();
    let server = Tls::start(&authority, "cluster-enabled yes", &[]);
    assert!(server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).contains("OK"));
    let url = format!("rediss+cluster://127.0.0.1:{}", server.port);
    let own = authority.issue("stated", &["DNS:stated"]);
    assert_kept(&keeps(&url, &authority, Some(&own)).start());
}

#[test]
fn sentinels_and_their_master_are_called_over_tls() {
    let authority = Authority::new();
    let master = Tls::start(&authority, "", &[]);
    let monitor = format!("sentinel monitor main 127.0.0.1 {} 1", master.port);
    let sentinel = Tls::start(&authority, &monitor, &["--sentinel"]);
    let url = format!("rediss+sentinel://127.0.0.1:{}/main", sentinel.port);
    let own = authority.issue("stated", &["DNS:stated"]);
    assert_kept(&keeps(&url, &authority, Some(&own)).start());
}
