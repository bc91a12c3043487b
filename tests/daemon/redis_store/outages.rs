//! The whole daemon on a Redis that goes, hangs, forgets or holds what can't be read: what peers are
//! answered meanwhile, and what is there afterwards.

use super::data;
use super::load::Load;
use crate::fleet::{Fleet, times_in};
use crate::harness::{Daemon, Setup, wait_until};
use crate::http::{observed, request};
use crate::place::{Place, wait_for};
use crate::requests::{
    enter, heartbeat, kick_out, last, leave, listing, study_time, subscribe, unsubscribe,
};
use crate::servers::redis::RedisServer;

fn on(server: &RedisServer, fleet: &Fleet) -> Daemon {
    observed(Setup::with(fleet).keeps(&Place::at(server.url().expose()))).start()
}

fn started() -> (RedisServer, Fleet, Daemon) {
    let (server, fleet) = (wait_for(RedisServer::start()), Fleet::new());
    let daemon = on(&server, &fleet);
    (server, fleet, daemon)
}

#[test]
fn under_load_a_redis_that_is_killed_and_comes_back_has_what_was_acknowledged() {
    let (mut server, _fleet, daemon) = started();
    let load = Load::begin(&daemon, &["a", "b"]);
    for _ in 0..3 {
        server.stop();
        load.is_refused();
        wait_for(server.start_again());
        load.goes_on();
    }
    load.end(&daemon);
}

#[test]
fn under_load_a_redis_that_hangs_has_every_request_refused_and_goes_on_where_it_was() {
    let (server, _fleet, daemon) = started();
    let load = Load::begin(&daemon, &["a", "b"]);
    for _ in 0..2 {
        server.pause();
        load.is_refused();
        wait_until("it is given up", || request("GET", "/readyz").ask(&daemon).status == 503);
        load.is_refused();
        server.resume();
        load.goes_on();
    }
    load.end(&daemon);
}

#[test]
fn under_load_a_redis_that_forgets_its_scripts_goes_unnoticed() {
    let (server, _fleet, daemon) = started();
    let load = Load::begin(&daemon, &["a", "b"]);
    for _ in 0..20 {
        wait_for(server.ask::<()>(&["SCRIPT", "FLUSH"]));
        load.goes_on();
    }
    assert_eq!(load.refused(|_| true), 0);
    load.end(&daemon);
}

#[test]
fn while_redis_is_stopped_the_state_is_refused_everything_else_served_and_then_all_is_again() {
    let (mut server, fleet, daemon) = started();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "1"));
    let record = peer.served(subscribe("u1", 7, "s1"));
    server.stop();
    let about_state = [
        enter("u1"),
        leave("u1", "2"),
        subscribe("u1", 8, "s2"),
        unsubscribe("s1"),
        listing(&[("u1", "3")]),
        last(&[]),
    ];
    for message in about_state {
        let error = peer.refused(message, "CHAT-031");
        assert!(error["detail"].as_str().unwrap().starts_with("the store"), "{error}");
        assert_eq!(peer.ask(heartbeat()), "");
        assert_eq!(peer.ask(kick_out("u1", 7)), "", "signaling needs no store");
    }
    wait_until("it says so", || request("GET", "/readyz").ask(&daemon).status == 503);
    wait_for(server.start_again());
    assert_eq!(peer.served(enter("u1")), study_time("u1", Some("1")));
    assert_eq!(peer.served(unsubscribe("s1")), record);
    wait_until("it says so", || request("GET", "/readyz").ask(&daemon).status == 200);
    assert_eq!(fleet.auth.told().len(), 0);
}

#[test]
fn of_a_redis_that_started_empty_nobody_is_known_and_the_day_goes_on() {
    let (mut server, fleet) = (wait_for(RedisServer::start_forgetful()), Fleet::new());
    let daemon = on(&server, &fleet);
    let mut peer = daemon.connect();
    peer.served(leave("u1", "1"));
    peer.served(subscribe("u1", 7, "s1"));
    server.stop();
    wait_for(server.start_again());
    wait_until("the loss is found", || daemon.log.has("redis has lost what it knew"));
    assert_eq!(peer.served(enter("u1")), study_time("u1", None));
    peer.refused(unsubscribe("s1"), "CHAT-001");
    peer.served(leave("u1", "2"));
    peer.served(subscribe("u1", 8, "s1"));
    peer.served(last(&[]));
    let told = fleet.auth.wait_told(1);
    assert_eq!(times_in(&told[0]), [("u1".to_owned(), Some("2".to_owned()))]);
    peer.served(unsubscribe("s1"));
}

#[test]
fn a_record_that_became_unreadable_fails_its_user_alone_and_the_night_closes_without_it() {
    let (server, fleet, daemon) = started();
    let mut peer = daemon.connect();
    for user in ["u1", "u2"] {
        peer.served(leave(user, "1"));
        peer.served(subscribe(user, 7, &format!("s-{user}")));
    }
    let nonsense = r#"{"userId":"u1","roomId":"#;
    wait_for(server.ask::<i64>(&["HSET", "realTimeData:u1", "data", nonsense]));
    for message in [enter("u1"), leave("u1", "2"), subscribe("u1", 8, "s-new"), unsubscribe("s-u1")]
    {
        let error = peer.refused(message, "CHAT-031");
        assert!(error["detail"].as_str().unwrap().contains("can't be read"), "{error}");
    }
    peer.refused(listing(&[("u1", "3"), ("u2", "2")]), "CHAT-031");
    peer.served(last(&[]));
    let told = fleet.auth.wait_told(1);
    assert_eq!(times_in(&told[0]), [("u2".to_owned(), Some("2".to_owned()))]);
    peer.served(unsubscribe("s-u2"));
    assert_eq!(wait_for(data(&server, "u1")).as_deref(), Some(nonsense));
}
