//! Peers that mean harm or are broken: none of them keeps others from being served.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::connection::flood;
use crate::fleet::Fleet;
use crate::harness::{Daemon, Setup, wait_until};
use crate::http::observed;
use crate::observability::value;
use crate::place::{Place, wait_for};
use crate::played::Act;
use crate::requests::{enter, heartbeat, kick_out, leave, listing, study_time};
use crate::servers::redis::RedisServer;
use crate::wire::{Client, Framing};

/// Between two bytes of a frame that trickles.
const TRICKLE: Duration = Duration::from_millis(5);

fn closed(daemon: &Daemon, reason: &str) -> f64 {
    value(daemon, &format!("stated_connections_closed_total{{reason=\"{reason}\"}}"))
}

/// Sends a frame without end byte by byte, until the daemon has had enough of it.
fn trickle(peer: &mut Client) {
    let frame = [0, 0, 0xff, 0xff].into_iter().chain(std::iter::repeat_n(b'x', 60_000));
    for byte in frame {
        if peer.try_send_bytes(&[byte]).is_err() || peer.hears_something(TRICKLE) {
            return;
        }
    }
    panic!("it may trickle for ever");
}

#[test]
fn a_frame_that_trickles_is_cut_off_and_an_idle_connection_is_not() {
    let framings = [Framing::Length4, Framing::Crlf];
    let setup = observed(Setup::new().listens(&framings)).key("limits.frame_timeout", "\"200ms\"");
    let daemon = setup.start();
    let mut idle = daemon.connect();
    idle.served(heartbeat());
    let mut silent = daemon.connect();
    for framing in framings {
        trickle(&mut daemon.connect_in(framing));
    }
    wait_until("both are counted", || closed(&daemon, "partial_frame") == 2.0);
    idle.served(heartbeat());
    silent.served(heartbeat());
}

#[test]
fn what_was_asked_before_half_a_frame_is_answered() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::Wait);
    let daemon = observed(Setup::with(&fleet)).key("limits.frame_timeout", "\"100ms\"").start();
    let mut peer = daemon.connect();
    peer.send(kick_out("u1", 1));
    peer.send_bytes(&Framing::Length4.frame(heartbeat().as_bytes())[..10]);
    fleet.signaling.wait_told(1);
    assert!(!peer.hears_something(Duration::from_millis(300)), "it is owed a reply");
    fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    assert_eq!(peer.reply(), "");
    peer.expect_end();
    wait_until("it is counted", || closed(&daemon, "partial_frame") == 1.0);
}

#[test]
fn a_request_that_waits_for_an_earlier_one_is_no_slow_frame() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::Wait);
    let setup = Setup::with(&fleet).key("limits.frame_timeout", "\"100ms\"");
    let daemon = setup.key("limits.max_in_flight", "1").start();
    let mut peer = daemon.connect();
    let frame = Framing::Length4.frame(kick_out("u1", 1).as_bytes());
    // With the first request there is no place for the second, whose rest is not even looked for.
    peer.send_bytes(&[&frame[..], &frame[..10]].concat());
    fleet.signaling.wait_told(1);
    assert!(!peer.hears_something(Duration::from_millis(300)));
    peer.send_bytes(&frame[10..]);
    fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    assert_eq!([peer.reply(), peer.reply()], ["", ""]);
}

#[test]
fn a_peer_that_never_reads_is_given_up_and_what_it_asked_for_is_done() {
    let daemon = observed(Setup::new()).key("limits.unread_timeout", "\"300ms\"").start();
    let mut deaf = daemon.connect();
    deaf.send(leave("u1", "00:10:00"));
    flood(&deaf, enter(&"u".repeat(256)).as_bytes());
    wait_until("it is given up", || closed(&daemon, "unread") == 1.0);
    assert_eq!(daemon.connect().ask(enter("u1")), study_time("u1", Some("00:10:00")));
}

#[test]
fn a_peer_that_takes_its_replies_byte_by_byte_is_given_up_and_what_it_asked_for_is_done() {
    let setup = observed(Setup::new()).key("limits.unread_timeout", "\"1h\"");
    let daemon = setup.key("limits.backlog_timeout", "\"1s\"").start();
    let mut slow = daemon.connect();
    slow.send(leave("u1", "00:10:00"));
    flood(&slow, enter(&"u".repeat(256)).as_bytes());
    let mut some = [0; 64];
    wait_until("it is given up", || {
        // Enough for the kernel to make room for more.
        let is_read = slow.stream().read(&mut some).is_ok();
        closed(&daemon, "unread") == 1.0 || !is_read
    });
    wait_until("it is counted", || closed(&daemon, "unread") == 1.0);
    assert_eq!(daemon.connect().ask(enter("u1")), study_time("u1", Some("00:10:00")));
}

#[test]
fn a_peer_that_never_reads_does_not_make_a_stop_last_its_whole_grace() {
    let setup = observed(Setup::new()).key("limits.shutdown_grace", "\"12s\"");
    let daemon = setup.key("limits.unread_timeout", "\"1h\"").start();
    let deaf = daemon.connect();
    flood(&deaf, enter(&"u".repeat(256)).as_bytes());
    // Which asserts that nobody was cut off when the grace period was over.
    daemon.stop();
}

#[test]
fn an_address_with_too_many_connections_is_turned_away_and_another_is_not() {
    let setup = observed(Setup::new()).key("limits.max_connections_per_address", "2");
    let daemon = setup.start();
    let mut peers = [daemon.connect(), daemon.connect()];
    peers.iter_mut().for_each(|peer| drop(peer.served(heartbeat())));
    daemon.connect().expect_end();
    let neighbour = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    Client::connect_from(neighbour, daemon.addresses[0], Framing::Length4).served(heartbeat());
    let by = "stated_connections_turned_away_total{limit=\"max_connections_per_address\"}";
    assert_eq!(value(&daemon, by), 1.0);
    daemon.log.tells("its address has all the connections");
    let [first, mut second] = peers;
    drop(first);
    wait_until("a place of the address is free", || {
        let mut next = daemon.connect();
        next.try_send_bytes(&Framing::Length4.frame(heartbeat().as_bytes())).is_ok()
            && next.try_reply().is_ok()
    });
    second.served(heartbeat());
}

#[test]
fn whoever_sends_too_many_frames_a_second_waits_and_loses_none_and_no_time_of_others() {
    let setup = observed(Setup::new()).key("limits.max_frames_per_second", "100");
    let daemon = setup.start();
    let mut hasty = daemon.connect();
    (0..250).for_each(|number| hasty.send(leave("u1", &number.to_string())));
    let paused = "stated_connections_paused_total{limit=\"max_frames_per_second\"}";
    wait_until("it is paused", || value(&daemon, paused) > 0.0);
    daemon.connect().served(heartbeat());
    for number in 0..250 {
        assert_eq!(hasty.reply(), study_time("u1", Some(&number.to_string())));
    }
}

#[test]
fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let setup = observed(Setup::new().key("limits.max_connections", "1000"));
    let daemon = setup.clone().descriptors(64, 2_000).start();
    assert_eq!(value(&daemon, "process_max_fds"), 2_000.0);
    daemon.log.tells("\"max_fds\":2000");
    assert!(!daemon.log.has("raise LimitNOFILE"), "{}", daemon.log.tail());
    let few = setup.descriptors(64, 1_000).start();
    few.log.tells("the daemon would need 1231 file descriptors, and it may have 1000");
}

#[test]
fn when_descriptors_run_out_accepting_pauses_and_everything_else_goes_on() {
    let fleet = Fleet::new();
    let place = Place::embedded();
    let setup = observed(Setup::with(&fleet).keeps(&place));
    let daemon = setup.descriptors(80, 80).start();
    let mut first = daemon.connect();
    first.served(heartbeat());
    // The kernel takes them all, whoever is let in or not.
    let crowd: Vec<_> = (0..150).map(|_| daemon.connect()).collect();
    wait_until("accepting pauses", || value(&daemon, "stated_accept_pauses_total") > 0.0);
    daemon.log.tells("file descriptors run out");
    // The store writes and a gateway is called: a connection to it is made only now.
    first.served(leave("u1", "00:10:00"));
    assert_eq!(first.ask(kick_out("u1", 1)), "");
    let mut late = daemon.connect();
    late.send(enter("u1"));
    drop(crowd);
    assert_eq!(late.reply(), study_time("u1", Some("00:10:00")));
}

/// A frame that takes most of a MiB until it is answered, and what it is answered.
pub(crate) fn large() -> String {
    let users: Vec<_> = (0..2_400).map(|number| format!("u{number:04}")).collect();
    let users: Vec<_> = users.iter().map(|user| (user.as_str(), "00:10:00")).collect();
    listing(&users)
}

pub(crate) fn memory_pauses(daemon: &Daemon) -> f64 {
    value(daemon, "stated_connections_paused_total{limit=\"max_buffer_bytes\"}")
}

#[test]
fn when_the_memory_for_messages_is_used_up_large_ones_wait_for_their_turn_and_small_ones_do_not() {
    let setup = observed(Setup::new()).key("limits.max_buffer_bytes", "\"1 MiB\"");
    let daemon = setup.start();
    let frame = Framing::Length4.frame(large().as_bytes());
    let mut holder = daemon.connect();
    holder.send_bytes(&frame[..frame.len() / 2]);
    let held = || value(&daemon, "stated_buffer_bytes");
    wait_until("the frame's memory is taken", || held() > 0.0);
    let mut crowd: Vec<_> = (0..8).map(|_| daemon.connect()).collect();
    crowd.iter_mut().for_each(|peer| peer.send_bytes(&frame));
    wait_until("all of them wait", || memory_pauses(&daemon) == 8.0);
    assert!(held() <= f64::from(1 << 20), "{}", held());
    daemon.connect().served(heartbeat());
    assert!(!crowd.iter_mut().any(|peer| peer.hears_something(Duration::from_millis(1))));
    holder.send_bytes(&frame[frame.len() / 2..]);
    for peer in std::iter::once(&mut holder).chain(&mut crowd) {
        assert_eq!(peer.reply().len(), large().len());
    }
    wait_until("all of it is given back", || held() == 0.0);
}

#[test]
fn whoever_leaves_while_it_holds_memory_or_waits_for_some_keeps_nobody_waiting() {
    let setup = observed(Setup::new()).key("limits.max_buffer_bytes", "\"1 MiB\"");
    let daemon = setup.start();
    let frame = Framing::Length4.frame(large().as_bytes());
    let [mut holder, mut waiting, mut last] = [(); 3].map(|()| daemon.connect());
    holder.send_bytes(&frame[..frame.len() / 2]);
    wait_until("memory is taken", || value(&daemon, "stated_buffer_bytes") > 0.0);
    waiting.send_bytes(&frame);
    wait_until("one waits", || memory_pauses(&daemon) == 1.0);
    last.send_bytes(&frame);
    wait_until("two wait", || memory_pauses(&daemon) == 2.0);
    drop(waiting);
    drop(holder);
    assert_eq!(last.reply().len(), large().len());
}

#[test]
fn two_that_wait_for_more_memory_than_they_have_do_not_wait_for_each_other() {
    let setup = observed(Setup::new()).key("limits.max_buffer_bytes", "\"1 MiB\"");
    let daemon = setup.start();
    let held = || value(&daemon, "stated_buffer_bytes");
    let users: Vec<_> = (0..1_300).map(|number| format!("u{number:04}")).collect();
    let users: Vec<_> = users.iter().map(|user| (user.as_str(), "00:10:00")).collect();
    let small = Framing::Length4.frame(listing(&users).as_bytes());
    let larger = Framing::Length4.frame(large().as_bytes());
    let mut both = [(); 2].map(|()| daemon.connect());
    for (peer, earlier) in both.iter_mut().zip([0.0, 1.0]) {
        let of_one = held();
        peer.send_bytes(&small[..small.len() / 2]);
        wait_until("memory is taken", || held() > earlier * of_one);
    }
    assert!(held() > f64::from(3 << 18), "there is not enough left for a larger one: {}", held());
    // Behind its frame each has the beginning of one that needs more than what it has.
    let rest = [&small[small.len() / 2..], &larger[..1_000]].concat();
    for (peer, pauses) in both.iter_mut().zip([1.0, 2.0]) {
        peer.send_bytes(&rest);
        wait_until("it waits", || memory_pauses(&daemon) == pauses);
    }
    both.iter_mut().for_each(|peer| peer.send_bytes(&larger[1_000..]));
    for peer in &mut both {
        assert_eq!(peer.reply().len(), listing(&users).len());
        assert_eq!(peer.reply().len(), large().len());
    }
    wait_until("all of it is given back", || held() == 0.0);
}

#[test]
fn while_too_much_work_hangs_whose_time_is_over_further_requests_are_refused_at_once() {
    let server = wait_for(RedisServer::start());
    let setup = observed(Setup::new().keeps(&Place::at(server.url().expose())))
        .key("store.redis.command_timeout", "\"1h\"")
        .key("limits.request_timeout", "\"300ms\"");
    let daemon = setup.key("limits.max_late_requests", "3").start();
    let mut peer = daemon.connect();
    wait_until("Redis answers", || !peer.ask(enter("u0")).contains("error"));
    server.pause();
    for number in 1..=3 {
        let error = peer.refused(leave(&format!("u{number}"), "00:10:00"), "CHAT-031");
        assert!(error["detail"].as_str().unwrap().contains("may still take effect"), "{error}");
    }
    for _ in 0..20 {
        let error = peer.refused(enter("u4"), "CHAT-031");
        assert!(error["detail"].as_str().unwrap().contains("too many requests"), "{error}");
    }
    assert_eq!(value(&daemon, "stated_requests_late"), 3.0);
    server.resume();
    wait_until("what hung is through", || value(&daemon, "stated_requests_late") == 0.0);
    wait_until("it is served again", || !peer.ask(enter("u4")).contains("error"));
    for number in 1..=3 {
        let user = format!("u{number}");
        assert_eq!(peer.ask(enter(&user)), study_time(&user, Some("00:10:00")), "it was done");
    }
}
