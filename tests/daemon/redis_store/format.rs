//! Which versions of the daemon work with what is stored in Redis.

use std::time::Duration;

use stated::store::{Error, KeepOnline, NextBatch, StateStore};

use super::data;
use crate::admin::{observed, wait_for_status};
use crate::battery::{LAST_TIMEOUT, LIMITS, at, deliver_all, session, time, user};
use crate::harness::{Setup, wait_until};
use crate::place::{Place, wait_for};
use crate::requests::{enter, last, leave, subscribe, unsubscribe};
use crate::servers::eventually;
use crate::servers::redis::{RedisCluster, RedisServer};
use crate::stores::Opened;

const NIGHT: &str = "stated:night";

async fn wait_for_mark(server: &RedisServer) {
    eventually("the mark", || async {
        let mark: Option<String> = server.ask(&["HGET", NIGHT, "format"]).await;
        (mark.as_deref() == Some("1")).then_some(())
    })
    .await;
}

/// Every key with its value, as Redis would move it elsewhere.
async fn contents(server: &RedisServer) -> Vec<(String, Vec<u8>)> {
    let mut keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    keys.sort();
    let mut contents = Vec::new();
    for key in keys {
        let value = server.ask(&["DUMP", &key]).await;
        contents.push((key, value));
    }
    contents
}

/// What a fleet leaves behind in the middle of a night.
async fn plant(server: &RedisServer) {
    let daemon = Opened::open(&server.store());
    for (id, session_id) in [("u1", "s1"), ("u2", "s2")] {
        daemon.store.open_session(&user(id), None, &session(session_id)).await.unwrap();
        daemon.store.record_study_time(&user(id), &time("01:00")).await.unwrap();
    }
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    let next = daemon.store.next_batch(LIMITS).await.unwrap();
    assert!(matches!(next, NextBatch::Send(_)), "{next:?}");
    daemon.close().await;
}

#[tokio::test]
async fn a_store_is_marked_when_it_is_first_used_and_again_after_redis_lost_it() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    wait_for_mark(&server).await;
    server.ask::<()>(&["FLUSHALL"]).await;
    wait_for_mark(&server).await;
    daemon.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
    daemon.close().await;
}

#[tokio::test]
async fn a_cluster_is_marked_too() {
    let cluster = RedisCluster::start(0).await;
    let daemon = Opened::open(&cluster.store());
    daemon.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
    eventually("the mark", || async {
        for node in &cluster.nodes {
            let keys: Vec<String> = node.ask(&["KEYS", NIGHT]).await;
            if !keys.is_empty() {
                return node.ask::<Option<String>>(&["HGET", NIGHT, "format"]).await;
            }
        }
        None
    })
    .await;
    daemon.close().await;
}

#[tokio::test]
async fn what_was_stored_before_there_were_marks_is_worked_with() {
    let server = RedisServer::start().await;
    plant(&server).await;
    for field in ["format", "past:1", "counted"] {
        server.ask::<()>(&["HDEL", NIGHT, field]).await;
    }
    let daemon = Opened::open(&server.store());
    let heard = deliver_all(&daemon.store, KeepOnline::Yes).await;
    assert_eq!(heard.concat().len(), 2);
    assert_eq!(daemon.store.night_history(9).await.unwrap(), [], "nobody had noted who closed it");
    assert_eq!(daemon.store.close_day_by_hand(at(1)).await.unwrap().0, 2);
    wait_for_mark(&server).await;
    daemon.close().await;
}

#[tokio::test]
async fn a_newer_store_is_refused_by_name_and_nothing_in_it_is_written() {
    let server = RedisServer::start().await;
    plant(&server).await;
    server.ask::<()>(&["HSET", NIGHT, "format", "2"]).await;
    // An index that this version can't make sense of is not its to remove.
    server.ask::<()>(&["SET", "sessionIdIndex:s3", ""]).await;
    let before = contents(&server).await;
    let daemon = Opened::open(&server.store());
    let (store, u1) = (&daemon.store, user("u1"));
    let failures = [
        store.open_session(&u1, None, &session("s9")).await.map(drop),
        store.close_session(&session("s1")).await.map(drop),
        store.close_session(&session("s3")).await.map(drop),
        store.close_session(&session("nobody's")).await.map(drop),
        store.study_time(&u1).await.map(drop),
        store.record_study_time(&u1, &time("02:00")).await.map(drop),
        store.list_study_times(&[], at(1), LAST_TIMEOUT).await.map(drop),
        store.close_day(&[], at(1), LAST_TIMEOUT).await.map(drop),
        store.close_day_by_hand(at(1)).await.map(drop),
        store.close_overdue_day(at(9999), LAST_TIMEOUT).await.map(drop),
        store.next_batch(LIMITS).await.map(drop),
        store.night().await.map(drop),
        store.night_history(9).await.map(drop),
        store.night_plan(None, 9).await.map(drop),
        store.prove_writable().await.map(drop),
        store.begin_pass(Duration::ZERO).await.map(drop),
    ];
    for (at, failure) in failures.into_iter().enumerate() {
        let Err(Error::Failed(why)) = failure else { panic!("operation {at}: {failure:?}") };
        assert!(why.contains("in format 2; this one knows up to format 1"), "{at}: {why}");
    }
    daemon.close().await;
    assert_eq!(contents(&server).await, before);
}

#[tokio::test]
async fn a_running_daemon_stops_working_when_a_newer_one_takes_the_store_over() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    let u1 = user("u1");
    daemon.store.record_study_time(&u1, &time("01:00")).await.unwrap();
    wait_for_mark(&server).await;
    server.ask::<()>(&["HSET", NIGHT, "format", "2"]).await;
    eventually("it is refused", || async { daemon.store.study_time(&u1).await.err() }).await;
    let stored = data(&server, "u1").await;
    assert!(daemon.store.record_study_time(&u1, &time("02:00")).await.is_err());
    assert_eq!(data(&server, "u1").await, stored);
    server.ask::<()>(&["HSET", NIGHT, "format", "1"]).await;
    eventually("it goes on", || async { daemon.store.study_time(&u1).await.ok() }).await;
    daemon.close().await;
}

#[test]
fn peers_and_operators_are_told_that_a_newer_version_is_needed() {
    let server = wait_for(RedisServer::start());
    wait_for(server.ask::<()>(&["HSET", NIGHT, "format", "2"]));
    let daemon = observed(Setup::new().keeps(&Place::at(server.url().expose()))).start();
    // Before the first look the daemon is unready and does not know why.
    wait_until("operators are told", || {
        wait_for_status(&daemon, "/readyz", 503).to_string().contains("start the newer one")
    });
    let mut peer = daemon.connect();
    let requests =
        [subscribe("u1", 1, "s1"), unsubscribe("s1"), enter("u1"), leave("u1", "1"), last(&[])];
    for request in requests {
        let error = peer.refused(&request, "CHAT-031");
        assert!(error.to_string().contains("knows up to format 1"), "{request}: {error}");
    }
    assert_eq!(wait_for(server.ask::<Vec<String>>(&["KEYS", "*"])), [NIGHT]);
}
