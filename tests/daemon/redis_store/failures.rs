//! Connections that break, servers that stop, hang, fail over or move.

use std::time::Duration;

use redis::Value;
use stated::config::{self};
use stated::store::{BatchLimits, Error, KeepOnline, NextBatch, StateStore};
use tokio::task::JoinSet;

use crate::battery::{LAST_TIMEOUT, LIMITS, at, record, session, time, told, user};
use crate::servers::eventually;
use crate::servers::redis::{RedisCluster, RedisSentinel, RedisServer};
use crate::stores::Opened;

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
async fn what_redis_may_have_done_before_it_went_is_not_told_as_not_done() {
    let mut server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    daemon.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
    server.pause();
    let (u1, later) = (user("u1"), time("02:00"));
    let recorded = daemon.store.record_study_time(&u1, &later);
    let stop = async {
        // The call is on its way by then.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        server.stop();
    };
    let (recorded, ()) = tokio::join!(recorded, stop);
    assert!(matches!(recorded, Err(Error::Failed(_))), "{recorded:?}");
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
async fn a_master_that_hangs_is_replaced_and_not_believed_when_it_goes_on() {
    let sentinel = RedisSentinel::start().await;
    let daemon = Opened::open(&sentinel.store());
    daemon.store.record_study_time(&user("u1"), &time("01:00")).await.unwrap();
    sentinel.master.replicated().await;
    sentinel.master.pause();
    eventually("there is a new master", || async {
        daemon.store.record_study_time(&user("u1"), &time("02:00")).await.ok()
    })
    .await;
    sentinel.master.resume();
    for _ in 0..100 {
        assert_eq!(daemon.store.study_time(&user("u1")).await.unwrap(), Some(time("02:00")));
    }
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

#[tokio::test]
async fn a_slot_that_moves_during_a_delivery_hides_nobody() {
    let cluster = RedisCluster::start(0).await;
    let daemon = Opened::open(&cluster.store());
    let ids: Vec<_> = (0..30).map(|at| format!("u{at:02}")).collect();
    for id in &ids {
        daemon.store.record_study_time(&user(id), &time("01:00")).await.unwrap();
    }
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    let limits = BatchLimits { users_max: 1, ..LIMITS };
    let mut heard = Vec::new();
    let NextBatch::Send(batch) = daemon.store.next_batch(limits).await.unwrap() else { panic!() };
    heard.extend(told(&batch));
    daemon.store.acknowledge_batch(&batch, KeepOnline::Yes).await.unwrap();

    // Servers are looked at in the order of their addresses: from the last to the first.
    let (mut key, mut ports) = (None, Vec::new());
    for id in &ids {
        let of_user = format!("realTimeData:{id}");
        let port = cluster.master_of(&of_user).await.port;
        ports.push(port);
        key = key.max(Some((port.to_string(), of_user)));
    }
    let (_, key) = key.unwrap();
    let first = ports.iter().min_by_key(|port| port.to_string()).unwrap();
    let to = cluster.nodes.iter().find(|node| node.port == *first).unwrap();
    let moving = cluster.begin_move(&key, to).await;
    let begun = daemon.store.next_batch(LIMITS).await;
    match begun {
        Ok(NextBatch::Send(batch)) => {
            heard.extend(told(&batch));
            daemon.store.acknowledge_batch(&batch, KeepOnline::Yes).await.unwrap();
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => assert!(matches!(error, Error::Away(_)), "{error}"),
    }
    // As long as the move lasts nothing is told to be delivered.
    let during = daemon.store.next_batch(LIMITS).await;
    assert!(matches!(during, Err(Error::Away(_))), "{during:?}");
    cluster.end_move(moving).await;
    let last =
        eventually("the move is heard of", || async { daemon.store.next_batch(LIMITS).await.ok() });
    let mut next = last.await;
    while let NextBatch::Send(batch) = next {
        heard.extend(told(&batch));
        daemon.store.acknowledge_batch(&batch, KeepOnline::Yes).await.unwrap();
        next = daemon.store.next_batch(LIMITS).await.unwrap();
    }
    assert_eq!(next, NextBatch::Nothing);
    let mut heard: Vec<_> = heard.into_iter().map(|(_, id, _)| id).collect();
    heard.sort();
    assert_eq!(heard, ids);
    daemon.close().await;
}
