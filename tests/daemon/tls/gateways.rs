//! Services that are called over TLS: the right one, impostors, and those that want to know who calls.

use crate::certificates::{Authority, Days, Front, Issued};
use crate::fleet::Fleet;
use crate::harness::{Daemon, Setup, moment, wait_until};
use crate::requests::kick_out;

/// The daemon's own name, where it has to show one.
const STATED: &str = "URI:spiffe://fleet/stated";
const LOCALHOST: &[&str] = &["IP:127.0.0.1"];

/// A daemon that calls signaling through `front`, which trusts `authority` and knows these keys too.
fn calling(fleet: &Fleet, front: &Front, authority: &Authority, more: &str) -> Setup {
    Setup::with(fleet)
        .key("gateways.signaling.address", &format!("\"{}\"", front.address))
        .key("gateways.signaling.tls", &tls(authority, more))
}

fn tls(authority: &Authority, more: &str) -> String {
    format!("{{ ca = {:?}{more} }}", authority.file())
}

fn showing(own: &Issued) -> String {
    format!(", {}", own.keys())
}

fn assert_unreachable(daemon: &Daemon, why: &str) {
    daemon.connect().refused(kick_out("u1", 1), "CHAT-021");
    wait_until(why, || daemon.log.has(&format!("signaling can't be reached: TLS: {why}")));
}

#[test]
fn a_service_with_the_right_certificate_is_told_and_its_connection_used_again() {
    let (fleet, authority) = (Fleet::new(), Authority::new());
    let front = Front::before(fleet.signaling.address, &authority.issue("s", LOCALHOST), None);
    let daemon = calling(&fleet, &front, &authority, "").start();
    let mut peer = daemon.connect();
    for _ in 0..3 {
        assert_eq!(peer.ask(kick_out("u1", 1)), "");
    }
    assert_eq!(fleet.signaling.told_count(), 3);
    assert_eq!(front.shown(), [[""; 0]]);
}

#[test]
fn a_name_of_its_own_may_be_demanded_of_a_service() {
    let (fleet, authority) = (Fleet::new(), Authority::new());
    let own = authority.issue("s", &["DNS:signaling.fleet"]);
    let front = Front::before(fleet.signaling.address, &own, None);
    let setup = calling(&fleet, &front, &authority, ", server_name = \"signaling.fleet\"");
    assert_eq!(setup.start().connect().ask(kick_out("u1", 1)), "");
}

#[test]
fn a_service_that_is_somebody_else_is_told_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let impostors = [
        (other.issue("s", LOCALHOST), "its certificate is from an unknown authority"),
        (authority.issue_for("e", LOCALHOST, Days(-30, -1)), "its certificate has expired"),
        (authority.issue_for("n", LOCALHOST, Days(2, 30)), "its certificate is not valid yet"),
        (authority.issue("w", &["DNS:room.fleet"]), "its certificate names somebody else"),
    ];
    for (own, why) in impostors {
        let fleet = Fleet::new();
        let front = Front::before(fleet.signaling.address, &own, None);
        let daemon = calling(&fleet, &front, &authority, "").start();
        assert_unreachable(&daemon, why);
        assert_eq!((fleet.signaling.told_count(), fleet.signaling.connections()), (0, 0));
        wait_until("the handshake has failed over there too", || front.failures() > 0);
    }
}

#[test]
fn a_service_that_speaks_no_tls_is_told_nothing() {
    let (fleet, authority) = (Fleet::new(), Authority::new());
    let daemon = Setup::with(&fleet).key("gateways.signaling.tls", &tls(&authority, "")).start();
    daemon.connect().refused(kick_out("u1", 1), "CHAT-021");
    assert_eq!(fleet.signaling.told_count(), 0);
}

#[test]
fn a_service_may_ask_who_calls_and_refuse_who_cannot_say() {
    let (fleet, authority, other) = (Fleet::new(), Authority::new(), Authority::new());
    let front =
        Front::before(fleet.signaling.address, &authority.issue("s", LOCALHOST), Some(&authority));
    let own = showing(&authority.issue("stated", &[STATED]));
    let daemon = calling(&fleet, &front, &authority, &own).start();
    assert_eq!(daemon.connect().ask(kick_out("u1", 1)), "");
    assert_eq!(front.shown(), [[STATED]]);

    let nobody = calling(&fleet, &front, &authority, "").start();
    assert_unreachable(&nobody, "it demands a certificate");
    let stranger = showing(&other.issue("stated", &[STATED]));
    let stranger = calling(&fleet, &front, &authority, &stranger).start();
    assert_unreachable(&stranger, "it does not know the authority of our certificate");
    let late = showing(&authority.issue_for("late", &[STATED], Days(-30, -1)));
    let late = calling(&fleet, &front, &authority, &late).start();
    late.log.tells("gateways.signaling.tls.cert ended at ");
    assert_unreachable(&late, "it says that our certificate has expired");
    assert_eq!((fleet.signaling.told_count(), front.shown().len()), (1, 1));
}

#[test]
fn a_connection_that_the_service_ended_is_not_used_again() {
    let (fleet, authority) = (Fleet::new(), Authority::new());
    let front = Front::before(fleet.signaling.address, &authority.issue("s", LOCALHOST), None);
    let daemon = calling(&fleet, &front, &authority, "").start();
    let mut peer = daemon.connect();
    for told in 1..=3 {
        fleet.signaling.behave(crate::played::Act::SayAndHangUp("SUCCESS".to_owned()));
        assert_eq!(peer.ask(kick_out("u1", 1)), "");
        // Its good-bye is on the way, and the daemon has nothing to do but to find it.
        wait_until("it hung up", || fleet.signaling.open() == 0);
        moment();
        assert_eq!(fleet.signaling.told_count(), told);
    }
    assert_eq!(front.shown().len(), 3);
}

#[test]
fn a_renewed_certificate_is_shown_with_the_next_connection_and_costs_none() {
    let (fleet, authority) = (Fleet::new(), Authority::new());
    let front =
        Front::before(fleet.signaling.address, &authority.issue("s", LOCALHOST), Some(&authority));
    let own = authority.issue("stated", &["DNS:old.fleet"]);
    let setup = calling(&fleet, &front, &authority, &showing(&own));
    let daemon = setup.start();
    let mut peer = daemon.connect();
    assert_eq!(peer.ask(kick_out("u1", 1)), "");

    own.replace_by(&authority.issue("renewed", &["DNS:new.fleet"]));
    daemon.reload(&setup);
    daemon.log.tells("another certificate: gateways.signaling.tls.cert is valid until");
    assert_eq!(peer.ask(kick_out("u1", 1)), "");
    assert_eq!(front.shown(), [["DNS:old.fleet"]], "the connection that stands is kept");

    fleet.signaling.behave(crate::played::Act::SayAndHangUp("SUCCESS".to_owned()));
    assert_eq!(peer.ask(kick_out("u1", 1)), "");
    wait_until("it hung up", || fleet.signaling.open() == 0);
    moment();
    assert_eq!(peer.ask(kick_out("u1", 1)), "");
    assert_eq!(front.shown(), [["DNS:old.fleet"], ["DNS:new.fleet"]]);
}

#[test]
fn tls_towards_a_service_is_turned_on_and_off_under_way() {
    let (fleet, authority) = (Fleet::new(), Authority::new());
    let front = Front::before(fleet.signaling.address, &authority.issue("s", LOCALHOST), None);
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    assert_eq!(peer.ask(kick_out("u1", 1)), "");
    daemon.reload(&calling(&fleet, &front, &authority, ""));
    assert_eq!(peer.ask(kick_out("u1", 1)), "");
    assert_eq!(front.shown().len(), 1);
    daemon.reload(&Setup::with(&fleet));
    assert_eq!(peer.ask(kick_out("u1", 1)), "");
    assert_eq!((front.shown().len(), fleet.signaling.told_count()), (1, 3));
}
