//! Handing closed days to auth while Redis is slow, or holds what somebody else has put there.

use std::net::SocketAddr;
use std::time::Duration;

use stated::config::{Secret, StoreUrl};
use stated::store::{BatchLimits, KeepOnline, NextBatch, StateStore};

use crate::battery::{LAST_TIMEOUT, LIMITS, at, deliver_all, session, time, user};
use crate::faults::proxy::{Flow, Proxy, Way};
use crate::servers::redis::RedisServer;
use crate::stores::Opened;

#[tokio::test]
async fn a_note_of_a_replaced_session_that_names_none_stops_no_night() {
    let server = RedisServer::start().await;
    let daemon = Opened::open(&server.store());
    for id in ["u1", "u2"] {
        daemon.store.open_session(&user(id), None, &session(id)).await.unwrap();
        let key = format!("realTimeData:{id}");
        for note in ["replaced:nobody", "replaced:\"no\\id\""] {
            server.ask::<()>(&["HSET", &key, note, "1"]).await;
        }
    }
    // Nor does it stop the user.
    daemon.store.open_session(&user("u1"), None, &session("s2")).await.unwrap();
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    deliver_all(&daemon.store, KeepOnline::No).await;
    assert!(daemon.store.night().await.unwrap().undelivered.is_empty());
    assert_eq!(server.ask::<Vec<String>>(&["KEYS", "sessionIdIndex:*"]).await, [""; 0]);
    daemon.close().await;
}

#[tokio::test]
async fn a_redis_that_takes_long_to_answer_delivers_with_a_right_that_lasts() {
    let server = RedisServer::start().await;
    let proxy = Proxy::before(SocketAddr::from(([127, 0, 0, 1], server.port)));
    let mut config = server.store();
    config.url = StoreUrl::Redis(Secret::new(format!("redis://{}/", proxy.address)));
    let daemon = Opened::open(&config);
    for id in ["u1", "u2"] {
        daemon.store.record_study_time(&user(id), &time("1")).await.unwrap();
    }
    daemon.store.close_day(&[], at(0), LAST_TIMEOUT).await.unwrap();
    let limits = BatchLimits { users_max: 1, call_max: Duration::from_secs(1), ..LIMITS };
    let first = daemon.store.next_batch(limits).await.unwrap();
    let NextBatch::Send(first) = first else { panic!("{first:?}") };
    daemon.store.acknowledge_batch(&first, KeepOnline::Yes).await.unwrap();
    proxy.flow(Way::ToClient, Flow::Delayed(Duration::from_millis(350)));
    let second = daemon.store.next_batch(limits).await.unwrap();
    let left: u64 = server.ask(&["PTTL", "stated:night:lock"]).await;
    assert!(matches!(second, NextBatch::Send(_)), "{second:?}");
    assert!(left > 2500, "{left} ms");
    proxy.heal();
    daemon.close().await;
}
