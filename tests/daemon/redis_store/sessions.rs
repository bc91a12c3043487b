//! Sessions that open and close while Redis refuses a part of it, or wants no two keys at once.

use std::time::Duration;

use stated::config;
use stated::domain::RoomId;
use stated::store::{KeepOnline, StateStore};

use crate::battery::{LAST_TIMEOUT, at, deliver_all, listed, record, session, time, user};
use crate::servers::eventually;
use crate::servers::redis::{RedisCluster, RedisServer};
use crate::stores::Opened;

#[tokio::test]
async fn a_close_that_fails_brings_no_session_back_that_is_over() {
    let cluster = RedisCluster::start(0).await;
    let mut config = cluster.store();
    let tell = async |words: &[&str]| {
        for node in &cluster.nodes {
            node.ask::<()>(&[&["ACL", "SETUSER", "default"], words].concat()).await;
        }
    };
    config.redis.command_timeout = Duration::from_secs(10);
    let daemon = Opened::open(&config);
    let u1 = user("u1");
    for with in [session("s1"), session("s2")] {
        let open = || async { daemon.store.open_session(&u1, None, &with).await.ok() };
        eventually("it is connected", open).await;
    }
    // As another daemon leaves it that is just opening another session.
    cluster
        .master_of("sessionIdIndex:s1")
        .await
        .ask::<()>(&["SET", "sessionIdIndex:s1", "u1"])
        .await;
    tell(&["-hgetall"]).await;
    for with in ["s1", "s2"] {
        daemon.store.close_session(&session(with)).await.unwrap_err();
    }
    tell(&["+hgetall"]).await;
    let left =
        async |index: &str| cluster.master_of(index).await.ask::<i64>(&["EXISTS", index]).await;
    assert_eq!((left("sessionIdIndex:s1").await, left("sessionIdIndex:s2").await), (0, 1));
    let closed = daemon.store.close_session(&session("s2")).await.unwrap();
    assert_eq!(closed, Some(record("u1", None, Some("s2"), None)));
    daemon.close().await;
}

#[tokio::test]
async fn a_close_that_fails_leaves_the_session_to_whom_it_goes_and_ends_it_for_no_other() {
    let server = RedisServer::start().await;
    server.ask::<()>(&["ACL", "SETUSER", "guest", "on", ">secret", "~*", "+@all", "-hset"]).await;
    let mut config = server.store();
    let url = format!("redis://guest:secret@127.0.0.1:{}/", server.port);
    let others = Opened::open(&config);
    config.url = config::StoreUrl::Redis(config::Secret::new(url));
    let daemon = Opened::open(&config);
    let (s1, u2) = (session("s1"), user("u2"));
    others.store.open_session(&user("u1"), None, &s1).await.unwrap();
    for _ in 0..20 {
        let (refused, moved) =
            tokio::join!(async { daemon.store.close_session(&s1).await }, async {
                others.store.open_session(&u2, None, &s1).await.unwrap();
                others.store.close_session(&s1).await.unwrap()
            });
        assert!(!matches!(refused, Ok(Some(_))), "{refused:?}");
        assert_eq!(moved, Some(record("u2", None, Some("s1"), None)));
        assert_eq!(others.store.close_session(&s1).await.unwrap(), None, "it is over");
        others.store.open_session(&user("u1"), None, &s1).await.unwrap();
    }
    daemon.close().await;
    others.close().await;
}

#[tokio::test]
async fn a_server_with_slots_that_is_called_as_one_without_is_served_too() {
    let server = RedisServer::start_with_slots().await;
    let daemon = Opened::open(&server.store());
    let open = || async {
        let (user, with) = (user("u1"), session("s1"));
        daemon.store.open_session(&user, Some(RoomId(7)), &with).await.ok()
    };
    eventually("it is served", open).await;
    let entries: Vec<_> = (0..30).map(|id| listed(&format!("u{id}"), Some("1"))).collect();
    daemon.store.list_study_times(&entries, at(0), LAST_TIMEOUT).await.unwrap();
    let closed = daemon.store.close_session(&session("s1")).await.unwrap();
    assert_eq!(closed, Some(record("u1", Some(7), Some("s1"), Some("1"))));
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    deliver_all(&daemon.store, KeepOnline::Yes).await;
    let studied = daemon.store.record_study_time(&user("u1"), &time("2")).await.unwrap();
    assert_eq!(studied, record("u1", None, None, Some("2")));
    daemon.close().await;
}
