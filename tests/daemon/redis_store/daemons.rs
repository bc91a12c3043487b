//! Several daemons on one Redis.

use std::collections::HashMap;
use std::time::Duration;

use stated::store::{BatchLimits, KeepOnline, NextBatch, StateStore};
use tokio::time::timeout;

use super::data;
use crate::battery::{LAST_TIMEOUT, LIMITS, at, session, time, told, user};
use crate::servers::eventually;
use crate::servers::redis::RedisServer;
use crate::stores::Opened;

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
async fn a_short_command_timeout_does_not_count_the_wait_for_other_daemons() {
    let server = RedisServer::start().await;
    let mut config = server.store();
    config.redis.command_timeout = Duration::from_millis(300);
    let daemon = Opened::open(&config);
    for night in 0..3 {
        daemon.store.close_day(&[], at(night), LAST_TIMEOUT).await.unwrap();
    }
    daemon.close().await;
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
async fn a_daemon_that_lost_the_right_to_deliver_forgets_where_it_was() {
    let server = RedisServer::start().await;
    let (one, other) = (Opened::open(&server.store()), Opened::open(&server.store()));
    let ids: Vec<_> = (0..30).map(|at| format!("u{at:02}")).collect();
    for id in &ids {
        one.store.record_study_time(&user(id), &time("01:00")).await.unwrap();
    }
    one.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    let limits = BatchLimits { users_max: 5, ..LIMITS };
    let NextBatch::Send(first) = one.store.next_batch(limits).await.unwrap() else { panic!() };
    // The first one hangs for longer than its right lasts; the other one delivers and goes.
    server.ask::<()>(&["DEL", "stated:night:lock"]).await;
    let mut heard = Vec::new();
    for _ in 0..3 {
        let NextBatch::Send(batch) = other.store.next_batch(limits).await.unwrap() else {
            panic!()
        };
        heard.extend(told(&batch));
        other.store.acknowledge_batch(&batch, KeepOnline::Yes).await.unwrap();
    }
    other.close().await;
    one.store.acknowledge_batch(&first, KeepOnline::Yes).await.unwrap();
    while let NextBatch::Send(batch) = one.store.next_batch(limits).await.unwrap() {
        heard.extend(told(&batch));
        one.store.acknowledge_batch(&batch, KeepOnline::Yes).await.unwrap();
    }
    let mut heard: Vec<_> = heard.into_iter().map(|(_, id, _)| id).collect();
    heard.sort();
    assert_eq!(heard, ids);
    one.close().await;
}

#[tokio::test]
async fn the_right_to_deliver_outlasts_a_frame_that_is_under_way() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    daemon.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    // A reload may change how long that is.
    for call_max in [7, 60, 7] {
        let limits = BatchLimits { call_max: Duration::from_secs(call_max), ..LIMITS };
        assert!(matches!(daemon.store.next_batch(limits).await.unwrap(), NextBatch::Send(_)));
        let left: u64 = server.ask(&["PTTL", "stated:night:lock"]).await;
        assert!(left > call_max * 1000 && left < (call_max + 10) * 1000, "{left}");
    }
    daemon.close().await;
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
async fn a_frame_counts_once_whoever_finishes_it_and_however_often() {
    let server = RedisServer::start().await;
    let one = Opened::open(&server.store());
    one.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
    one.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    let limits = BatchLimits { users_max: 1, ..LIMITS };
    let next = one.store.next_batch(limits).await.unwrap();
    assert!(matches!(next, NextBatch::Send(_)), "{next:?}");
    one.close().await;
    let frame: Vec<String> = server.ask(&["HGETALL", "stated:night:batch"]).await;
    // Daemons that die or fall asleep over the acknowledged frame, each at another place.
    for _ in 0..3 {
        let mut plant = vec!["HSET", "stated:night:batch", "acknowledged", "keep"];
        plant.extend(frame.iter().map(String::as_str));
        server.ask::<()>(&plant).await;
        server.ask::<()>(&["HSETNX", "stated:night", "closed:1", "7"]).await;
        let other = Opened::open(&server.store());
        assert_eq!(other.store.next_batch(limits).await.unwrap(), NextBatch::Nothing);
        let nights = other.store.night_history(9).await.unwrap();
        assert_eq!((nights[0].users, nights[0].frames), (1, 1));
        assert!(nights[0].delivered_at.is_some());
        other.close().await;
    }
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
async fn a_delivery_that_dies_anywhere_loses_nothing_and_tells_nothing_twice() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    let ids: Vec<_> = (0..120).map(|at| format!("u{at:03}")).collect();
    for id in &ids {
        daemon.store.open_session(&user(id), None, &session(id)).await.unwrap();
        daemon.store.record_study_time(&user(id), &time("01:00")).await.unwrap();
    }
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    // Auth stores a frame once, whatever comes again.
    let mut auth = HashMap::new();
    loop {
        let life = Duration::from_micros(fastrand::u64(200..20_000));
        let died = timeout(life, async {
            loop {
                match daemon.store.next_batch(LIMITS).await.unwrap() {
                    NextBatch::Send(batch) => {
                        auth.insert(batch.id.clone(), told(&batch));
                        daemon.store.acknowledge_batch(&batch, KeepOnline::No).await.unwrap();
                    }
                    other @ (NextBatch::Nothing
                    | NextBatch::Elsewhere
                    | NextBatch::TooLong { .. }) => {
                        return other;
                    }
                }
            }
        });
        match died.await {
            Ok(NextBatch::Nothing) => break,
            Ok(other) => panic!("{other:?}"),
            // Whatever was under way is forgotten, as if another daemon went on.
            Err(_) => server.ask::<()>(&["DEL", "stated:night:lock"]).await,
        }
    }
    let mut heard: Vec<_> = auth.into_values().flatten().map(|(_, id, _)| id).collect();
    heard.sort();
    assert_eq!(heard, ids);
    for keys in ["realTimeData:*", "sessionIdIndex:*"] {
        assert_eq!(server.ask::<Vec<String>>(&["KEYS", keys]).await, [""; 0]);
    }
    daemon.close().await;
}
