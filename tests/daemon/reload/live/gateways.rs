//! `[gateways.*]`, changed while calls are under way.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::admin::{metrics, observed, sample};
use crate::fleet::times_in;
use crate::harness::{Daemon, Setup, moment, wait_until};
use crate::played::{Act, Played};
use crate::requests::{kick_out, last, leave, subscribe};
use crate::wire::{Client, Framing};

/// A `*` is any of the three.
pub(super) const KEYS: &[&str] = &[
    "gateways.*.address",
    "gateways.*.framing",
    "gateways.*.pool_size",
    "gateways.*.connect_timeout",
    "gateways.*.reply_timeout",
    "gateways.*.max_frame_bytes",
    "gateways.room.retry_for",
    "gateways.room.max_queue",
];

pub(super) const PEERS: [&str; 3] = ["room", "signaling", "auth"];

/// Asks something for which the daemon calls this service; the reply may wait for it.
fn cause_call(peer: &mut Client, service: &str, user: &str) {
    match service {
        "room" => {
            peer.served(subscribe(user, 1, user));
            peer.served(leave(user, "00:10:00"));
        }
        "signaling" => peer.send(kick_out(user, 1)),
        "auth" => {
            peer.served(leave(user, "00:10:00"));
            peer.served(last(&[]));
        }
        _ => unreachable!("no such service"),
    }
}

fn key(service: &str, name: &str) -> String {
    format!("gateways.{service}.{name}")
}

/// A daemon that calls this service there.
fn start(service: &str, played: &Played, key_and_value: (&str, &str)) -> (Setup, Daemon) {
    let (name, value) = key_and_value;
    let setup = observed(Setup::new()).calls(service, played).key(&key(service, name), value);
    let daemon = setup.start();
    (setup, daemon)
}

fn wait_for_outcome(daemon: &Daemon, service: &str, outcome: &str) {
    let series = format!("stated_gateway_calls_total{{peer=\"{service}\",outcome=\"{outcome}\"}}");
    wait_until(&format!("a call of {service} ends as {outcome}"), || {
        sample(&metrics(daemon), &series).is_some_and(|count| count >= 1.0)
    });
}

#[test]
fn address_and_framing() {
    for service in PEERS {
        let (before, mut after) = (Played::says("SUCCESS"), Played::absent(Framing::Crlf));
        after.appear();
        let (setup, daemon) = start(service, &before, ("framing", "\"length4\""));
        let mut peer = daemon.connect();
        cause_call(&mut peer, service, "u1");
        before.wait_told(1);
        let setup = setup.calls(service, &after).key(&key(service, "framing"), "\"crlf\"");
        daemon.reload(&setup);
        cause_call(&mut peer, service, "u2");
        assert!(after.wait_told(1)[0].contains("u2"), "{service}");
        assert_eq!(before.told_count(), 1);
        wait_until("no connection is kept there", || before.open() == 0);
    }
}

#[test]
fn pool_size() {
    for service in PEERS {
        let played = Played::does(Act::Wait);
        let (setup, daemon) = start(service, &played, ("pool_size", "1"));
        let mut peer = daemon.connect();
        cause_call(&mut peer, service, "u1");
        played.wait_told(1);
        // Only one frame at a time goes to auth.
        if service != "auth" {
            cause_call(&mut peer, service, "u2");
            moment();
            assert_eq!(played.told_count(), 1);
        }
        daemon.reload(&setup.key(&key(service, "pool_size"), "2"));
        let max = format!("stated_gateway_pool_connections_max{{peer=\"{service}\"}}");
        assert_eq!(sample(&metrics(&daemon), &max), Some(2.0));
        if service != "auth" {
            played.wait_told(2);
        }
        played.behave(Act::Say("SUCCESS".to_owned()));
    }
}

/// Listens, and lets nobody through: the system's queue of connections is full.
struct BlackHole {
    address: SocketAddr,
    _listener: Socket,
    _crowd: Vec<TcpStream>,
}

impl BlackHole {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
        let crowd = std::iter::from_fn(connect).collect();
        Self { address, _listener: listener, _crowd: crowd }
    }
}

#[test]
fn connect_timeout() {
    for service in PEERS {
        let hole = BlackHole::new();
        let address = format!("\"{}\"", hole.address);
        let setup = observed(Setup::new())
            .key("limits.request_timeout", "\"1h\"")
            .key(&key(service, "address"), &address)
            .key(&key(service, "connect_timeout"), "\"1h\"");
        let daemon = setup.start();
        let mut peer = daemon.connect();
        daemon.reload(&setup.key(&key(service, "connect_timeout"), "\"200ms\""));
        cause_call(&mut peer, service, "u1");
        wait_for_outcome(&daemon, service, "unreachable");
        daemon.stop_in_debt();
    }
}

#[test]
fn reply_timeout() {
    for service in PEERS {
        let played = Played::says("SUCCESS");
        let (setup, daemon) = start(service, &played, ("reply_timeout", "\"1h\""));
        let setup = setup.key("limits.request_timeout", "\"1h\"");
        let mut peer = daemon.connect();
        cause_call(&mut peer, service, "u1");
        played.wait_told(1);
        played.behave(Act::KeepSilent);
        daemon.reload(&setup.key(&key(service, "reply_timeout"), "\"200ms\""));
        cause_call(&mut peer, service, "u2");
        wait_for_outcome(&daemon, service, "timeout");
        played.behave(Act::Say("SUCCESS".to_owned()));
    }
}

#[test]
fn max_frame_bytes() {
    for service in PEERS {
        let played = Played::says("SUCCESS");
        let (setup, daemon) = start(service, &played, ("max_frame_bytes", "20"));
        let mut peer = daemon.connect();
        cause_call(&mut peer, service, "u1");
        moment();
        assert_eq!(played.told_count(), 0);
        daemon.reload(&setup.key(&key(service, "max_frame_bytes"), "2046"));
        match service {
            // What was too long for a frame is looked at again.
            "auth" => assert_eq!(times_in(&played.wait_told(1)[0]).len(), 1),
            _ => {
                cause_call(&mut peer, service, "u2");
                played.wait_told(1);
            }
        }
    }
}

fn room_outs(daemon: &Daemon, outcome: &str) -> f64 {
    let series = format!("stated_room_outs_total{{outcome=\"{outcome}\"}}");
    sample(&metrics(daemon), &series).unwrap()
}

#[test]
fn room_retry_for() {
    let mut absent = Played::absent(Framing::Length4);
    let (setup, daemon) = start("room", &absent, ("retry_for", "\"1h\""));
    let mut peer = daemon.connect();
    cause_call(&mut peer, "room", "u1");
    // What is queued is tried for as long as is allowed now.
    daemon.reload(&setup.clone().key("gateways.room.retry_for", "\"0s\""));
    wait_until("it is given up", || room_outs(&daemon, "dropped_late") >= 1.0);
    daemon.reload(&setup);
    cause_call(&mut peer, "room", "u2");
    absent.appear();
    assert!(absent.wait_told(1)[0].contains("u2"));
}

#[test]
fn room_max_queue() {
    let mut absent = Played::absent(Framing::Length4);
    let (setup, daemon) = start("room", &absent, ("max_queue", "1"));
    let mut peer = daemon.connect();
    ["u1", "u2"].iter().for_each(|user| cause_call(&mut peer, "room", user));
    assert_eq!(room_outs(&daemon, "dropped_full"), 1.0);
    daemon.reload(&setup.clone().key("gateways.room.max_queue", "3"));
    ["u3", "u4", "u5"].iter().for_each(|user| cause_call(&mut peer, "room", user));
    assert_eq!(room_outs(&daemon, "dropped_full"), 2.0);
    // What is queued stays queued.
    daemon.reload(&setup);
    assert_eq!(sample(&metrics(&daemon), "stated_room_out_queue"), Some(3.0));
    absent.appear();
    let told = absent.wait_told(3).concat();
    assert!(["u1", "u3", "u4"].iter().all(|user| told.contains(user)), "{told}");
}
