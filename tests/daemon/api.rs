//! The admin API of a real daemon, asked over real HTTP, held against its document.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::harness::{Daemon, Setup, wait_until};
use crate::http::{Answer, Request, get, observed, request};
use crate::openapi::Document;
use crate::place::{Place, wait_for};
use crate::played::Act;
use crate::requests::{enter, heartbeat, kick_out, leave, subscribe, unsubscribe};
use crate::servers::redis::RedisServer;
use crate::wire::{Client, Framing};

const TOKEN: &str = "a-token-of-a-test";

/// The latest connection that ended.
fn latest_end(daemon: &Daemon) -> Option<Value> {
    get(daemon, "/api/v1/connections/closed?limit=1")["connections"].get(0).cloned()
}

fn wait_for_end(daemon: &Daemon, id: &Value) -> Value {
    let mut end = Value::Null;
    wait_until("the connection has ended", || {
        end = latest_end(daemon).unwrap_or_default();
        end["id"] == *id
    });
    end
}

fn ids(page: &Value) -> Vec<u64> {
    let connections = page["connections"].as_array().unwrap();
    connections.iter().map(|one| one["id"].as_u64().unwrap()).collect()
}

/// All pages of a list of connections.
fn ids_in_pages(daemon: &Daemon, path: &str, limit: usize) -> Vec<u64> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(daemon, &format!("{path}?limit={limit}{cursor}"));
        assert!(ids(&page).len() <= limit);
        all.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// The peer's connection, as the API tells it, once it is let in.
fn listed(daemon: &Daemon, peer: &Client) -> Value {
    let address = peer.stream().local_addr().unwrap().to_string();
    let mut found = None;
    wait_until(&format!("{address} is listed"), || {
        let page = get(daemon, "/api/v1/connections");
        let all = page["connections"].as_array().unwrap();
        found = all.iter().find(|one| one["peer"] == address).cloned();
        found.is_some()
    });
    found.unwrap()
}

fn close(daemon: &Daemon, connection: &Value) -> Answer {
    let path = format!("/api/v1/connections/{}", connection["id"]);
    request("DELETE", &path).ask(daemon)
}

/// A daemon that everything has happened to that the document describes.
fn busy(fleet: &Fleet) -> (Daemon, Client) {
    let daemon = observed(Setup::with(fleet)).start();
    let mut peer = daemon.connect();
    peer.ask(subscribe("u1", 7, "s1"));
    peer.ask(leave("u1", "00:10:00"));
    peer.ask(kick_out("u1", 7));
    fleet.room.wait_told(1);
    peer.refused("{}", "CHAT-003");
    let mut gone = daemon.connect();
    gone.refused("{}", "CHAT-003");
    let id = listed(&daemon, &gone)["id"].clone();
    drop(gone);
    wait_for_end(&daemon, &id);
    (daemon, peer)
}

#[test]
fn every_operation_answers_as_the_document_says() {
    let fleet = Fleet::new();
    let (daemon, peer) = busy(&fleet);
    let id = listed(&daemon, &peer)["id"].to_string();
    let known = [("{user_id}", "u1"), ("{session}", "s1"), ("{room_id}", "7"), ("{id}", &id)];
    let document = Document::load();
    let mut operations = document.operations();
    // What ends something comes last.
    operations.sort_by_key(|operation| ["POST", "DELETE"].contains(&&*operation.method));
    for operation in &operations {
        let path = known
            .iter()
            .fold(operation.path.to_owned(), |path, (name, value)| path.replace(name, value));
        let mut asked = request(&operation.method, &path);
        if operation.method == "PUT" {
            asked = asked.json(r#"{"filter":"info,stated::store=debug"}"#);
        }
        let answer = asked.ask(&daemon);
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
        document.check(operation, answer.status, &answer.body);
        if path.starts_with("/api/") {
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
            refuses_what_it_does_not_know(&daemon, &document, operation, &path);
        }
    }
}

fn refuses_what_it_does_not_know(
    daemon: &Daemon,
    document: &Document,
    operation: &crate::openapi::Operation<'_>,
    path: &str,
) {
    let unknown = format!("{path}?unknown=1");
    let mut asked = vec![
        (request(&operation.method, &unknown), 400),
        (request(&operation.method, path).host("evil.example"), 421),
    ];
    if operation.method != "GET" {
        asked.push((request(&operation.method, path).header("Origin", "http://evil"), 403));
    }
    for (request, expected) in asked {
        let answer = request.ask(daemon);
        assert_eq!(answer.status, expected, "{} {path}: {answer:?}", operation.method);
        document.check(operation, answer.status, &answer.body);
    }
}

#[test]
fn a_method_that_is_not_documented_is_not_answered() {
    let daemon = observed(Setup::new()).start();
    let document = Document::load();
    let operations = document.operations();
    for path in document.paths() {
        let of_path = || operations.iter().filter(|operation| operation.path == path);
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            if of_path().any(|operation| operation.method == method) {
                continue;
            }
            let answer = request(method, path).ask(&daemon);
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            assert!(answer.json()["error"].is_string());
            let allowed = answer.header("allow").unwrap_or_default().to_uppercase();
            assert!(of_path().all(|operation| allowed.contains(&operation.method)), "{allowed}");
        }
    }
    assert_eq!(get(&daemon, "/api/v1/openapi.json"), *document.value());
    let head = request("HEAD", "/api/v1/connections").ask(&daemon);
    assert_eq!((head.status, &*head.body), (200, ""));
    assert_eq!(request("GET", "/api/v1/nothing").ask(&daemon).status, 404);
}

#[test]
fn every_connection_is_listed_with_what_was_said_on_it() {
    let daemon = observed(Setup::new().listens(&[Framing::Length4, Framing::Lf])).start();
    let mut peer = daemon.connect_in(Framing::Lf);
    let asked = [subscribe("u1", 7, "s1"), heartbeat(), enter("u1"), "{}".to_owned()];
    let mut answered = 0;
    for payload in &asked {
        answered += peer.ask(payload).len() + 1;
    }
    peer.refused(unsubscribe("s2"), "CHAT-001");
    let connection = listed(&daemon, &peer);
    assert_eq!(connection["listener"], daemon.addresses[1].to_string());
    assert_eq!(connection["framing"], "lf");
    assert_eq!((&connection["requests"], &connection["errors"]), (&5.into(), &2.into()));
    assert_eq!(connection["in_flight"], 0);
    let sent: usize = asked.iter().map(|payload| payload.len() + 1).sum();
    assert_eq!(connection["received_bytes"], sent + unsubscribe("s2").len() + 1);
    assert!(connection["sent_bytes"].as_u64().unwrap() > answered as u64);
    assert_eq!(connection["last_error"]["code"], "CHAT-001");
    assert_eq!(connection["last_error"]["text"], "the session resolves to nobody");
    let path = format!("/api/v1/connections/{}", connection["id"]);
    assert_eq!(get(&daemon, &path)["id"], connection["id"]);
}

#[test]
fn pages_of_connections_tell_each_of_them_once() {
    let daemon = observed(Setup::new()).start();
    let peers: Vec<_> = (0..7).map(|_| daemon.connect()).collect();
    wait_until("all are let in", || ids(&get(&daemon, "/api/v1/connections")).len() == 7);
    let all = ids(&get(&daemon, "/api/v1/connections"));
    assert!(all.is_sorted());
    for limit in [1, 3, 7, 8] {
        assert_eq!(ids_in_pages(&daemon, "/api/v1/connections", limit), all);
    }
    for peer in peers {
        let id = listed(&daemon, &peer)["id"].clone();
        drop(peer);
        wait_for_end(&daemon, &id);
    }
    let ended = ids_in_pages(&daemon, "/api/v1/connections/closed", 2);
    assert_eq!(ended, all.into_iter().rev().collect::<Vec<_>>());
    for query in ["cursor=x", "cursor=-1", "limit=0", "limit=1001", "limit=1&limit=1"] {
        let path = format!("/api/v1/connections?{query}");
        assert_eq!(request("GET", &path).ask(&daemon).status, 400, "{query}");
    }
}

#[test]
fn a_connection_that_is_closed_is_answered_first_what_it_asked() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet)).start();
    let mut peer = daemon.connect();
    peer.ask(heartbeat());
    let connection = listed(&daemon, &peer);
    let answer = close(&daemon, &connection);
    assert_eq!(answer.status, 202);
    peer.expect_end();
    let end = wait_for_end(&daemon, &connection["id"]);
    assert_eq!((&end["reason"], &end["requests"]), (&"operator".into(), &1.into()));
    assert_eq!(end["peer"], connection["peer"]);
    assert_eq!(close(&daemon, &connection).status, 404);
    for id in ["0", "x", "-1", "18446744073709551616"] {
        let answer = request("DELETE", &format!("/api/v1/connections/{id}")).ask(&daemon);
        assert_eq!(answer.status, if id == "0" { 404 } else { 400 }, "{id}");
    }
    daemon.log.tells("\"path\":\"/api/v1/connections/");
}

#[test]
fn a_request_under_way_is_answered_before_its_connection_is_closed() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::Wait);
    let daemon = observed(Setup::with(&fleet)).start();
    let mut peer = daemon.connect();
    peer.ask(subscribe("u1", 7, "s1"));
    peer.send(kick_out("u1", 7));
    wait_until("it is under way", || listed(&daemon, &peer)["in_flight"] == 1);
    let connection = listed(&daemon, &peer);
    assert_eq!(close(&daemon, &connection).status, 202);
    fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    assert!(!peer.reply().contains("error"));
    peer.expect_end();
    assert_eq!(wait_for_end(&daemon, &connection["id"])["in_flight"], 0);
}

#[test]
fn a_peer_that_does_not_read_can_not_hold_its_connection_open() {
    let setup = Setup::new().key("limits.request_timeout", "\"300ms\"");
    let daemon = observed(setup).start();
    let mut peer = daemon.connect();
    let connection = listed(&daemon, &peer);
    // Until neither side takes any more.
    peer.stream().set_nonblocking(true).unwrap();
    let frame = Framing::Length4.frame("{}".as_bytes()).repeat(1000);
    wait_until("the daemon reads no more", || {
        while peer.try_send_bytes(&frame).is_ok() {}
        listed(&daemon, &peer)["received_bytes"] == {
            crate::harness::moment();
            listed(&daemon, &peer)["received_bytes"].clone()
        }
    });
    assert_eq!(close(&daemon, &connection).status, 202);
    let end = wait_for_end(&daemon, &connection["id"]);
    assert_eq!(end["reason"], "operator");
    daemon.stop();
}

#[test]
fn only_so_many_ends_are_remembered() {
    let daemon = observed(Setup::new().key("admin.closed_connections_max", "2")).start();
    for _ in 0..4 {
        let peer = daemon.connect();
        let id = listed(&daemon, &peer)["id"].clone();
        drop(peer);
        wait_for_end(&daemon, &id);
    }
    assert_eq!(ids_in_pages(&daemon, "/api/v1/connections/closed", 10), [4, 3]);
}

#[test]
fn where_a_token_is_configured_only_who_sends_it_changes_something() {
    let setup = Setup::new().key("admin.token", &format!("\"{TOKEN}\""));
    let daemon = observed(setup).start();
    let put = || request("PUT", "/api/v1/log/filter").json(r#"{"filter":"info"}"#);
    let refused = put().ask(&daemon);
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), Some("bearer realm=\"stated\""));
    assert_eq!(put().header("Authorization", "Bearer something else").ask(&daemon).status, 401);
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(put().header("Authorization", &bearer).ask(&daemon).status, 200);
    get(&daemon, "/api/v1/log/filter");
    assert!(!daemon.log.has(TOKEN));
}

#[test]
fn where_others_reach_it_and_there_is_no_token_nothing_is_changed() {
    let daemon = Setup::new().key("admin.address", "\"0.0.0.0:0\"").start();
    daemon.log.tells("there is no admin.token");
    get(&daemon, "/api/v1/connections");
    let answer = request("DELETE", "/api/v1/connections/1").ask(&daemon);
    assert_eq!(answer.status, 403, "{answer:?}");
}

#[test]
fn what_is_logged_can_be_changed_while_the_daemon_works() {
    let daemon = observed(Setup::new()).start();
    let put = |body: &str, status: u16| {
        let answer = request("PUT", "/api/v1/log/filter").json(body).ask(&daemon);
        assert_eq!(answer.status, status, "{answer:?}");
    };
    daemon.connect().ask(heartbeat());
    assert!(!daemon.log.has("\"message\":\"a peer connected\""));
    put(r#"{"filter":"info,stated::connection=debug"}"#, 200);
    assert_eq!(get(&daemon, "/api/v1/log/filter")["filter"], "info,stated::connection=debug");
    daemon.connect().ask(heartbeat());
    wait_until("it is logged", || daemon.log.has("\"message\":\"a peer connected\""));
    for wrong in [r#"{"filter":"loud"}"#, r#"{"filter":1}"#, r#"{"filtre":"info"}"#, "", "{"] {
        put(wrong, 400);
    }
    let long = format!("{{\"filter\":\"{}\"}}", "x".repeat(20_000));
    put(&long, 413);
    let chunked = request("PUT", "/api/v1/log/filter").json(&long).chunked();
    assert_eq!(chunked.ask(&daemon).status, 413);
    let plain: Request<'_> =
        request("PUT", "/api/v1/log/filter").header("Content-Type", "text/plain");
    assert_eq!(plain.ask(&daemon).status, 415);
}

#[test]
fn whoever_silences_the_log_is_in_the_log() {
    let daemon = observed(Setup::new()).start();
    let answer = request("PUT", "/api/v1/log/filter").json(r#"{"filter":"off"}"#).ask(&daemon);
    assert_eq!(answer.status, 200, "{answer:?}");
    wait_until("it is logged", || daemon.log.has("\"filter\":\"off\""));
    daemon.log.tells("\"peer\":\"127.0.0.1:");
}

#[test]
fn the_configuration_in_force_is_shown_without_its_secrets() {
    let setup =
        Setup::new().key("admin.token", &format!("\"{TOKEN}\"")).key("limits.max_in_flight", "7");
    let daemon = observed(setup).start();
    let shown = get(&daemon, "/api/v1/configuration");
    assert_eq!(shown["values"]["limits.max_in_flight"], "7");
    assert_eq!(shown["values"]["log.level"], "info");
    assert!(shown["file"].as_str().unwrap().ends_with("stated.toml"), "{shown}");
    assert_eq!(shown["needs_restart"], Value::Array(Vec::new()));
    assert!(!shown.to_string().contains(TOKEN), "{shown}");
}

#[test]
fn the_status_says_at_a_glance_how_the_daemon_is() {
    let fleet = Fleet::new();
    let (daemon, _peer) = busy(&fleet);
    wait_until("it is ready", || request("GET", "/readyz").ask(&daemon).status == 200);
    let status = get(&daemon, "/api/v1/status");
    assert_eq!(status["readiness"], request("GET", "/readyz").ask(&daemon).json());
    assert_eq!(status["load"]["connections"], 1);
    assert_eq!(status["load"]["requests_answered"], 3);
    assert_eq!(status["load"]["requests_failed"], 2);
    assert_eq!(status["population"]["users"], 1);
    assert_eq!(status["population"]["sessions_live"], 1);
    assert_eq!(status["population"]["rooms"], 1);
    let configuration = get(&daemon, "/api/v1/configuration");
    assert_eq!(status["configuration"]["digest"], configuration["digest"]);
    let names: Vec<_> =
        status["gateways"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["room", "signaling", "auth"]);
    assert_eq!(status["gateways"][0]["queue"]["answered"], 1);
    assert_eq!(status["gateways"][1]["calls"]["ok"], 1);
}

#[test]
fn users_sessions_and_rooms_are_found_by_their_ids() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet)).start();
    let odd = "사용자/1?#%";
    let path = "/api/v1/users/%EC%82%AC%EC%9A%A9%EC%9E%90%2F1%3F%23%25";
    let mut peer = daemon.connect();
    peer.ask(subscribe(odd, -7, "s1"));
    peer.ask(subscribe("u2", -7, "s2"));
    peer.ask(subscribe("u3", i64::MAX, "s3"));
    peer.ask(leave("u3", "00:10:00"));
    let user = json!({"user_id": odd, "room_id": -7, "session": "s1", "is_live": true,
                      "study_time": null});
    assert_eq!(get(&daemon, path), user);
    let session = json!({"session": "s3", "user_id": "u3", "room_id": i64::MAX});
    assert_eq!(get(&daemon, "/api/v1/sessions/s3"), session);
    peer.ask(unsubscribe("s3"));
    let user = json!({"user_id": "u3", "room_id": i64::MAX, "session": "s3", "is_live": false,
                      "study_time": "00:10:00"});
    assert_eq!(get(&daemon, "/api/v1/users/u3"), user);
    let rooms = json!({"rooms": [{"room_id": -7, "sessions": 2}], "next_cursor": null});
    assert_eq!(get(&daemon, "/api/v1/rooms"), rooms);
    assert_eq!(
        members_in_pages(&daemon, "/api/v1/rooms/-7", 1),
        [("s1", odd), ("s2", "u2")].map(owned)
    );
    assert_eq!(get(&daemon, "/api/v1/rooms/8")["members"], json!([]));
    let long = format!("/api/v1/users/{}", "x".repeat(257));
    for (path, status) in [
        ("/api/v1/users/nobody", 404),
        ("/api/v1/sessions/s3", 404),
        (&*long, 400),
        ("/api/v1/users/%FF", 400),
        ("/api/v1/rooms/x", 400),
        ("/api/v1/rooms/9223372036854775808", 400),
        ("/api/v1/rooms?cursor=x", 400),
    ] {
        let answer = request("GET", path).ask(&daemon);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.json()["error"].is_string());
    }
}

fn owned((session, user): (&str, &str)) -> (String, String) {
    (session.to_owned(), user.to_owned())
}

/// Session and user of each member, in order.
fn members_in_pages(daemon: &Daemon, path: &str, limit: usize) -> Vec<(String, String)> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(daemon, &format!("{path}?limit={limit}{cursor}"));
        for member in page["members"].as_array().unwrap() {
            let text = |name: &str| member[name].as_str().unwrap().to_owned();
            all.push((text("session"), text("user_id")));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    all.sort();
    all
}

#[test]
fn while_the_store_is_away_what_it_knows_is_unavailable_and_the_rest_is_not() {
    let mut server = wait_for(RedisServer::start());
    let setup = Setup::new().keeps(&Place::at(server.url().expose()));
    let daemon = observed(setup.key("store.redis.command_timeout", "\"200ms\"")).start();
    daemon.connect().ask(subscribe("u1", 7, "s1"));
    get(&daemon, "/api/v1/users/u1");
    server.stop();
    for path in ["/api/v1/users/u1", "/api/v1/sessions/s1", "/api/v1/rooms", "/api/v1/rooms/7"] {
        let answer = request("GET", path).ask(&daemon);
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert!(answer.json()["error"].as_str().unwrap().contains("the store"), "{answer:?}");
    }
    let status = get(&daemon, "/api/v1/status");
    assert_eq!(status["population"], Value::Null);
    get(&daemon, "/api/v1/connections");
}

#[test]
fn an_operator_sees_what_a_close_would_do_and_closes_the_day() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet)).start();
    let mut peer = daemon.connect();
    peer.ask(leave("u1", "00:10:00"));
    peer.ask(leave("u2", "00:20:00"));
    let night = get(&daemon, "/api/v1/night");
    assert_eq!((&night["stage"], &night["undelivered"]), (&"idle".into(), &json!([])));
    let mut planned = get(&daemon, "/api/v1/night/plan");
    planned["entries"].as_array_mut().unwrap().sort_by_key(|entry| entry["user_id"].to_string());
    let entry = |user: &str, time: &str| json!({"user_id": user, "study_time": time});
    let entries = json!([entry("u1", "00:10:00"), entry("u2", "00:20:00")]);
    assert_eq!(planned, json!({"day": 1, "entries": entries, "next_cursor": null}));
    assert_eq!(get(&daemon, "/api/v1/night/history"), json!({"nights": []}));
    fleet.auth.behave(Act::HangUp);
    let closed = request("POST", "/api/v1/night/close").ask(&daemon);
    assert_eq!((closed.status, closed.json()), (200, json!({"day": 1})));
    wait_until("the delivery has failed", || get(&daemon, "/api/v1/night")["stage"] == "retrying");
    let night = get(&daemon, "/api/v1/night");
    assert_eq!((&night["day"], &night["undelivered"][0]["day"]), (&2.into(), &1.into()));
    assert_eq!(
        (&night["delivering"]["day"], &night["delivering"]["users"]),
        (&1.into(), &2.into())
    );
    assert!(night["delivering"]["error"].is_string(), "{night}");
    fleet.auth.behave(Act::Say("SUCCESS".to_owned()));
    assert_eq!(request("POST", "/api/v1/night/deliver").ask(&daemon).status, 202);
    let delivered = |night: &Value| night["nights"][0]["delivered_at"].is_string();
    wait_until("the day is delivered", || delivered(&get(&daemon, "/api/v1/night/history")));
    let past = get(&daemon, "/api/v1/night/history")["nights"][0].clone();
    assert_eq!((&past["day"], &past["closed_by"]), (&1.into(), &"operator".into()));
    assert_eq!((&past["users"], &past["frames"]), (&2.into(), &1.into()));
    assert_eq!(get(&daemon, "/api/v1/night")["delivered_users"], 2);
}

#[test]
fn a_busy_connection_that_is_closed_was_answered_every_request_that_was_read() {
    let daemon = observed(Setup::new()).start();
    let mut peer = daemon.connect();
    let id = listed(&daemon, &peer)["id"].clone();
    let stream = peer.stream().try_clone().unwrap();
    let is_enough = Arc::new(AtomicBool::new(false));
    let enough = Arc::clone(&is_enough);
    let sender = thread::spawn(move || {
        let frame = Framing::Length4.frame(heartbeat().as_bytes());
        while !enough.load(Relaxed) && (&stream).write_all(&frame).is_ok() {}
    });
    let mut replies = 0;
    while replies < 1000 {
        peer.reply();
        replies += 1;
    }
    assert_eq!(close(&daemon, &json!({ "id": id })).status, 202);
    is_enough.store(true, Relaxed);
    while peer.try_reply().is_ok() {
        replies += 1;
    }
    sender.join().unwrap();
    drop(peer);
    let end = wait_for_end(&daemon, &id);
    assert_eq!((&end["reason"], &end["in_flight"]), (&"operator".into(), &0.into()));
    assert_eq!(end["requests"], replies);
}
