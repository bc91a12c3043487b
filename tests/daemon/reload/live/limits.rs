//! `[limits]`, changed while peers are connected.

use std::io::Write as _;
use std::time::Duration;

use crate::fleet::Fleet;
use crate::harness::{Daemon, Setup, moment, wait_until};
use crate::hostile::{large, memory_pauses};
use crate::http::observed;
use crate::observability::value;
use crate::place::{Place, wait_for};
use crate::played::Act;
use crate::requests::{enter, heartbeat, kick_out};
use crate::servers::redis::RedisServer;
use crate::wire::{Client, Framing, error_of, is_closed};

pub(super) const KEYS: &[&str] = &[
    "limits.max_frame_bytes",
    "limits.max_in_flight",
    "limits.max_connections",
    "limits.max_connections_per_address",
    "limits.max_frames_per_second",
    "limits.max_unread_reply_bytes",
    "limits.max_buffer_bytes",
    "limits.max_late_requests",
    "limits.frame_timeout",
    "limits.unread_timeout",
    "limits.backlog_timeout",
    "limits.request_timeout",
    "limits.shutdown_grace",
];

/// A request that has this many bytes at least.
fn long(bytes: usize) -> String {
    enter(&"u".repeat(bytes))
}

#[test]
fn max_frame_bytes() {
    for framing in [Framing::Length4, Framing::Lf] {
        let setup = Setup::new().listens(&[framing]).key("limits.max_frame_bytes", "200");
        let daemon = setup.start();
        let (mut peer, mut half) = (daemon.connect(), daemon.connect());
        peer.served(heartbeat());
        // A frame that is under way is judged by one limit.
        let frame = framing.frame(long(80).as_bytes());
        half.send_bytes(&frame[..50]);
        moment();
        daemon.reload(&setup.clone().key("limits.max_frame_bytes", "100"));
        half.send_bytes(&frame[50..]);
        assert!(!half.reply().contains("error"));
        peer.served(heartbeat());
        // Of what is sent in one piece, each frame.
        peer.send_bytes(&[framing.frame(heartbeat().as_bytes()), frame].concat());
        peer.reply();
        error_of(&peer.reply(), "CHAT-003");
        peer.expect_end();
        half.served(heartbeat());
        daemon.reload(&setup.key("limits.max_frame_bytes", "300"));
        half.served(long(150));
    }
}

#[test]
fn max_in_flight() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::Wait);
    let setup = Setup::with(&fleet).key("limits.max_in_flight", "2");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    let ask = |peer: &mut Client| (0..4).for_each(|room| peer.send(kick_out("u", room)));
    ask(&mut peer);
    fleet.signaling.wait_told(1);
    moment();
    daemon.reload(&setup.key("limits.max_in_flight", "5"));
    fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    (0..4).for_each(|_| assert_eq!(peer.reply(), ""));
    fleet.signaling.behave(Act::Wait);
    // One user's go one after the other, these side by side.
    (0..8).for_each(|user| peer.send(kick_out(&format!("u{user}"), 1)));
    fleet.signaling.wait_told(4 + 5);
    moment();
    assert_eq!(fleet.signaling.told_count(), 4 + 5);
    fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    (0..8).for_each(|_| assert_eq!(peer.reply(), ""));
}

fn is_let_in(daemon: &Daemon) -> Option<Client> {
    let mut peer = daemon.connect();
    let heartbeat = Framing::Length4.frame(heartbeat().as_bytes());
    let asked = peer.try_send_bytes(&heartbeat).and_then(|()| peer.try_reply());
    match asked {
        Ok(_) => Some(peer),
        Err(error) if is_closed(&error) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn max_connections() {
    let setup = Setup::new().key("limits.max_connections", "2");
    let daemon = setup.start();
    let mut peers = vec![is_let_in(&daemon).unwrap(), is_let_in(&daemon).unwrap()];
    assert!(is_let_in(&daemon).is_none());
    daemon.reload(&setup.clone().key("limits.max_connections", "4"));
    peers.extend([is_let_in(&daemon).unwrap(), is_let_in(&daemon).unwrap()]);
    assert!(is_let_in(&daemon).is_none());
    daemon.reload(&setup.key("limits.max_connections", "1"));
    // Nobody who is in has to leave, and nobody comes in until all but one have left.
    for peer in &mut peers {
        peer.served(heartbeat());
    }
    peers.truncate(1);
    moment();
    assert!(is_let_in(&daemon).is_none());
    peers[0].served(heartbeat());
    peers.clear();
    wait_until("a place is free", || is_let_in(&daemon).is_some());
}

#[test]
fn max_connections_per_address() {
    let setup = Setup::new().key("limits.max_connections_per_address", "2");
    let daemon = setup.start();
    let mut peers = vec![is_let_in(&daemon).unwrap(), is_let_in(&daemon).unwrap()];
    assert!(is_let_in(&daemon).is_none());
    daemon.reload(&setup.clone().key("limits.max_connections_per_address", "3"));
    peers.push(is_let_in(&daemon).unwrap());
    assert!(is_let_in(&daemon).is_none());
    daemon.reload(&setup.key("limits.max_connections_per_address", "0"));
    peers.extend([is_let_in(&daemon).unwrap(), is_let_in(&daemon).unwrap()]);
    for peer in &mut peers {
        peer.served(heartbeat());
    }
}

#[test]
fn max_frames_per_second() {
    let setup = Setup::new().key("limits.max_frames_per_second", "1");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    (0..3).for_each(|_| peer.send(heartbeat()));
    (0..3).for_each(|_| assert_eq!(peer.reply(), ""));
    daemon.reload(&setup.key("limits.max_frames_per_second", "0"));
    // At one a second, nobody would wait for these.
    (0..500).for_each(|_| peer.send(heartbeat()));
    (0..500).for_each(|_| assert_eq!(peer.reply(), ""));
}

#[test]
fn max_buffer_bytes() {
    let setup = observed(Setup::new()).key("limits.max_buffer_bytes", "\"1 MiB\"");
    let daemon = setup.start();
    let frame = Framing::Length4.frame(large().as_bytes());
    let (mut holder, mut waiting) = (daemon.connect(), daemon.connect());
    holder.send_bytes(&frame[..frame.len() / 2]);
    wait_until("memory is taken", || value(&daemon, "stated_buffer_bytes") > 0.0);
    waiting.send_bytes(&frame);
    wait_until("one waits", || memory_pauses(&daemon) == 1.0);
    daemon.reload(&setup.key("limits.max_buffer_bytes", "\"2 MiB\""));
    assert_eq!(waiting.reply().len(), large().len());
}

#[test]
fn max_late_requests() {
    let server = wait_for(RedisServer::start());
    let setup = Setup::new()
        .keeps(&Place::at(server.url().expose()))
        .key("store.redis.command_timeout", "\"1h\"")
        .key("limits.request_timeout", "\"300ms\"")
        .key("limits.max_late_requests", "1");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    wait_until("Redis answers", || !peer.ask(enter("u0")).contains("error"));
    server.pause();
    let mut says = |expected: &str| {
        let error = peer.refused(enter("u0"), "CHAT-031");
        assert!(error["detail"].as_str().unwrap().contains(expected), "{error}");
    };
    says("may still take effect");
    says("too many requests");
    daemon.reload(&setup.key("limits.max_late_requests", "2"));
    says("may still take effect");
    says("too many requests");
    server.resume();
}

#[test]
fn frame_timeout() {
    let setup = Setup::new().key("limits.frame_timeout", "\"1h\"");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    let frame = Framing::Length4.frame(heartbeat().as_bytes());
    // Half a frame sets the connection's clock.
    peer.send_bytes(&frame[..10]);
    moment();
    peer.send_bytes(&frame[10..]);
    assert_eq!(peer.reply(), "");
    daemon.reload(&setup.key("limits.frame_timeout", "\"100ms\""));
    peer.served(heartbeat());
    peer.send_bytes(&frame[..10]);
    peer.expect_end();
}

#[test]
fn unread_timeout() {
    gives_up_who_does_not_read("limits.unread_timeout");
}

#[test]
fn backlog_timeout() {
    gives_up_who_does_not_read("limits.backlog_timeout");
}

/// The time that the key gives a peer which takes none of its replies is that of the reload.
fn gives_up_who_does_not_read(key: &str) {
    let setup = observed(Setup::new()).key(key, "\"1h\"");
    let daemon = setup.start();
    let frame = Framing::Length4.frame(long(100).as_bytes());
    let peer = daemon.connect();
    flood(&peer, &frame, 0);
    let closed = || value(&daemon, "stated_connections_closed_total{reason=\"unread\"}");
    assert_eq!(closed(), 0.0);
    daemon.reload(&setup.key(key, "\"100ms\""));
    flood(&daemon.connect(), &frame, 0);
    wait_until("one that does not read is given up", || closed() == 1.0);
}

/// Sends requests until nobody takes them any more; how many bytes went out.
fn flood(peer: &Client, frame: &[u8], sent_before: usize) -> usize {
    let mut stream = peer.stream();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = sent_before;
    while let Ok(bytes) = stream.write(&frame[sent % frame.len()..]) {
        sent += bytes;
    }
    sent
}

#[test]
fn max_unread_reply_bytes() {
    const MIB: usize = 1 << 20;
    let setup = Setup::new().key("limits.max_unread_reply_bytes", "1024");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    let frame = Framing::Length4.frame(long(100).as_bytes());
    let sent = flood(&peer, &frame, 0);
    daemon.reload(&setup.key("limits.max_unread_reply_bytes", "\"16 MiB\""));
    // The connection is looked at again when its peer reads: so much that it can be written to.
    for _ in 0..2 * MIB / 100 {
        peer.reply();
    }
    let more = flood(&peer, &frame, sent) - sent;
    assert!(more > 12 * MIB, "only {more} bytes more");
}

#[test]
fn request_timeout() {
    let fleet = Fleet::new();
    let setup = Setup::with(&fleet)
        .key("limits.request_timeout", "\"1h\"")
        .key("gateways.signaling.reply_timeout", "\"1h\"");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    // A request that waits sets the connection's clock.
    peer.served(kick_out("u1", 1));
    fleet.signaling.behave(Act::Wait);
    daemon.reload(&setup.key("limits.request_timeout", "\"300ms\""));
    peer.refused(kick_out("u1", 1), "CHAT-023");
    peer.served(heartbeat());
}

#[test]
fn shutdown_grace() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::Wait);
    let setup = Setup::with(&fleet)
        .key("limits.request_timeout", "\"1h\"")
        .key("gateways.signaling.reply_timeout", "\"1h\"")
        .key("limits.shutdown_grace", "\"1h\"");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.send(kick_out("u1", 1));
    fleet.signaling.wait_told(1);
    daemon.reload(&setup.key("limits.shutdown_grace", "\"300ms\""));
    daemon.stop_in_debt();
}
