//! Several daemons on one Redis, and daemons whose Redis comes and goes.

use std::collections::BTreeMap;

use crate::fleet::{Fleet, times_in};
use crate::harness::{Setup, moment, rest, wait_until};
use crate::place::{Place, wait_for};
use crate::played::Act;
use crate::requests::{
    alert, enter, heartbeat, kick_out, last, leave, listing, study_time, subscribe, unsubscribe,
};
use crate::servers::redis::RedisServer;
use crate::wire::error_of;

fn at(server: &RedisServer, setup: Setup) -> Setup {
    setup.keeps(&Place::at(server.url().expose()))
}

#[test]
fn what_one_daemon_was_told_the_other_knows() {
    let place = Place::redis();
    let setup = Setup::new().keeps(&place);
    let (one, other) = (setup.start(), setup.start());
    let (mut peer, mut there) = (one.connect(), other.connect());
    peer.served(subscribe("u1", i64::MAX, "s1"));
    peer.served(listing(&[("u1", "old")]));
    assert_eq!(there.ask(enter("u1")), study_time("u1", Some("old")));
    there.served(leave("u1", "new"));
    peer.served(last(&[]));
    assert_eq!(there.ask(enter("u1")), study_time("u1", Some("new")));
    let record =
        format!(r#"{{"userId":"u1","roomId":{},"sessionId":"s1","studyTime":"new"}}"#, i64::MAX);
    assert_eq!(there.ask(unsubscribe("s1")), record);
    peer.refused(unsubscribe("s1"), "CHAT-001");
    drop((peer, there));
    one.stop_in_debt();
    other.stop_in_debt();
}

#[test]
fn two_daemons_deliver_every_time_once_and_one_goes_on_when_the_other_dies() {
    let place = Place::redis();
    let fleet = Fleet::new();
    let setup = Setup::with(&fleet).keeps(&place).key("rollover.batch_users", "5");
    let (one, other) = (setup.start(), setup.start());
    let mut peer = one.connect();
    for number in 0..500 {
        peer.send(leave(&format!("u{number}"), &number.to_string()));
    }
    (0..500).for_each(|_| drop(peer.reply()));
    peer.served(last(&[]));
    fleet.auth.wait_told(100);
    moment();
    let times = |frames: &[String]| -> Vec<_> {
        let mut times: Vec<_> = frames.iter().flat_map(|frame| times_in(frame)).collect();
        times.sort();
        times
    };
    let told = times(&fleet.auth.told());
    assert_eq!(told.len(), 500, "some were told twice");

    fleet.auth.behave(Act::Wait);
    for number in 0..100 {
        peer.served(leave(&format!("v{number}"), "1"));
    }
    peer.served(last(&[]));
    fleet.auth.wait_told(101);
    one.kill();
    fleet.auth.behave(Act::Echo);
    fleet.auth.wait_told_that("the rest", |told| {
        let users = told.iter().flat_map(|told| times_in(told)).map(|(user, _)| user);
        users.filter(|user| user.starts_with('v')).collect::<std::collections::BTreeSet<_>>().len()
            == 100
    });
    other.stop();
}

#[test]
fn without_redis_it_starts_says_so_and_serves_when_redis_comes() {
    let mut server = wait_for(RedisServer::start());
    server.stop();
    let fleet = Fleet::new();
    let daemon = at(&server, Setup::with(&fleet)).start();
    let mut peer = daemon.connect();
    for request in [enter("u1"), leave("u1", "1"), subscribe("u1", 1, "s1"), last(&[])] {
        let error = peer.refused(request, "CHAT-031");
        assert!(error["detail"].is_string());
    }
    peer.served(heartbeat());
    assert_eq!(peer.ask(kick_out("u1", 1)), "", "signaling needs no store");
    wait_for(server.start_again());
    wait_until("the store is found", || !peer.ask(leave("u1", "2")).contains("error"));
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("2")));
    assert_eq!(fleet.auth.told().len(), 0);
}

#[test]
fn a_redis_that_hangs_is_answered_for_in_time_and_never_with_a_null() {
    let server = wait_for(RedisServer::start());
    let daemon = at(&server, Setup::new())
        .key("store.redis.command_timeout", "\"500ms\"")
        .key("limits.request_timeout", "\"2s\"")
        .start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "1"));
    server.pause();
    for _ in 0..20 {
        peer.send(enter("u1"));
        peer.send(alert("u1", 1, 1));
    }
    for _ in 0..20 {
        error_of(&peer.reply(), "CHAT-031");
        error_of(&peer.reply(), "CHAT-021");
    }
    server.resume();
    wait_until("the store is found", || peer.ask(enter("u1")) == study_time("u1", Some("1")));
}

#[test]
fn what_was_acknowledged_survives_a_redis_that_is_killed_under_load() {
    let mut server = wait_for(RedisServer::start());
    let daemon = at(&server, Setup::new()).start();
    let mut known: BTreeMap<String, u64> = BTreeMap::new();
    let mut peer = daemon.connect();
    let mut value = 0;
    for round in 0..6 {
        let address = daemon.addresses[0];
        known = std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut peer = crate::wire::Client::connect(address, crate::wire::Framing::Length4);
                for step in 0..400_u64 {
                    value += 1;
                    let user = format!("u{}", step % 20);
                    let reply = peer.ask(leave(&user, &value.to_string()));
                    // Refused, it may be done or not: then nothing is known of the user.
                    if reply.contains("\"error\"") {
                        error_of(&reply, "CHAT-031");
                        known.remove(&user);
                    } else {
                        known.insert(user, value);
                    }
                }
                known
            });
            rest(std::time::Duration::from_millis(20 + 13 * round));
            server.stop();
            wait_for(server.start_again());
            writing.join().unwrap()
        });
        value += 400;
        wait_until("the store is found", || !peer.ask(enter("u0")).contains("error"));
        for (user, value) in &known {
            assert_eq!(peer.ask(enter(user)), study_time(user, Some(&value.to_string())));
        }
    }
}

#[test]
fn no_password_is_in_the_log_or_in_a_reply() {
    let mut server = wait_for(RedisServer::start());
    server.stop();
    let url = server.url().expose().replace("redis://", "redis://ann:Tr0ub4dor@");
    let daemon = Setup::new().keeps(&Place::at(&url)).start();
    let mut peer = daemon.connect();
    let reply = peer.ask(enter("u1"));
    error_of(&reply, "CHAT-031");
    wait_for(server.start_again());
    moment();
    let again = peer.ask(enter("u1"));
    error_of(&again, "CHAT-031");
    drop(peer);
    daemon.signal("-TERM");
    let (_, log) = daemon.ended();
    for text in [reply, again, log.lines().join("\n")] {
        assert!(!text.contains("Tr0ub4dor"), "{text}");
    }
}
