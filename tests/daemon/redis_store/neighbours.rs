//! What other programs find in Redis, and what they may have left there.

use stated::config::{self, FieldStyle};
use stated::domain::RoomId;
use stated::store::{Error, KeepOnline, NextBatch, StateStore};

use super::data;
use crate::battery::{LAST_TIMEOUT, LIMITS, at, deliver_all, listed, record, session, time, user};
use crate::servers::redis::RedisServer;
use crate::stores::Opened;

fn spring(mut config: config::Store) -> config::Store {
    config.redis.field_style = FieldStyle::Spring;
    config
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
async fn the_last_listing_closes_the_day_although_a_record_can_not_be_read() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    server.ask::<()>(&["HSET", "realTimeData:u1", "data", "nonsense"]).await;
    let entries = [listed("u1", Some("01:00")), listed("u2", Some("02:00"))];
    let closed = daemon.store.close_day(&entries, at(0), LAST_TIMEOUT).await;
    assert!(matches!(closed, Err(Error::Unreadable(_))), "{closed:?}");
    let heard = deliver_all(&daemon.store, KeepOnline::Yes).await;
    assert_eq!(heard, [[(1, "u2".to_owned(), Some("02:00".to_owned()))]]);
    daemon.close().await;
}

#[tokio::test]
async fn a_day_stays_open_while_a_listed_time_is_not_written() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    for id in ["u1", "u3"] {
        server.ask::<()>(&["HSET", &format!("realTimeData:{id}"), "data", "nonsense"]).await;
    }
    // Redis lets nobody write to the second user's record.
    let acl = ["ACL", "SETUSER", "default", "resetkeys", "~realTimeData:u[13]", "~stated:*"];
    server.ask::<()>(&acl).await;
    let entries = ["u1", "u2", "u3"].map(|id| listed(id, Some("01:00")));
    let closed = daemon.store.close_day(&entries, at(0), LAST_TIMEOUT).await;
    assert!(matches!(closed, Err(Error::Failed(_))), "{closed:?}");
    server.ask::<()>(&["ACL", "SETUSER", "default", "allkeys"]).await;
    let night = daemon.store.night().await.unwrap();
    assert!(night.undelivered.is_empty() && night.listed_at == Some(at(0)), "{night:?}");
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
