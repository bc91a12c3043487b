//! The whole daemon on a Redis that refuses, lies, forgets or was used by somebody else: what peers
//! are answered meanwhile, and that the first request afterwards is served.

use serde_json::json;

use crate::harness::{Daemon, Setup, wait_until};
use crate::http::{get, observed, request};
use crate::place::{Place, wait_for};
use crate::requests::{enter, last, leave, listing, study_time, subscribe, unsubscribe};
use crate::servers::redis::RedisServer;
use crate::wire::{Client, error_of};

fn at(url: &str) -> Setup {
    observed(Setup::new().keeps(&Place::at(url)))
}

fn started() -> (RedisServer, Daemon, Client) {
    let server = wait_for(RedisServer::start());
    let daemon = at(server.url().expose()).start();
    let peer = daemon.connect();
    (server, daemon, peer)
}

fn tell(server: &RedisServer, command: &[&str]) {
    wait_for(server.ask::<redis::Value>(command));
}

/// What a request that Redis stands in the way of is answered.
fn detail(peer: &mut Client, message: String) -> String {
    peer.refused(message, "CHAT-031")["detail"].as_str().unwrap().to_owned()
}

fn readiness(daemon: &Daemon) -> u16 {
    request("GET", "/readyz").ask(daemon).status
}

/// Every request about a user's state.
fn requests() -> [String; 6] {
    [
        enter("u1"),
        leave("u1", "9"),
        subscribe("u1", 7, "s1"),
        unsubscribe("s1"),
        listing(&[("u1", "9")]),
        last(&[]),
    ]
}

#[test]
fn a_redis_whose_memory_is_full_is_read_from_and_closes_no_session_by_halves() {
    let (server, _daemon, mut peer) = started();
    peer.served(leave("u1", "1"));
    let record = peer.served(subscribe("u1", 7, "s1"));
    tell(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("1")));
    for message in [leave("u1", "2"), subscribe("u1", 8, "s2"), unsubscribe("s1"), last(&[])] {
        let detail = detail(&mut peer, message);
        assert!(detail.contains("OOM"), "{detail}");
    }
    assert_eq!(wait_for(server.ask::<String>(&["GET", "sessionIdIndex:s1"])), "u1");
    tell(&server, &["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(peer.ask(unsubscribe("s1")), record, "the session was open all the time");
    peer.refused(unsubscribe("s1"), "CHAT-001");
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("1")));
}

#[test]
fn a_redis_that_may_throw_records_away_is_warned_of_at_every_connect() {
    let server = wait_for(RedisServer::start());
    let warning = "maxmemory-policy is allkeys-lru";
    tell(&server, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let daemon = at(server.url().expose()).start();
    wait_until("it warns", || daemon.log.count(warning) == 1);
    tell(&server, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    wait_until("it warns again", || daemon.log.count(warning) == 2);
    tell(&server, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    let connected = daemon.log.count("connected to redis");
    tell(&server, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    wait_until("it is back", || daemon.log.count("connected to redis") > connected);
    daemon.connect().served(leave("u1", "1"));
    assert_eq!(daemon.log.count("maxmemory-policy is"), 2);
}

#[test]
fn a_password_that_is_wrong_at_first_or_from_some_time_on_is_told_and_needs_no_restart() {
    let server = wait_for(RedisServer::start());
    let password = |text: &str| {
        let password = format!(">{text}");
        tell(&server, &["ACL", "SETUSER", "guest", "on", "resetpass", &password, "~*", "+@all"]);
    };
    password("another");
    let url = server.url().expose().replace("redis://", "redis://guest:expected@");
    let daemon = at(&url).start();
    let mut peer = daemon.connect();
    for message in requests() {
        let detail = detail(&mut peer, message);
        assert!(detail.contains("WRONGPASS") || detail.contains("uthentication"), "{detail}");
    }
    password("expected");
    wait_until("it logs in", || !peer.ask(leave("u1", "1")).contains("error"));
    // Changed under a connection: that one lives on, the next one is not let in.
    password("another");
    peer.served(leave("u1", "2"));
    tell(&server, &["CLIENT", "KILL", "USER", "guest"]);
    wait_until("it is locked out", || peer.ask(enter("u1")).contains("CHAT-031"));
    wait_until("it says so", || readiness(&daemon) == 503);
    password("expected");
    wait_until("it logs in", || !peer.ask(enter("u1")).contains("error"));
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("2")));
    assert!(!daemon.log.has("expected"), "the password is in the log");
}

#[test]
fn a_password_that_is_demanded_from_some_time_on_locks_the_daemon_out_until_it_goes() {
    let (server, daemon, mut peer) = started();
    peer.served(leave("u1", "1"));
    let server_url = server.url().expose().replace("redis://", "redis://:late@");
    tell(&server, &["CONFIG", "SET", "requirepass", "late"]);
    // Whoever is in stays in.
    peer.served(leave("u1", "2"));
    let operator = redis::Client::open(server_url).unwrap();
    let mut operator = operator.get_connection().unwrap();
    let mut told = |command: &[&str]| {
        redis::cmd(command[0]).arg(&command[1..]).query::<redis::Value>(&mut operator).unwrap();
    };
    told(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    wait_until("it is told why", || peer.ask(enter("u1")).contains("NOAUTH"));
    for message in requests() {
        let detail = detail(&mut peer, message);
        assert!(detail.contains("NOAUTH"), "{detail}");
    }
    wait_until("it says so", || readiness(&daemon) == 503);
    told(&["CONFIG", "SET", "requirepass", ""]);
    wait_until("it is let in", || !peer.ask(enter("u1")).contains("error"));
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("2")));
}

#[test]
fn a_command_that_is_forbidden_fails_who_needs_it_and_nobody_is_told_to_be_unknown() {
    let server = wait_for(RedisServer::start());
    tell(&server, &["ACL", "SETUSER", "guest", "on", ">secret", "~*", "+@all"]);
    let url = server.url().expose().replace("redis://", "redis://guest:secret@");
    let daemon = at(&url).start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "1"));
    let record = peer.served(subscribe("u1", 7, "s1"));
    tell(&server, &["ACL", "SETUSER", "guest", "-hset", "-info", "-role", "-script"]);
    for message in [leave("u1", "2"), subscribe("u1", 8, "s2"), unsubscribe("s1")] {
        detail(&mut peer, message);
    }
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("1")));
    // Nor does it need them to connect.
    tell(&server, &["CLIENT", "KILL", "USER", "guest"]);
    wait_until("it is back", || !peer.ask(enter("u1")).contains("error"));
    tell(&server, &["ACL", "SETUSER", "guest", "+hset"]);
    assert_eq!(peer.ask(unsubscribe("s1")), record);
}

#[test]
fn a_key_of_the_wrong_type_fails_whom_it_is_about_and_nobody_else() {
    let (server, _daemon, mut peer) = started();
    peer.served(subscribe("u2", 7, "s2"));
    tell(&server, &["SET", "realTimeData:u1", "a text"]);
    tell(&server, &["HSET", "sessionIdIndex:s3", "a", "hash"]);
    for message in [enter("u1"), leave("u1", "1"), subscribe("u1", 7, "s1"), unsubscribe("s3")] {
        let detail = detail(&mut peer, message);
        assert!(detail.contains("another type"), "{detail}");
    }
    // Everybody else in the same frame is listed, and the day is closed.
    let detail = detail(&mut peer, last(&[("u1", "1"), ("u2", "2")]));
    assert!(detail.contains("u1"), "{detail}");
    assert_eq!(peer.ask(enter("u2")), study_time("u2", None));
    peer.served(unsubscribe("s2"));
    assert_eq!(wait_for(server.ask::<String>(&["GET", "realTimeData:u1"])), "a text");
}

#[test]
fn a_night_that_is_another_programs_stops_everything_by_name_until_it_is_gone() {
    let (server, daemon, mut peer) = started();
    peer.served(leave("u1", "1"));
    let served = peer.served(subscribe("u1", 7, "s1"));
    // At once: the daemon would make it anew between the two.
    let replace = "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'a list')";
    tell(&server, &["EVAL", replace, "1", "stated:night"]);
    wait_until("it is noticed", || peer.ask(enter("u1")).contains("CHAT-031"));
    for message in requests() {
        let detail = detail(&mut peer, message);
        assert!(detail.contains("`stated:night` is another program's"), "{detail}");
    }
    wait_until("it says so", || readiness(&daemon) == 503);
    tell(&server, &["DEL", "stated:night"]);
    wait_until("it goes on", || !peer.ask(enter("u1")).contains("error"));
    assert_eq!(peer.ask(unsubscribe("s1")), served);
}

#[test]
fn a_redis_that_became_a_replica_is_not_read_from_until_it_is_a_master_again() {
    let (server, daemon, mut peer) = started();
    peer.served(leave("u1", "1"));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port().to_string();
    tell(&server, &["REPLICAOF", "127.0.0.1", &port]);
    wait_until("it is noticed", || peer.ask(leave("u1", "2")).contains("replica"));
    for message in [leave("u1", "2"), enter("u1"), subscribe("u1", 7, "s1"), unsubscribe("s1")] {
        let detail = detail(&mut peer, message);
        assert!(detail.contains("replica"), "{detail}");
    }
    wait_until("it says so", || readiness(&daemon) == 503);
    tell(&server, &["REPLICAOF", "NO", "ONE"]);
    wait_until("it is a master", || !peer.ask(enter("u1")).contains("error"));
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("1")));
}

#[test]
fn a_script_that_never_ends_holds_up_requests_no_longer_than_they_may_take() {
    let (server, daemon, mut peer) = started();
    peer.served(leave("u1", "1"));
    tell(&server, &["CONFIG", "SET", "busy-reply-threshold", "10"]);
    let url = server.url().expose().to_owned();
    let endless = std::thread::spawn(move || {
        let mut stranger = redis::Client::open(url).unwrap().get_connection().unwrap();
        redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut stranger).unwrap_err()
    });
    wait_until("it is busy", || peer.ask(enter("u1")).contains("CHAT-031"));
    for message in requests() {
        detail(&mut peer, message);
    }
    wait_until("it says so", || readiness(&daemon) == 503);
    tell(&server, &["SCRIPT", "KILL"]);
    endless.join().unwrap();
    wait_until("it goes on", || !peer.ask(enter("u1")).contains("error"));
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("1")));
}

#[test]
fn while_redis_hangs_nobody_waits_for_as_long_as_a_command_may_take() {
    let server = wait_for(RedisServer::start());
    let daemon = at(server.url().expose())
        .key("store.redis.command_timeout", "\"50s\"")
        .key("limits.request_timeout", "\"55s\"")
        .start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "1"));
    server.pause();
    wait_until("it is noticed", || readiness(&daemon) == 503);
    // One after the other, for they are about one user.
    (0..6).for_each(|_| peer.send(leave("u1", "2")));
    for _ in 0..6 {
        let error = error_of(&peer.reply(), "CHAT-031");
        assert!(!error["detail"].as_str().unwrap().contains("within 50s"), "{error}");
    }
    server.resume();
    wait_until("it goes on", || !peer.ask(enter("u1")).contains("error"));
}

#[test]
fn a_redis_that_loads_its_data_is_waited_for_and_not_taken_for_an_empty_one() {
    let (mut server, _daemon, mut peer) = started();
    peer.served(leave("u1", "1"));
    peer.served(subscribe("u1", 7, "s1"));
    wait_for(server.fill(20_000));
    server.stop();
    detail(&mut peer, enter("u1"));
    server.begin_again_slowly();
    let (mut was_loading, mut reply) = (false, peer.ask(enter("u1")));
    while reply.contains("error") {
        assert!(reply.contains("CHAT-031"), "{reply}");
        was_loading |= reply.contains("BusyLoading");
        reply = peer.ask(enter("u1"));
    }
    assert!(was_loading, "it was too fast");
    assert_eq!(reply, study_time("u1", Some("1")));
    peer.served(unsubscribe("s1"));
}

#[test]
fn a_night_that_was_lost_takes_no_time_from_a_record_without_a_day() {
    let server = wait_for(RedisServer::start());
    tell(&server, &["HSET", "stated:night", "day", "3", "swept", "3"]);
    let daemon = at(server.url().expose()).start();
    let mut peer = daemon.connect();
    let text = r#"{"userId":"u1","roomId":7,"sessionId":null,"studyTime":"01:00"}"#;
    tell(&server, &["HSET", "realTimeData:u1", "data", text]);
    let told = study_time("u1", Some("01:00"));
    assert_eq!(peer.ask(enter("u1")), told);
    tell(&server, &["DEL", "stated:night"]);
    wait_until("the loss is found", || {
        assert_eq!(peer.ask(enter("u1")), told);
        daemon.log.count("redis has lost what it knew") == 1
    });
    // Until the night has been read again.
    for _ in 0..500 {
        assert_eq!(peer.ask(enter("u1")), told);
    }
}

#[test]
fn a_day_in_which_redis_started_empty_is_not_told_to_have_gone_well() {
    let mut server = wait_for(RedisServer::start_forgetful());
    let daemon = at(server.url().expose()).start();
    let mut peer = daemon.connect();
    let history = |daemon: &Daemon| get(daemon, "/api/v1/night/history")["nights"].clone();
    // Also on the very first day, of which nothing but the format's mark is stored.
    for day in 1..=2 {
        peer.served(leave("u1", "1"));
        server.stop();
        wait_for(server.start_again());
        wait_until("the loss is found", || daemon.log.count("redis has lost what it knew") == day);
        peer.served(last(&[]));
        let night = history(&daemon)[0].clone();
        assert_eq!((&night["day"], &night["set_back"]), (&json!(day), &json!(true)));
    }
    peer.served(leave("u1", "1"));
    peer.served(last(&[]));
    assert_eq!(history(&daemon)[0]["set_back"], json!(false));
    assert_eq!(daemon.log.count("redis has lost what it knew"), 2);
}
