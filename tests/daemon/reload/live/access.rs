//! `[[peers]]` and `open`, changed while peers are connected.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::certificates::Authority;
use crate::harness::{Daemon, Setup, wait_until};
use crate::http::observed;
use crate::requests::{enter, heartbeat, study_time};
use crate::wire::{Client, Framing, is_closed};

pub(super) const KEYS: &[&str] = &[
    "limits.handshake_timeout",
    "open",
    "[peers].name",
    "[peers].certificate",
    "[peers].addresses",
    "[peers].servers",
];

const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn entry(keys: &str) -> String {
    format!("[[peers]]\n{keys}\n")
}

fn from_other(daemon: &Daemon) -> Client {
    Client::connect_from(OTHER, daemon.addresses[0], Framing::Length4)
}

#[test]
fn servers() {
    let setup = Setup::new();
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.served(heartbeat());
    let may = |servers: &str| {
        setup.clone().tables(&entry(&format!("addresses = \"127.0.0.1\"\nservers = {servers}")))
    };
    daemon.reload(&may("\"signaling\""));
    assert_eq!(peer.ask(enter("u1")), study_time("u1", None));
    peer.refused(heartbeat(), "CHAT-032");
    daemon.reload(&may("[\"chat\", \"auth\"]"));
    peer.served(heartbeat());
    peer.refused(enter("u1"), "CHAT-032");
    daemon.reload(&may("\"*\""));
    peer.served(heartbeat());
    peer.served(enter("u1"));
    daemon.reload(&setup);
    peer.served(enter("u1"));
}

#[test]
fn addresses() {
    let setup = Setup::new();
    let daemon = setup.start();
    let mut other = from_other(&daemon);
    other.served(heartbeat());
    let from = |network: &str| {
        setup.clone().tables(&entry(&format!("addresses = \"{network}\"\nservers = \"*\"")))
    };
    daemon.reload(&from("127.0.0.1"));
    // Who is in stays, and has nothing to say.
    other.refused(heartbeat(), "CHAT-032");
    assert!(from_other(&daemon).try_reply().is_err_and(|error| is_closed(&error)));
    daemon.connect().served(heartbeat());
    daemon.reload(&from("127.0.0.0/8"));
    other.served(heartbeat());
    from_other(&daemon).served(heartbeat());
}

#[test]
fn certificate() {
    let setup = Setup::new();
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.served(heartbeat());
    let named = entry("certificate = \"DNS:chat.fleet\"\nservers = \"*\"");
    daemon.reload(&setup.clone().tables(&named));
    peer.refused(heartbeat(), "CHAT-032");
    daemon.reload(&setup);
    peer.served(heartbeat());
}

#[test]
fn name() {
    let setup = Setup::new();
    let called = |name: &str| {
        let keys = format!("name = \"{name}\"\naddresses = \"127.0.0.1\"\nservers = \"chat\"");
        setup.clone().tables(&entry(&keys))
    };
    let daemon = called("one").start();
    let mut peer = daemon.connect();
    peer.refused(enter("u1"), "CHAT-032");
    daemon.reload(&called("another"));
    peer.refused(enter("u1"), "CHAT-032");
    let lines = |name: &str| daemon.log.count(&format!("\"entry\":\"{name}\""));
    wait_until("both are in the log", || (lines("one"), lines("another")) == (1, 1));
}

#[test]
fn handshake_timeout() {
    let authority = Authority::new();
    let own = authority.issue("daemon", &["DNS:localhost"]);
    let setup = observed(Setup::new()).over_tls(&own.keys());
    let daemon = setup.clone().key("limits.handshake_timeout", "\"1h\"").start();
    let mut patient = daemon.connect();
    daemon.reload(&setup.key("limits.handshake_timeout", "\"10ms\""));
    daemon.connect().expect_end();
    let said = "a handshake with a peer failed: not over within 10ms";
    wait_until("it is logged", || daemon.log.has(said));
    // A handshake goes by what was in force when it began.
    assert!(!patient.hears_something(Duration::from_millis(50)));
}

/// That it lets in who is far away is a test of the rules: all addresses of a test are near.
#[test]
fn open() {
    let setup = Setup::new();
    let daemon = setup.start();
    let mut peer = daemon.connect();
    daemon.reload(&setup.clone().key("open", "true"));
    daemon.log.tells("changed: open: false -> true");
    peer.served(heartbeat());
    daemon.reload(&setup.key("open", "false"));
    peer.served(heartbeat());
    daemon.connect().served(heartbeat());
}
