//! Peers that call over a network that fails: what was acknowledged is there, and nobody else is
//! held up.

use crate::faults::proxy::{Break, Flow, Proxy, Way};
use crate::harness::{Setup, wait_until};
use crate::place::Place;
use crate::requests::{enter, leave, study_time};
use crate::wire::{Client, Framing};

const WRITES: usize = 40;

fn user(number: usize) -> String {
    format!("u-{number:04}")
}

/// Sends writes without waiting, and counts the answers that come before the connection breaks.
fn acknowledged(peer: &mut Client, first: usize) -> usize {
    for number in first..first + WRITES {
        let message = leave(&user(number), &number.to_string());
        if peer.try_send_bytes(&Framing::Length4.frame(message.as_bytes())).is_err() {
            break;
        }
    }
    let answers = (first..first + WRITES).map_while(|number| {
        let reply = peer.try_reply().ok()?;
        assert_eq!(reply, study_time(&user(number), Some(&number.to_string())));
        Some(())
    });
    answers.count()
}

fn check_cut_off_pipelines(place: &Place) {
    let daemon = Setup::new().keeps(place).start();
    let proxy = Proxy::before(daemon.addresses[0]);
    let mut witness = daemon.connect();
    let frame_bytes = 4 + leave(&user(0), "0000").len();
    let mut first = 0;
    for (way, step) in [(Way::ToServer, frame_bytes), (Way::ToClient, 49)] {
        for (number, how) in [Break::Close, Break::Reset].into_iter().cycle().take(24).enumerate() {
            first += WRITES;
            let cuts = proxy.cuts();
            proxy.flow(way, Flow::Cut(number * step + number % step, how));
            let mut peer = Client::connect(proxy.address, Framing::Length4);
            let count = acknowledged(&mut peer, first);
            proxy.wait_cuts(cuts + 1);
            for number in first..first + WRITES {
                let (reply, time) = (witness.ask(enter(&user(number))), number.to_string());
                let (written, not) =
                    (study_time(&user(number), Some(&time)), study_time(&user(number), None));
                let is_acknowledged = number < first + count;
                assert!(reply == written || !is_acknowledged && reply == not, "{number}: {reply}");
            }
        }
    }
}

#[test]
fn what_was_acknowledged_before_a_connection_broke_mid_pipeline_is_there() {
    check_cut_off_pipelines(&Place::memory());
}

#[test]
fn what_was_acknowledged_before_a_connection_broke_mid_pipeline_is_there_on_disk() {
    check_cut_off_pipelines(&Place::embedded());
}

#[test]
fn requests_that_come_byte_by_byte_over_a_slow_network_are_answered_in_order() {
    let daemon = Setup::new().start();
    let proxy = Proxy::before(daemon.addresses[0]);
    for way in [Way::ToServer, Way::ToClient] {
        proxy.flow(way, Flow::Trickles);
    }
    let mut peer = Client::connect(proxy.address, Framing::Length4);
    assert_eq!(acknowledged(&mut peer, 0), WRITES);
}

#[test]
fn a_peer_that_hears_no_answer_any_more_keeps_nobody_waiting_and_is_served_when_it_does() {
    let daemon = Setup::new().start();
    let proxy = Proxy::before(daemon.addresses[0]);
    let (mut deaf, mut other) =
        (Client::connect(proxy.address, Framing::Length4), daemon.connect());
    proxy.flow(Way::ToClient, Flow::Held);
    for number in 0..WRITES {
        deaf.send(leave(&user(number), "00:10:00"));
    }
    let last = user(WRITES - 1);
    wait_until("all is done", || other.ask(enter(&last)) == study_time(&last, Some("00:10:00")));
    proxy.heal();
    for number in 0..WRITES {
        assert_eq!(deaf.reply(), study_time(&user(number), Some("00:10:00")));
    }
}

#[test]
fn a_peer_that_vanished_without_a_word_costs_the_others_and_the_stop_nothing() {
    let daemon = Setup::new().start();
    let proxy = Proxy::before(daemon.addresses[0]);
    let mut peers: Vec<_> =
        (0..20).map(|_| Client::connect(proxy.address, Framing::Length4)).collect();
    for peer in &mut peers {
        peer.served(leave("u1", "1"));
    }
    proxy.break_all(Break::Silence);
    for peer in &mut peers {
        peer.send(leave("u1", "2"));
    }
    let mut other = daemon.connect();
    assert_eq!(other.ask(enter("u1")), study_time("u1", Some("1")));
    drop(other);
    // Stopping waits for nobody who does not answer, and cuts nothing off that was asked for.
    daemon.stop();
}
