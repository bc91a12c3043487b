//! Who may speak: by address, and what is said to whom that is not allowed something.

mod tls;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use crate::harness::{Daemon, Setup, wait_until};
use crate::http::{observed, request};
use crate::requests::{enter, heartbeat, listing, study_time, subscribe};
use crate::wire::{Client, Framing, error_of, is_closed};

const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Signaling on one address of this host, chat on another.
const TWO: &str = r#"
[[peers]]
name = "signaling service"
addresses = "127.0.0.1"
servers = ["signaling", "signaling_scheduling"]
[[peers]]
addresses = ["127.0.0.2/31"]
servers = "chat"
"#;

fn from_other(daemon: &Daemon) -> Client {
    Client::connect_from(OTHER, daemon.addresses[0], Framing::Length4)
}

/// What the metrics say under this name and labels.
fn figure(daemon: &Daemon, sample: &str) -> u64 {
    let page = request("GET", "/metrics").ask(daemon).body;
    let line = page.lines().find_map(|line| line.strip_prefix(sample));
    line.unwrap_or_else(|| panic!("no {sample}")).trim().parse().unwrap()
}

#[test]
fn each_peer_may_say_what_its_entries_allow() {
    let daemon = Setup::new().tables(TWO).start();
    let (mut signaling, mut chat) = (daemon.connect(), from_other(&daemon));
    signaling.served(enter("u1"));
    signaling.served(listing(&[("u1", "1")]));
    chat.served(subscribe("u1", 7, "s1"));
    let error = signaling.refused(subscribe("u1", 7, "s2"), "CHAT-032");
    assert_eq!(error["detail"], "this peer may not speak for `chat`");
    chat.refused(enter("u1"), "CHAT-032");
    chat.refused(listing(&[("u1", "2")]), "CHAT-032");
    // What was denied was not done.
    assert_eq!(
        chat.served(r#"{"server":"chat","type":"UNSUBSCRIBE","session":"s1"}"#)
            .matches("s1")
            .count(),
        1
    );
}

#[test]
fn what_is_denied_is_answered_in_its_place_among_the_others() {
    for framing in Framing::ALL {
        let daemon = Setup::new().tables(TWO).listens(&[framing]).start();
        let mut peer = daemon.connect();
        let all = [enter("u1"), heartbeat(), "garbage".to_owned(), heartbeat(), enter("u2")];
        let frames: Vec<_> = all.iter().map(|one| framing.frame(one.as_bytes())).collect();
        peer.send_bytes(&frames.concat());
        assert_eq!(peer.reply(), study_time("u1", None));
        error_of(&peer.reply(), "CHAT-032");
        error_of(&peer.reply(), "CHAT-003");
        error_of(&peer.reply(), "CHAT-032");
        assert_eq!(peer.reply(), study_time("u2", None));
        peer.finish_sending();
        peer.expect_end();
    }
}

#[test]
fn what_is_denied_is_counted_and_logged_with_who_it_was() {
    let daemon = observed(Setup::new()).tables(TWO).start();
    let (mut signaling, mut chat) = (daemon.connect(), from_other(&daemon));
    signaling.refused(heartbeat(), "CHAT-032");
    chat.refused(enter("u1"), "CHAT-032");
    chat.refused(enter("u1"), "CHAT-032");
    let of_entry = |entry: &str| {
        figure(&daemon, &format!("stated_requests_denied_total{{entry=\"{entry}\"}}"))
    };
    assert_eq!([of_entry("signaling service"), of_entry("peers[1]"), of_entry("none")], [1, 2, 0]);
    let by_type = "stated_requests_total{server=\"chat\",type=\"other\",outcome=\"CHAT-032\"}";
    assert_eq!(figure(&daemon, by_type), 1);
    wait_until("all are logged", || daemon.log.count("answered CHAT-032") == 3);
    let lines: Vec<Value> =
        daemon.log.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["entry"] == "peers[1]").unwrap();
    assert_eq!((&line["level"], &line["code"]), (&"WARN".into(), &"CHAT-032".into()));
    assert_eq!(line["peer"], chat.stream().local_addr().unwrap().to_string());
    assert_eq!(
        line["message"],
        "signaling STUDY_TIME_FROM_TCP answered CHAT-032: this peer may not speak for `signaling`: \
         it comes from 127.0.0.2 without a certificate's names, by the entry \"peers[1]\" of [[peers]]"
    );
}

#[test]
fn who_matches_no_entry_is_not_let_in() {
    let tables = "[[peers]]\nname = \"other\"\naddresses = \"127.0.0.2\"\nservers = \"*\"";
    let daemon = observed(Setup::new()).tables(tables).start();
    let mut stranger = daemon.connect();
    drop(stranger.try_send_bytes(&Framing::Length4.frame(heartbeat().as_bytes())));
    assert!(stranger.try_reply().is_err_and(|error| is_closed(&error)));
    from_other(&daemon).served(heartbeat());
    assert_eq!(figure(&daemon, "stated_connections_denied_total{reason=\"no_entry\"}"), 1);
    assert_eq!(figure(&daemon, "stated_connections_opened_total"), 1);
    daemon.log.tells("a peer is denied a connection: it matches no entry of [[peers]]");
}

#[test]
fn a_crowd_that_is_denied_fills_no_log() {
    let tables = "[[peers]]\naddresses = \"127.0.0.2\"\nservers = \"*\"";
    let daemon = observed(Setup::new().key("log.max_repeats", "3")).tables(tables).start();
    for _ in 0..200 {
        assert!(daemon.connect().try_reply().is_err_and(|error| is_closed(&error)));
    }
    assert_eq!(figure(&daemon, "stated_connections_denied_total{reason=\"no_entry\"}"), 200);
    let (told, held) = (
        daemon.log.count("a peer is denied a connection"),
        figure(&daemon, "stated_log_lines_held_back_total{cause=\"denied\"}"),
    );
    assert_eq!(told as u64 + held, 200);
    assert!(held > 0);
}
