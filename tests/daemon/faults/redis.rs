//! Redis behind a network that fails: what is answered meanwhile, and what is stored afterwards.

use std::net::SocketAddr;
use std::time::Duration;

use crate::faults::proxy::{Break, Flow, Proxy, Way};
use crate::harness::{Daemon, Setup, moment, wait_until};
use crate::place::{Place, wait_for};
use crate::requests::{enter, leave, study_time};
use crate::servers::redis::RedisServer;
use crate::wire::{Client, error_of};

/// A real Redis, and a daemon whose way to it fails.
struct Scene {
    _server: RedisServer,
    proxy: Proxy,
    daemon: Daemon,
}

impl Scene {
    fn with(command_timeout: &str) -> Self {
        let server = wait_for(RedisServer::start());
        let proxy = Proxy::before(SocketAddr::from(([127, 0, 0, 1], server.port)));
        let place = Place::at(&format!("redis://{}/", proxy.address));
        let daemon =
            Setup::new().keeps(&place).key("store.redis.command_timeout", command_timeout).start();
        let scene = Self { _server: server, proxy, daemon };
        let mut peer = scene.daemon.connect();
        wait_until("redis is found", || !is_refused(&peer.ask(leave("first", "1"))));
        scene
    }
}

/// Whether the store could not do it: then it was done or not. There is no other error here.
fn is_refused(reply: &str) -> bool {
    let refused = reply.starts_with("{\"error\"");
    if refused {
        error_of(reply, "CHAT-031");
    }
    refused
}

/// The user's study time, as soon as it can be told.
fn time_of(peer: &mut Client, user: &str) -> String {
    let mut reply = String::new();
    wait_until("redis is found", || {
        reply = peer.ask(enter(user));
        !is_refused(&reply)
    });
    reply
}

/// What is known of a user's time: the value acknowledged last, and those since then of which
/// nothing is known.
struct Known {
    user: &'static str,
    possible: Vec<String>,
}

impl Known {
    fn of(user: &'static str) -> Self {
        Self { user, possible: vec![study_time(user, None)] }
    }

    /// Writes a value; whether that was acknowledged.
    fn write(&mut self, peer: &mut Client, value: usize) -> bool {
        let value = value.to_string();
        let (reply, written) =
            (peer.ask(leave(self.user, &value)), study_time(self.user, Some(&value)));
        let acknowledged = !is_refused(&reply);
        if acknowledged {
            assert_eq!(reply, written);
            self.possible.clear();
        }
        self.possible.push(written);
        acknowledged
    }

    /// Reads the value: from then on it is the one.
    fn check(&mut self, peer: &mut Client, when: &str) {
        let reply = time_of(peer, self.user);
        assert!(self.possible.contains(&reply), "{when}: {reply}, not of {:?}", self.possible);
        self.possible = vec![reply];
    }
}

#[test]
fn cut_off_at_any_byte_redis_keeps_what_is_acknowledged_and_callers_hardly_notice() {
    let scene = Scene::with("\"10s\"");
    let (proxy, mut peer) = (&scene.proxy, scene.daemon.connect());
    let mut known = Known::of("u1");
    let (mut asked, mut refused) = (0, 0);
    // As long as a write's call and its reply are, and longer.
    for (way, bytes_max) in [(Way::ToServer, 260), (Way::ToClient, 120)] {
        for bytes in 0..bytes_max {
            let how = if bytes % 2 == 0 { Break::Close } else { Break::Reset };
            let cuts = proxy.cuts();
            proxy.flow(way, Flow::Cut(bytes, how));
            while proxy.cuts() == cuts {
                asked += 1;
                refused += usize::from(!known.write(&mut peer, asked));
            }
            known.check(&mut peer, &format!("{way:?} after {bytes} bytes, {how:?}"));
        }
    }
    assert!(refused * 4 < asked, "{refused} of {asked} were refused: nothing is sent again");
}

#[test]
fn a_slow_way_to_redis_is_no_failure() {
    let scene = Scene::with("\"30s\"");
    let mut peer = scene.daemon.connect();
    let delayed = Flow::Delayed(Duration::from_millis(20));
    for (number, flow) in [delayed, Flow::Trickles].into_iter().enumerate() {
        for way in [Way::ToServer, Way::ToClient] {
            scene.proxy.flow(way, flow);
        }
        let mut known = Known::of("u1");
        wait_until("redis is served", || known.write(&mut peer, number));
        known.check(&mut peer, &format!("{flow:?}"));
        scene.proxy.heal();
    }
}

#[test]
fn a_way_to_redis_that_stalls_or_loses_is_answered_for_in_time_and_never_with_null() {
    let scene = Scene::with("\"500ms\"");
    let (proxy, mut peer) = (&scene.proxy, scene.daemon.connect());
    let mut known = Known::of("u1");
    wait_until("it is written", || known.write(&mut peer, 0));
    let stalls = [
        (Some(Way::ToServer), Flow::Held),
        (Some(Way::ToClient), Flow::Held),
        (Some(Way::ToServer), Flow::Lost),
        (Some(Way::ToClient), Flow::Lost),
        // Half-open: nothing goes, nothing comes, and nobody says so.
        (None, Flow::Free),
    ];
    for (number, (way, flow)) in stalls.into_iter().enumerate() {
        match way {
            Some(way) => proxy.flow(way, flow),
            None => proxy.break_all(Break::Silence),
        }
        let reply = peer.ask(enter("u1"));
        // A connection that is dead may have been replaced by then, if only this one is.
        assert!(is_refused(&reply) || way.is_none(), "{way:?} {flow:?}: {reply}");
        let acknowledged = known.write(&mut peer, number + 1);
        assert!(!acknowledged || way.is_none(), "{way:?} {flow:?}");
        proxy.heal();
        known.check(&mut peer, &format!("{way:?} {flow:?}"));
    }
}

#[test]
fn a_reply_that_comes_after_its_time_is_nobody_elses() {
    let scene = Scene::with("\"300ms\"");
    let (proxy, mut peer) = (&scene.proxy, scene.daemon.connect());
    let users: Vec<String> = (0..40).map(|number| format!("u{number}")).collect();
    for user in &users {
        wait_until("it is written", || !is_refused(&peer.ask(leave(user, &format!("of {user}")))));
    }
    for _ in 0..5 {
        // Long enough for requests to be given up, too short for the connection to be.
        let seen = proxy.seen(Way::ToClient);
        proxy.flow(Way::ToClient, Flow::Held);
        users.iter().take(20).for_each(|user| peer.send(enter(user)));
        proxy.wait_seen(Way::ToClient, seen + 1);
        let first = peer.reply();
        proxy.flow(Way::ToClient, Flow::Free);
        users.iter().skip(20).for_each(|user| peer.send(enter(user)));
        let replies = std::iter::once(first).chain((1..40).map(|_| peer.reply()));
        let replies: Vec<String> = replies.collect();
        for (user, reply) in users.iter().zip(replies) {
            let own = study_time(user, Some(&format!("of {user}")));
            assert!(is_refused(&reply) || reply == own, "{user}: {reply}");
        }
    }
}

#[test]
fn a_write_that_was_given_up_does_not_arrive_later_and_undo_a_newer_one() {
    let scene = Scene::with("\"500ms\"");
    let (proxy, mut peer) = (&scene.proxy, scene.daemon.connect());
    for round in 0..3 {
        let seen = proxy.seen(Way::ToServer);
        let frozen = proxy.freeze();
        assert!(is_refused(&peer.ask(leave("u1", "given up"))));
        proxy.wait_seen(Way::ToServer, seen + 1);
        let newer = format!("newer {round}");
        // On another connection, once the daemon has given that one up.
        wait_until("redis is found", || !is_refused(&peer.ask(leave("u1", &newer))));
        proxy.thaw_to_the_end(&frozen);
        moment();
        assert_eq!(time_of(&mut peer, "u1"), study_time("u1", Some(&newer)));
    }
}
