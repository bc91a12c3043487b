//! What is true of the Redis store alone: its bytes, its neighbours, its failures.

use std::time::Duration;

use redis::Value;
use stated::config::{self, FieldStyle};
use stated::domain::RoomId;
use stated::store::{Error, KeepOnline, NextBatch, StateStore};
use tokio::task::JoinSet;

use crate::battery::{
    LAST_TIMEOUT, LIMITS, at, deliver_all, listed, record, session, time, told, user,
};
use crate::servers::eventually;
use crate::servers::redis::{RedisCluster, RedisSentinel, RedisServer};
use crate::stores::Opened;

fn spring(mut config: config::Store) -> config::Store {
    config.redis.field_style = FieldStyle::Spring;
    config
}

async fn data(server: &RedisServer, id: &str) -> Option<String> {
    server.ask(&["HGET", &format!("realTimeData:{id}"), "data"]).await
}

#[tokio::test]
async fn other_programs_find_record_and_index_byte_for_byte() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    let (id, session_id) = ("가\"/", "s1");
    daemon.store.open_session(&user(id), Some(RoomId(5)), &session(session_id)).await.unwrap();
    let expected = r#"{"userId":"가\"/","roomId":5,"sessionId":"s1","studyTime":null}"#;
    assert_eq!(data(&server, id).await.as_deref(), Some(expected));
    let index: String = server.ask(&["GET", "sessionIdIndex:s1"]).await;
    assert_eq!(index, id);
    daemon.store.record_study_time(&user(id), &time("02:00:00")).await.unwrap();
    let expected = r#"{"userId":"가\"/","roomId":5,"sessionId":"s1","studyTime":"02:00:00"}"#;
    assert_eq!(data(&server, id).await.as_deref(), Some(expected));
    daemon.store.open_session(&user(id), None, &session("s2")).await.unwrap();
    assert_eq!(server.ask::<i64>(&["EXISTS", "sessionIdIndex:s1"]).await, 0);
    daemon.store.close_session(&session("s2")).await.unwrap();
    assert_eq!(server.ask::<i64>(&["EXISTS", "sessionIdIndex:s2"]).await, 0);
    daemon.close().await;
}

#[tokio::test]
async fn after_the_night_nothing_is_left_of_users_who_are_gone() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    daemon.store.open_session(&user("u1"), None, &session("s1")).await.unwrap();
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    deliver_all(&daemon.store, KeepOnline::No).await;
    daemon.close().await;
    assert_eq!(server.ask::<Vec<String>>(&["KEYS", "*"]).await, ["stated:night"]);
}

#[tokio::test]
async fn a_foreign_record_may_lack_members_and_have_others() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    let planted = [
        ("u1", r#"{"userId":"u1"}"#, record("u1", None, None, None)),
        (
            "u2",
            r#"{"studyTime":"01:00","extra":{"a":[1]}}"#,
            record("u2", None, None, Some("01:00")),
        ),
        ("u3", r#"{ "roomId" : "9223372036854775807" }"#, record("u3", Some(i64::MAX), None, None)),
        ("u4", r#"{"sessionId":"\uac00","roomId":-3}"#, record("u4", Some(-3), Some("가"), None)),
    ];
    for (id, text, expected) in planted {
        server.ask::<()>(&["HSET", &format!("realTimeData:{id}"), "data", text, "mine", "1"]).await;
        let found = daemon.store.study_time(&user(id)).await.unwrap();
        assert_eq!(found, expected.study_time);
        let mut written = daemon.store.record_study_time(&user(id), &time("07:00")).await.unwrap();
        assert_eq!(written.study_time.take(), Some(time("07:00")));
        written.study_time = expected.study_time.clone();
        assert_eq!(written, expected);
        let text = data(&server, id).await.unwrap();
        assert!(!text.contains("extra") && text.starts_with(r#"{"userId":"u"#), "{text}");
        let mine: String = server.ask(&["HGET", &format!("realTimeData:{id}"), "mine"]).await;
        assert_eq!(mine, "1");
    }
    daemon.close().await;
}

#[tokio::test]
async fn records_of_the_replaced_service_close_with_the_running_day() {
    let server = RedisServer::start().await;
    let quoted = r#"{"userId":"u1","roomId":7,"sessionId":"s1","studyTime":"01:00"}"#;
    server.ask::<()>(&["HSET", "realTimeData:u1", "\"data\"", quoted]).await;
    server.ask::<()>(&["SET", "sessionIdIndex:s1", "u1"]).await;
    let daemon = Opened::open(&server.store());
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    assert_eq!(daemon.store.study_time(&user("u1")).await.unwrap(), None);
    let heard = deliver_all(&daemon.store, KeepOnline::Yes).await;
    assert_eq!(heard, [[(1, "u1".to_owned(), Some("01:00".to_owned()))]]);
    let closed = daemon.store.close_session(&session("s1")).await.unwrap();
    assert_eq!(closed, Some(record("u1", Some(7), Some("s1"), None)));
    daemon.close().await;
}

#[tokio::test]
async fn the_quoted_field_is_read_and_the_plain_one_is_written() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    let quoted = r#"{"userId":"u1","roomId":7,"sessionId":null,"studyTime":"01:00"}"#;
    server.ask::<()>(&["HSET", "realTimeData:u1", "\"data\"", quoted]).await;
    assert_eq!(daemon.store.study_time(&user("u1")).await.unwrap(), Some(time("01:00")));
    daemon.store.record_study_time(&user("u1"), &time("02:00")).await.unwrap();
    assert!(data(&server, "u1").await.unwrap().contains("02:00"));
    assert_eq!(server.ask::<String>(&["HGET", "realTimeData:u1", "\"data\""]).await, quoted);
    assert_eq!(daemon.store.study_time(&user("u1")).await.unwrap(), Some(time("02:00")));
    daemon.close().await;
}

#[tokio::test]
async fn in_spring_style_the_quoted_field_wins_and_only_it_is_written() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&spring(server.store()));
    let text = |study_time| {
        format!(r#"{{"userId":"u1","roomId":7,"sessionId":null,"studyTime":"{study_time}"}}"#)
    };
    let (plain, quoted) = (text("01:00"), text("02:00"));
    server.ask::<()>(&["HSET", "realTimeData:u1", "data", &plain, "\"data\"", &quoted]).await;
    assert_eq!(daemon.store.study_time(&user("u1")).await.unwrap(), Some(time("02:00")));
    daemon.store.record_study_time(&user("u1"), &time("03:00")).await.unwrap();
    assert_eq!(data(&server, "u1").await, Some(plain));
    let written: String = server.ask(&["HGET", "realTimeData:u1", "\"data\""]).await;
    assert_eq!(written, text("03:00"));
    daemon.close().await;
}

#[tokio::test]
async fn what_can_not_be_read_is_never_overwritten_and_stops_nobody() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    let store = &daemon.store;
    for (id, text) in [("u1", "nonsense"), ("u2", r#"{"userId":"u2","roomId":true}"#)] {
        server.ask::<()>(&["HSET", &format!("realTimeData:{id}"), "data", text]).await;
    }
    server.ask::<()>(&["SET", "realTimeData:u3", "a text"]).await;
    for id in ["u1", "u2", "u3"] {
        let id = user(id);
        let opened = store.open_session(&id, None, &session("s")).await;
        assert!(matches!(opened, Err(Error::Unreadable(_))), "{opened:?}");
        assert_eq!(server.ask::<i64>(&["EXISTS", "sessionIdIndex:s"]).await, 0);
        server.ask::<()>(&["SET", "sessionIdIndex:s", id.as_str()]).await;
        let closed = store.close_session(&session("s")).await;
        assert!(matches!(closed, Err(Error::Unreadable(_))), "{closed:?}");
        assert_eq!(server.ask::<i64>(&["DEL", "sessionIdIndex:s"]).await, 1);
        let studied = store.study_time(&id).await;
        assert!(matches!(studied, Err(Error::Unreadable(_))), "{studied:?}");
        let recorded = store.record_study_time(&id, &time("01:00")).await;
        assert!(matches!(recorded, Err(Error::Unreadable(_))), "{recorded:?}");
    }
    let entries = [listed("u1", Some("01:00")), listed("u4", Some("04:00"))];
    let done = store.list_study_times(&entries, at(0), LAST_TIMEOUT).await;
    let done = done.unwrap_err().to_string();
    assert!(done.contains("can't be read: u1: it is not a JSON object"), "{done}");
    store.close_day(&[], at(1), LAST_TIMEOUT).await.unwrap();
    let heard = deliver_all(store, KeepOnline::Yes).await;
    assert_eq!(heard, [[(1, "u4".to_owned(), Some("04:00".to_owned()))]]);
    assert_eq!(data(&server, "u1").await.as_deref(), Some("nonsense"));
    assert_eq!(server.ask::<String>(&["GET", "realTimeData:u3"]).await, "a text");

    // Once somebody has mended it, its time is told with the next night.
    let mended = r#"{"userId":"u1","studyTime":"09:00"}"#;
    server.ask::<()>(&["HSET", "realTimeData:u1", "data", mended]).await;
    store.close_day(&[], at(2), LAST_TIMEOUT).await.unwrap();
    let heard = deliver_all(store, KeepOnline::Yes).await.concat();
    assert_eq!(heard, [(2, "u1".to_owned(), Some("09:00".to_owned()))]);
    daemon.close().await;
}

#[tokio::test]
async fn a_record_that_was_mended_after_its_day_was_delivered_is_told_with_the_next_night() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    daemon.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
    let good = data(&server, "u1").await.unwrap();
    server.ask::<()>(&["HSET", "realTimeData:u1", "data", "nonsense"]).await;
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    assert_eq!(daemon.store.next_batch(LIMITS).await.unwrap(), NextBatch::Nothing);
    server.ask::<()>(&["HSET", "realTimeData:u1", "data", &good]).await;
    assert_eq!(daemon.store.study_time(&user("u1")).await.unwrap(), None);
    daemon.store.close_day(&[], at(1), LAST_TIMEOUT).await.unwrap();
    let heard = deliver_all(&daemon.store, KeepOnline::Yes).await;
    assert_eq!(heard, [[(1, "u1".to_owned(), Some("01:00".to_owned()))]]);
    daemon.close().await;
}

#[tokio::test]
async fn an_index_that_leads_nowhere_is_removed() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    daemon.store.open_session(&user("u1"), None, &session("live")).await.unwrap();
    for (index, value) in [("s1", "nobody"), ("s2", "u1"), ("s3", "")] {
        let key = format!("sessionIdIndex:{index}");
        server.ask::<()>(&["SET", &key, value]).await;
        assert_eq!(daemon.store.close_session(&session(index)).await.unwrap(), None);
        assert_eq!(server.ask::<i64>(&["EXISTS", &key]).await, 0);
    }
    assert!(daemon.store.close_session(&session("live")).await.unwrap().is_some());
    daemon.close().await;
}

#[tokio::test]
async fn of_sessions_opened_at_once_one_is_left() {
    let server = RedisServer::start().await;
    let daemons = [Opened::open(&server.store()), Opened::open(&server.store())];
    for round in 0..20 {
        let opening = (0..8).map(|at| {
            let store = &daemons[at % 2].store;
            async move {
                let id = format!("s{round}-{at}");
                store.open_session(&user("u1"), None, &session(&id)).await.unwrap();
            }
        });
        futures_util::future::join_all(opening).await;
        let indexes: Vec<String> = server.ask(&["KEYS", "sessionIdIndex:*"]).await;
        let text = data(&server, "u1").await.unwrap();
        assert_eq!(indexes.len(), 1, "{indexes:?}");
        let left = indexes[0].trim_start_matches("sessionIdIndex:");
        assert!(text.contains(&format!("\"{left}\"")), "{left} {text}");
    }
    for daemon in daemons {
        daemon.close().await;
    }
}

#[tokio::test]
async fn however_opening_and_closing_cross_a_live_session_has_its_index() {
    let server = RedisServer::start().await;
    let daemons = [Opened::open(&server.store()), Opened::open(&server.store())];
    for round in 0..60 {
        let moves = (0..10).map(|at| {
            let (store, random) = (&daemons[at % 2].store, fastrand::usize(..));
            let with = session(&format!("s{}", random % 3));
            async move {
                if random % 2 == 0 {
                    store.open_session(&user("u1"), None, &with).await.unwrap();
                } else {
                    store.close_session(&with).await.unwrap();
                }
            }
        });
        futures_util::future::join_all(moves).await;
        let Some(text) = data(&server, "u1").await else { continue };
        let closed: Option<String> = server.ask(&["HGET", "realTimeData:u1", "closed"]).await;
        for at in 0..3 {
            let id = format!("s{at}");
            let is_named = text.contains(&format!(r#""sessionId":"{id}""#));
            let is_closed =
                closed.as_ref().is_some_and(|mark| mark.ends_with(&format!(":\"{id}\"")));
            let index: Option<String> = server.ask(&["GET", &format!("sessionIdIndex:{id}")]).await;
            if is_named && !is_closed {
                assert_eq!(index.as_deref(), Some("u1"), "round {round}: {text}");
            }
            let resolved = daemons[0].store.close_session(&session(&id)).await.unwrap();
            assert_eq!(resolved.is_some(), is_named && !is_closed, "round {round}: {text}");
        }
        assert_eq!(server.ask::<Vec<String>>(&["KEYS", "sessionIdIndex:*"]).await.len(), 0);
    }
    for daemon in daemons {
        daemon.close().await;
    }
}

#[tokio::test]
async fn a_record_that_becomes_unreadable_while_its_time_is_with_auth_stops_nothing() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    for id in ["u1", "u2", "u3"] {
        daemon.store.record_study_time(&user(id), &time("01:00")).await.unwrap();
    }
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    let NextBatch::Send(batch) = daemon.store.next_batch(LIMITS).await.unwrap() else { panic!() };
    server.ask::<()>(&["HSET", "realTimeData:u1", "data", "nonsense"]).await;
    server.ask::<()>(&["SET", "realTimeData:u2", "a text"]).await;
    daemon.store.acknowledge_batch(&batch, KeepOnline::Yes).await.unwrap();
    assert_eq!(daemon.store.next_batch(LIMITS).await.unwrap(), NextBatch::Nothing);
    let fields: Vec<String> = server.ask(&["HKEYS", "realTimeData:u1"]).await;
    assert!(!fields.iter().any(|field| field.starts_with("sealed:")), "{fields:?}");
    assert_eq!(server.ask::<i64>(&["EXISTS", "realTimeData:u3"]).await, 0);
    daemon.close().await;
}

#[tokio::test]
async fn from_the_close_on_every_daemon_reads_null() {
    let server = RedisServer::start().await;
    let (one, other) = (Opened::open(&server.store()), Opened::open(&server.store()));
    for night in 0..3 {
        other.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
        assert!(other.store.study_time(&user("u1")).await.unwrap().is_some());
        one.store.close_day(&[], at(night), LAST_TIMEOUT).await.unwrap();
        assert_eq!(other.store.study_time(&user("u1")).await.unwrap(), None);
        let opened = other.store.open_session(&user("u1"), None, &session("s")).await.unwrap();
        assert_eq!(opened.study_time, None);
    }
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn two_daemons_never_deliver_at_once() {
    let server = RedisServer::start().await;
    let (one, other) = (Opened::open(&server.store()), Opened::open(&server.store()));
    one.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
    one.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    let NextBatch::Send(batch) = one.store.next_batch(LIMITS).await.unwrap() else { panic!() };
    assert_eq!(other.store.next_batch(LIMITS).await.unwrap(), NextBatch::Elsewhere);
    // The first one dies: its right to deliver runs out.
    server.ask::<()>(&["DEL", "stated:night:lock"]).await;
    assert_eq!(other.store.next_batch(LIMITS).await.unwrap(), NextBatch::Send(batch.clone()));
    assert_eq!(one.store.next_batch(LIMITS).await.unwrap(), NextBatch::Elsewhere);
    other.store.acknowledge_batch(&batch, KeepOnline::Yes).await.unwrap();
    assert_eq!(other.store.next_batch(LIMITS).await.unwrap(), NextBatch::Nothing);
    assert_eq!(one.store.next_batch(LIMITS).await.unwrap(), NextBatch::Nothing);
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn an_acknowledgement_that_was_cut_short_is_finished_by_whoever_comes_next() {
    let server = RedisServer::start().await;
    let one = Opened::open(&server.store());
    one.store.open_session(&user("u1"), None, &session("s1")).await.unwrap();
    one.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    assert!(matches!(one.store.next_batch(LIMITS).await.unwrap(), NextBatch::Send(_)));
    server.ask::<()>(&["HSET", "stated:night:batch", "acknowledged", "remove"]).await;
    one.close().await;
    let other = Opened::open(&server.store());
    assert_eq!(other.store.next_batch(LIMITS).await.unwrap(), NextBatch::Nothing);
    assert_eq!(server.ask::<i64>(&["EXISTS", "realTimeData:u1", "sessionIdIndex:s1"]).await, 0);
    other.close().await;
}

#[tokio::test]
async fn a_day_that_redis_lost_is_told_again() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    daemon.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
    server.ask::<()>(&["DEL", "stated:night"]).await;
    eventually("the day is back", || async {
        let day: Option<String> = server.ask(&["HGET", "stated:night", "day"]).await;
        (day.as_deref() == Some("2")).then_some(())
    })
    .await;
    assert_eq!(daemon.store.study_time(&user("u1")).await.unwrap(), Some(time("01:00")));
    daemon.close().await;

    // Nobody remembers the day but the records.
    server.ask::<()>(&["DEL", "stated:night"]).await;
    server.ask::<()>(&["HSET", "realTimeData:u1", "day", "9"]).await;
    let daemon = Opened::open(&server.store());
    daemon.store.record_study_time(&user("u1"), &time("02:00")).await.unwrap();
    assert_eq!(daemon.store.study_time(&user("u1")).await.unwrap(), Some(time("02:00")));
    daemon.close().await;
}

#[tokio::test]
async fn a_connection_that_breaks_under_operations_goes_unnoticed() {
    let server = RedisServer::start().await;
    let daemon = std::sync::Arc::new(Opened::open(&server.store()));
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let daemon = daemon.clone();
        clients.spawn(async move {
            let id = format!("u{client}");
            for round in 0..300 {
                let text = format!("{round}");
                daemon.store.record_study_time(&user(&id), &time(&text)).await.unwrap();
                daemon.store.open_session(&user(&id), None, &session(&id)).await.unwrap();
                assert!(daemon.store.close_session(&session(&id)).await.unwrap().is_some());
            }
        });
    }
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        server.ask::<Value>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        server.ask::<Value>(&["SCRIPT", "FLUSH"]).await;
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    std::sync::Arc::into_inner(daemon).unwrap().close().await;
}

#[tokio::test]
async fn while_redis_is_away_requests_fail_and_the_first_one_after_it_is_back_works() {
    let mut server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    daemon.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
    for _ in 0..3 {
        server.stop();
        for _ in 0..20 {
            let studied = daemon.store.study_time(&user("u1")).await;
            assert!(matches!(studied, Err(Error::Away(_) | Error::Failed(_))), "{studied:?}");
        }
        server.start_again().await;
        let studied = daemon.store.study_time(&user("u1")).await;
        assert_eq!(studied.unwrap(), Some(time("01:00")));
    }
    daemon.close().await;
}

#[tokio::test]
async fn redis_may_come_after_the_daemon() {
    let mut server = RedisServer::start().await;
    server.stop();
    let daemon = Opened::open(&server.store());
    let opened = daemon.store.open_session(&user("u1"), None, &session("s1")).await;
    assert!(matches!(opened, Err(Error::Away(_))), "{opened:?}");
    server.start_again().await;
    daemon.store.open_session(&user("u1"), None, &session("s1")).await.unwrap();
    daemon.close().await;
}

#[tokio::test]
async fn a_redis_that_hangs_fails_requests_and_serves_them_when_it_goes_on() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    daemon.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
    server.pause();
    for _ in 0..10 {
        assert!(daemon.store.study_time(&user("u1")).await.is_err());
    }
    server.resume();
    eventually("it goes on", || async { daemon.store.study_time(&user("u1")).await.ok() }).await;
    daemon.close().await;
}

#[tokio::test]
async fn a_wrong_password_is_told_without_the_password() {
    let server = RedisServer::start().await;
    server.ask::<()>(&["ACL", "SETUSER", "guest", "on", ">right", "~*", "+@all"]).await;
    let url = format!("redis://guest:hunter2@127.0.0.1:{}/", server.port);
    let mut config = server.store();
    config.url = config::StoreUrl::Redis(config::Secret::new(url));
    let daemon = Opened::open(&config);
    let error = daemon.store.study_time(&user("u1")).await.unwrap_err().to_string();
    assert!(error.contains("WRONGPASS") || error.contains("authentication"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_redis_behind_tls_is_not_spoken_to_if_nobody_knows_its_certificate() {
    let (server, port) = RedisServer::start_with_tls().await;
    let mut config = server.store();
    let url = config::Secret::new(format!("rediss://127.0.0.1:{port}/"));
    config.url = config::StoreUrl::Redis(url);
    let opened = Opened::open(&config);
    let refused = opened.store.study_time(&user("u1")).await;
    assert!(matches!(refused, Err(Error::Away(_))), "{refused:?}");
}

#[tokio::test]
async fn a_fail_over_under_sentinel_is_survived() {
    let mut sentinel = RedisSentinel::start().await;
    let daemon = Opened::open(&sentinel.store());
    daemon.store.open_session(&user("u1"), None, &session("s1")).await.unwrap();
    sentinel.master.replicated().await;
    sentinel.master.stop();
    eventually("there is a new master", || async {
        daemon.store.record_study_time(&user("u1"), &time("01:00")).await.ok()
    })
    .await;
    let closed = daemon.store.close_session(&session("s1")).await.unwrap();
    assert_eq!(closed, Some(record("u1", None, Some("s1"), Some("01:00"))));
    daemon.close().await;
}

#[tokio::test]
async fn a_slot_that_moves_in_a_cluster_goes_unnoticed() {
    let cluster = RedisCluster::start(0).await;
    let daemon = Opened::open(&cluster.store());
    daemon.store.record_study_time(&user("u1"), &time("0")).await.unwrap();
    let key = "realTimeData:u1";
    let slot: i64 = cluster.nodes[0].ask(&["CLUSTER", "KEYSLOT", key]).await;
    let slot = slot.to_string();
    for round in 0..3 {
        let from = cluster.master_of(key).await;
        let to = cluster.nodes.iter().find(|node| node.port != from.port).unwrap();
        let from_id: String = from.ask(&["CLUSTER", "MYID"]).await;
        let to_id: String = to.ask(&["CLUSTER", "MYID"]).await;
        to.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
        from.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
        let text = time(&format!("{round}a"));
        daemon.store.record_study_time(&user("u1"), &text).await.unwrap();
        let port = to.port.to_string();
        from.ask::<()>(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await;
        let found = daemon.store.study_time(&user("u1")).await.unwrap();
        assert_eq!(found, Some(text));
        let text = time(&format!("{round}b"));
        daemon.store.record_study_time(&user("u1"), &text).await.unwrap();
        for node in [to, from] {
            node.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await;
        }
        let found = daemon.store.study_time(&user("u1")).await.unwrap();
        assert_eq!(found, Some(text));
    }
    daemon.close().await;
}

#[tokio::test]
async fn a_fail_over_in_a_cluster_is_survived() {
    let mut cluster = RedisCluster::start(1).await;
    let daemon = Opened::open(&cluster.store());
    let ids: Vec<_> = (0..30).map(|at| format!("u{at}")).collect();
    for id in &ids {
        daemon.store.record_study_time(&user(id), &time("01:00")).await.unwrap();
    }
    let port = cluster.master_of("realTimeData:u1").await.port;
    let master = cluster.nodes.iter_mut().find(|node| node.port == port).unwrap();
    master.replicated().await;
    master.stop();
    for id in &ids {
        let found = eventually("a replica takes over", || async {
            daemon.store.study_time(&user(id)).await.ok()
        });
        assert_eq!(found.await, Some(time("01:00")));
    }
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    let NextBatch::Send(batch) = daemon.store.next_batch(LIMITS).await.unwrap() else { panic!() };
    assert_eq!(told(&batch).len(), 25);
    daemon.close().await;
}
