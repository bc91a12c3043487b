//! TLS on listeners: who gets through, as whom, and what becomes of who doesn't.

use std::io::{self, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{OTHER, figure};
use crate::certificates::{self, Authority, Days, TlsStream};
use crate::harness::{Daemon, Setup, WAIT_MAX, wait_until};
use crate::http::{observed, request};
use crate::requests::{enter, heartbeat, kick_out, listing, study_time, subscribe};
use crate::wire::{Client, Framing, error_of, is_closed};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Room, known by its certificate on one address; chat by its own anywhere; auth by its address.
const THREE: &str = r#"
[[peers]]
name = "room service"
certificate = ["DNS:room.fleet", "URI:spiffe://fleet/room"]
addresses = "127.0.0.2"
servers = "room"
[[peers]]
name = "chat service"
certificate = "DNS:chat.fleet"
servers = "chat"
[[peers]]
name = "auth service"
addresses = "127.0.0.1"
servers = "auth"
"#;

const AUTH: &str = r#"{"server":"auth","type":"STUDY_TIME_FROM_TCP","user_id":"u1"}"#;

/// One whose listener presents a certificate of this authority and demands `more`.
fn over_tls(authority: &Authority, more: &str) -> Setup {
    let own = authority.issue("daemon", &["DNS:localhost"]);
    observed(Setup::new()).over_tls(&format!("{}{more}", own.keys()))
}

/// … and wants to know who comes.
fn asking(authority: &Authority, auth: &str) -> Setup {
    over_tls(authority, &format!(", client_ca = {:?}, client_auth = \"{auth}\"", authority.file()))
}

/// Shakes hands from an address of its own.
fn try_from(
    own: IpAddr,
    daemon: SocketAddr,
    client: &Arc<ClientConfig>,
) -> io::Result<Client<TlsStream>> {
    let socket = Socket::new(Domain::for_address(daemon), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(own, 0).into())?;
    socket.connect(&daemon.into())?;
    let mut socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(WAIT_MAX))?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(Arc::clone(client), name).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(Client::of(TlsStream::new(session, socket), Framing::Length4))
}

fn from(own: IpAddr, daemon: &Daemon, client: &Arc<ClientConfig>) -> Client<TlsStream> {
    try_from(own, daemon.addresses[0], client).unwrap()
}

/// Whether this client gets nowhere, in the handshake or right after it.
fn is_kept_out(own: IpAddr, daemon: &Daemon, client: &Arc<ClientConfig>) -> bool {
    try_from(own, daemon.addresses[0], client).is_err_and(|_| true) || {
        let mut peer = from(own, daemon, client);
        drop(peer.try_send_bytes(&Framing::Length4.frame(heartbeat().as_bytes())));
        peer.try_reply().is_err()
    }
}

fn failed(daemon: &Daemon, reason: &str) -> u64 {
    figure(daemon, &format!("stated_handshakes_failed_total{{reason=\"{reason}\"}}"))
}

fn closed(daemon: &Daemon, reason: &str) -> u64 {
    figure(daemon, &format!("stated_connections_closed_total{{reason=\"{reason}\"}}"))
}

fn connections(daemon: &Daemon) -> Vec<Value> {
    let answer = request("GET", "/api/v1/connections").ask(daemon).body;
    let list: Value = serde_json::from_str(&answer).unwrap();
    list["connections"].as_array().unwrap().clone()
}

#[test]
fn a_peer_is_served_over_tls_in_every_framing_however_much_is_said() {
    let authority = Authority::new();
    let users: Vec<_> = (0..2_000).map(|n| format!("user-{n}")).collect();
    let users: Vec<_> = users.iter().map(|user| (user.as_str(), "00:10:00")).collect();
    for framing in Framing::ALL {
        let daemon = over_tls(&authority, "").listens(&[framing]).start();
        let stream =
            certificates::connect(daemon.addresses[0], &authority.client(None), "localhost");
        let mut peer = Client::of(stream.unwrap(), framing);
        peer.served(heartbeat());
        if framing.payload_bytes_max() > 100_000 {
            for _ in 0..3 {
                assert_eq!(peer.ask(listing(&users)).matches("00:10:00").count(), users.len());
            }
        }
        (0..200).for_each(|_| peer.send(enter("u1")));
        (0..200).for_each(|_| assert_eq!(peer.reply(), study_time("u1", None)));
    }
}

#[test]
fn who_shows_no_certificate_or_one_that_is_not_trusted_does_not_get_through() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let daemon = asking(&authority, "required").start();
    let shows = |own| authority.client(Some(own));
    let names = ["DNS:room.fleet"];
    let expired = authority.issue_for("expired", &names, Days(-9, -2));
    let later = authority.issue_for("later", &names, Days(2, 9));
    let wrong = stranger.issue("wrong", &names);
    assert!(is_kept_out(HERE, &daemon, &authority.client(None)));
    assert!(is_kept_out(HERE, &daemon, &shows(&expired)));
    assert!(is_kept_out(HERE, &daemon, &shows(&later)));
    assert!(is_kept_out(HERE, &daemon, &shows(&wrong)));
    for reason in ["no_certificate", "expired", "not_yet_valid", "unknown_authority"] {
        wait_until(reason, || failed(&daemon, reason) > 0);
        daemon.log.tells(&format!("\"reason\":\"{reason}\""));
    }
    let right = shows(&authority.issue("right", &names));
    from(HERE, &daemon, &right).served(heartbeat());
    wait_until("those who failed are gone", || closed(&daemon, "handshake") >= 4);
    assert_eq!(closed(&daemon, "lost"), 0);
}

#[test]
fn a_certificate_lets_speak_whom_it_names_from_where_he_belongs() {
    let authority = Authority::new();
    let daemon = asking(&authority, "required").tables(THREE).start();
    let room = authority.client(Some(&authority.issue("room", &["URI:spiffe://fleet/room"])));
    let chat = authority.client(Some(&authority.issue("chat", &["DNS:Chat.Fleet", "IP:10.0.0.7"])));
    // Room's request goes on to signaling, which is not there: he was allowed to make it.
    let mut peer = from(OTHER, &daemon, &room);
    peer.refused(kick_out("u1", 7), "CHAT-021");
    // A certificate of one service does not speak for another.
    peer.refused(subscribe("u1", 7, "s1"), "CHAT-032");
    let mut peer = from(OTHER, &daemon, &chat);
    peer.served(subscribe("u1", 7, "s1"));
    peer.refused(kick_out("u1", 7), "CHAT-032");
    // Stolen: the right certificate in the wrong place is worth what the place is.
    let mut thief = from(HERE, &daemon, &room);
    thief.refused(kick_out("u1", 7), "CHAT-032");
    thief.served(AUTH);
    wait_until("it is logged", || daemon.log.count("answered CHAT-032") == 3);
    let entry =
        "it comes from 127.0.0.2 as DNS:chat.fleet, IP:10.0.0.7, by the entry \\\"chat service\\\"";
    daemon.log.tells(entry);
    let listed = connections(&daemon);
    let chat = listed.iter().find(|one| one["entries"][0] == "chat service").unwrap();
    assert_eq!(chat["certificate"], serde_json::json!(["DNS:chat.fleet", "IP:10.0.0.7"]));
    assert_eq!((&chat["tls"], &chat["servers"]), (&"TLSv1_3".into(), &serde_json::json!(["chat"])));
}

#[test]
fn whom_no_entry_names_hears_nothing_after_the_handshake() {
    let authority = Authority::new();
    let only = "[[peers]]\ncertificate = \"DNS:chat.fleet\"\nservers = \"*\"";
    let daemon = asking(&authority, "required").tables(only).start();
    let other = authority.client(Some(&authority.issue("other", &["DNS:other.fleet"])));
    assert!(is_kept_out(HERE, &daemon, &other));
    wait_until("it is closed", || closed(&daemon, "denied") > 0);
    assert!(figure(&daemon, "stated_connections_denied_total{reason=\"no_entry\"}") > 0);
    daemon.log.tells("as DNS:other.fleet, which no entry of [[peers]] allows");
}

#[test]
fn where_a_certificate_is_optional_an_address_may_do() {
    let authority = Authority::new();
    let daemon = asking(&authority, "optional").tables(THREE).start();
    let mut auth = from(HERE, &daemon, &authority.client(None));
    auth.served(AUTH);
    auth.refused(heartbeat(), "CHAT-032");
    let chat = authority.client(Some(&authority.issue("chat", &["DNS:chat.fleet"])));
    let mut both = from(HERE, &daemon, &chat);
    both.served(AUTH);
    both.served(heartbeat());
    assert!(is_kept_out(OTHER, &daemon, &authority.client(None)));
    // What is shown has to be right even where nothing has to be shown.
    let stranger = Authority::new().issue("stranger", &["DNS:chat.fleet"]);
    assert!(is_kept_out(HERE, &daemon, &authority.client(Some(&stranger))));
}

#[test]
fn who_speaks_in_the_clear_to_a_listener_with_tls_is_told_apart() {
    let authority = Authority::new();
    let daemon = over_tls(&authority, "").start();
    let mut peer = daemon.connect();
    peer.send(heartbeat());
    assert!(peer.try_reply().is_err());
    wait_until("it is counted", || failed(&daemon, "not_tls") == 1);
    daemon.log.tells("it speaks in the clear to a listener with TLS");
}

#[test]
fn who_speaks_tls_to_a_listener_without_is_told_apart() {
    let authority = Authority::new();
    for framing in Framing::ALL {
        let daemon = Setup::new().listens(&[framing]).start();
        let peer = certificates::connect(daemon.addresses[0], &authority.client(None), "localhost");
        assert!(peer.is_err());
        let said = "answered CHAT-003: this is TLS, and the listener is without";
        wait_until("it is logged", || daemon.log.has(said));
        // The same bytes by hand: an error in the listener's framing, and the end.
        let mut peer = daemon.connect();
        peer.send_bytes(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
        error_of(&peer.reply(), "CHAT-003");
        peer.expect_end();
    }
}

#[test]
fn who_finishes_sending_is_answered_whether_he_says_goodbye_or_not() {
    let authority = Authority::new();
    let daemon = over_tls(&authority, "").start();
    for says_goodbye in [true, false] {
        let client = authority.client(None);
        let mut stream = certificates::connect(daemon.addresses[0], &client, "localhost").unwrap();
        for _ in 0..10 {
            stream.write_all(&Framing::Length4.frame(enter("u1").as_bytes())).unwrap();
        }
        if says_goodbye {
            stream.conn.send_close_notify();
        }
        stream.flush().unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        let mut peer = Client::of(stream, Framing::Length4);
        (0..10).for_each(|_| assert_eq!(peer.reply(), study_time("u1", None)));
        peer.expect_end();
    }
    wait_until("both are gone", || closed(&daemon, "peer") == 2);
}

#[test]
fn a_renewed_certificate_is_shown_to_who_comes_next_and_costs_no_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let first = old.issue("daemon", &["DNS:localhost"]);
    let setup = observed(Setup::new()).over_tls(&first.keys());
    let daemon = setup.start();
    let mut crowd: Vec<_> = (0..20).map(|_| from(HERE, &daemon, &old.client(None))).collect();
    crowd.iter_mut().for_each(|peer| drop(peer.served(heartbeat())));
    assert!(try_from(HERE, daemon.addresses[0], &new.client(None)).is_err());
    first.replace_by(&new.issue("daemon", &["DNS:localhost"]));
    daemon.reload(&setup);
    crowd.iter_mut().for_each(|peer| drop(peer.served(enter("u1"))));
    from(HERE, &daemon, &new.client(None)).served(heartbeat());
    assert!(try_from(HERE, daemon.addresses[0], &old.client(None)).is_err());
    crowd.iter_mut().for_each(|peer| drop(peer.served(heartbeat())));
    assert_eq!(closed(&daemon, "lost") + closed(&daemon, "cut"), 0);
}

#[test]
fn who_never_finishes_the_handshake_holds_up_neither_others_nor_a_stop() {
    let authority = Authority::new();
    let daemon = over_tls(&authority, "").key("limits.handshake_timeout", "\"1h\"").start();
    let mut silent: Vec<_> = (0..5).map(|_| daemon.connect()).collect();
    // The head of a record whose rest never comes.
    silent.iter_mut().for_each(|peer| peer.send_bytes(&[0x16, 3, 1, 2, 0, 1]));
    wait_until("they are let in", || connections(&daemon).len() == 5);
    from(HERE, &daemon, &authority.client(None)).served(heartbeat());
    // The stop has to end by itself, with nobody cut off.
    daemon.stop();
    assert!(silent.iter_mut().all(|peer| peer.try_reply().is_err_and(|error| is_closed(&error))));
}
