//! What a crash between two keys leaves in Redis is found, mended and counted; the rest is left
//! alone.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stated::domain::RoomId;
use stated::store::StateStore;
use stated::store::lookup::Population;
use stated::store::redis::RedisStore;
use stated::store::redis::scrub::Step;

use crate::battery::{session, user};
use crate::servers::eventually;
use crate::servers::redis::{RedisCluster, RedisServer};
use crate::stores::Opened;

/// Looks everything through, a few keys at a time.
async fn scrub(store: &RedisStore) -> Population {
    let mut pass = store.begin_pass(Duration::ZERO).await.unwrap().expect("nobody else is at it");
    loop {
        match store.next_step(&mut pass, 5).await.unwrap() {
            Step::More(_) => {}
            Step::Done(counted) => return counted,
            Step::Void => panic!("nothing changed meanwhile"),
        }
    }
}

/// How many were mended of each kind.
fn mended(store: &RedisStore) -> [u64; 3] {
    let counts: Vec<_> = store.upkeep().mended().map(|(_, count)| count).collect();
    counts.try_into().unwrap()
}

fn left_alone(store: &RedisStore) -> u64 {
    store.upkeep().left_alone.load(Ordering::Relaxed)
}

async fn members(server: &RedisServer, room: i64) -> BTreeSet<String> {
    let key = format!("chat:room:{room}:sessions");
    server.ask::<Vec<String>>(&["SMEMBERS", &key]).await.into_iter().collect()
}

async fn open(store: &RedisStore, id: &str, room: Option<i64>, with: &str) {
    store.open_session(&user(id), room.map(RoomId), &session(with)).await.unwrap();
}

fn set<const N: usize>(ids: [&str; N]) -> BTreeSet<String> {
    ids.map(str::to_owned).into()
}

#[tokio::test]
async fn a_store_in_order_is_counted_and_left_as_it_is() {
    let server = RedisServer::start().await;
    let opened = Opened::open(&server.store());
    let store = &opened.store;
    assert_eq!(store.population().await.unwrap(), None);
    for number in 0..40 {
        let room = (number % 4 != 3).then_some(number % 4);
        open(store, &format!("u{number}"), room, &format!("s{number}")).await;
    }
    store.record_study_time(&user("v"), &crate::battery::time("00:10")).await.unwrap();
    store.close_session(&session("s0")).await.unwrap();
    store.rooms(None, 1).await.unwrap();
    let counted = scrub(store).await;
    assert_eq!((counted.users, counted.sessions_live, counted.rooms), (41, 39, 3));
    assert_eq!((mended(store), left_alone(store)), ([0, 0, 0], 0));
    // Every daemon reads what one of them has counted.
    let other = Opened::open(&server.store());
    assert_eq!(other.store.population().await.unwrap(), Some(counted));
    opened.close().await;
    other.close().await;
}

#[tokio::test]
async fn what_a_crash_between_two_keys_leaves_is_mended() {
    let server = RedisServer::start().await;
    let opened = Opened::open(&server.store());
    let store = &opened.store;
    open(store, "u1", Some(7), "s1").await;
    open(store, "u2", Some(7), "s2").await;
    open(store, "u3", None, "s3").await;
    open(store, "u4", Some(8), "s4").await;
    store.close_session(&session("s4")).await.unwrap();
    store.rooms(None, 1).await.unwrap();
    // Died before the session was in its room.
    server.ask::<()>(&["SREM", "chat:room:7:sessions", "s1"]).await;
    // Died before it was out: of a session that is over, moved on, in no room, or never was.
    server.ask::<()>(&["SADD", "chat:room:8:sessions", "s4", "s2", "s3", "s9", "가\"\n"]).await;
    // Died before the index was gone: of a session that was replaced, and of a user without record.
    server.ask::<()>(&["SET", "sessionIdIndex:s0", "u1"]).await;
    server.ask::<()>(&["SET", "sessionIdIndex:s8", "u8"]).await;
    let counted = scrub(store).await;
    assert_eq!((counted.users, counted.sessions_live, counted.rooms), (4, 3, 1));
    assert_eq!((mended(store), left_alone(store)), ([5, 1, 2], 0));
    assert_eq!(members(&server, 7).await, set(["s1", "s2"]));
    let keys: Vec<String> = server.ask(&["KEYS", "chat:room:8:*"]).await;
    assert!(keys.is_empty(), "{keys:?}");
    let indexes: BTreeSet<String> =
        server.ask::<Vec<String>>(&["KEYS", "sessionIdIndex:*"]).await.into_iter().collect();
    assert_eq!(indexes, set(["sessionIdIndex:s1", "sessionIdIndex:s2", "sessionIdIndex:s3"]));
    scrub(store).await;
    assert_eq!(mended(store), [5, 1, 2]);
    opened.close().await;
}

#[tokio::test]
async fn what_is_somebody_elses_is_left_alone_and_counted() {
    let server = RedisServer::start().await;
    let opened = Opened::open(&server.store());
    let store = &opened.store;
    open(store, "u1", Some(7), "s1").await;
    let long = "x".repeat(257);
    for command in [
        // No sets, no text, no record, no id.
        ["SET", "chat:room:8:sessions", "theirs"].as_slice(),
        &["SET", "chat:room:08:sessions", "not even a room's"],
        &["RPUSH", "sessionIdIndex:s5", "theirs"],
        &["HSET", "realTimeData:u5", "data", "no record"],
        &["SET", "sessionIdIndex:s6", "u5"],
        &["SET", "realTimeData:u7", "theirs"],
        &["SADD", "chat:room:7:sessions", &long],
        // Another program's way of writing texts.
        &["SADD", "chat:room:7:sessions", "\"s1\""],
        &["SET", "other:key", "theirs"],
    ] {
        server.ask::<redis::Value>(command).await;
    }
    let before: BTreeSet<String> =
        server.ask::<Vec<String>>(&["KEYS", "*"]).await.into_iter().collect();
    let counted = scrub(store).await;
    assert_eq!((counted.sessions_live, counted.rooms), (1, 1));
    assert_eq!((mended(store), left_alone(store)), ([0, 0, 0], 7));
    assert_eq!(members(&server, 7).await, set(["s1", "\"s1\"", &long]));
    let mut after: BTreeSet<String> =
        server.ask::<Vec<String>>(&["KEYS", "*"]).await.into_iter().collect();
    assert!(after.remove("stated:population"));
    assert_eq!(after, before);
    opened.close().await;
}

#[tokio::test]
async fn a_quoted_id_of_nobody_is_no_reason_to_keep_it() {
    let server = RedisServer::start().await;
    let opened = Opened::open(&server.store());
    server.ask::<()>(&["SADD", "chat:room:7:sessions", "\"s1\""]).await;
    scrub(&opened.store).await;
    assert_eq!(mended(&opened.store), [1, 0, 0]);
    assert_eq!(members(&server, 7).await, set([]));
    opened.close().await;
}

#[tokio::test]
async fn a_large_room_is_looked_at_in_parts() {
    let server = RedisServer::start().await;
    let opened = Opened::open(&server.store());
    open(&opened.store, "u1", Some(7), "s1").await;
    let stale: Vec<_> = (0..1000).map(|number| format!("stale-{number}")).collect();
    let mut command = vec!["SADD", "chat:room:7:sessions"];
    command.extend(stale.iter().map(String::as_str));
    server.ask::<()>(&command).await;
    let store = &opened.store;
    let mut pass = store.begin_pass(Duration::ZERO).await.unwrap().unwrap();
    let mut most = 0;
    while let Step::More(looked_at) = store.next_step(&mut pass, 400).await.unwrap() {
        most = most.max(looked_at);
    }
    assert!(most < 1000, "{most} in one step");
    assert_eq!(mended(store), [1000, 0, 0]);
    assert_eq!(members(&server, 7).await, set(["s1"]));
    opened.close().await;
}

#[tokio::test]
async fn one_daemon_at_a_time_looks_through_the_store_and_only_when_it_is_due() {
    let server = RedisServer::start().await;
    let [one, other] = [Opened::open(&server.store()), Opened::open(&server.store())];
    let mut pass = one.store.begin_pass(Duration::ZERO).await.unwrap().unwrap();
    assert!(other.store.begin_pass(Duration::ZERO).await.unwrap().is_none());
    // One dies, and the other has the right by the time it comes back.
    server.ask::<()>(&["DEL", "stated:scrub:lock"]).await;
    let mut others = other.store.begin_pass(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(one.store.next_step(&mut pass, 100).await.unwrap(), Step::Void);
    while let Step::More(_) = other.store.next_step(&mut others, 100).await.unwrap() {}
    let hour = Duration::from_secs(3600);
    assert!(one.store.begin_pass(hour).await.unwrap().is_none());
    assert!(one.store.upkeep().counted().is_some());
    assert!(one.store.begin_pass(Duration::ZERO).await.unwrap().is_some());
    one.store.end_pass().await.unwrap();
    assert!(other.store.begin_pass(Duration::ZERO).await.unwrap().is_some());
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_daemon_whose_clock_was_far_ahead_keeps_nobody_from_looking() {
    let server = RedisServer::start().await;
    let opened = Opened::open(&server.store());
    let store = &opened.store;
    let counted = scrub(store).await;
    let hour = Duration::from_secs(3600);
    let ahead_by = async |ahead: Duration| {
        let as_of = u128::from(counted.as_of.0) + ahead.as_millis();
        server.ask::<i64>(&["HSET", "stated:population", "as_of", &as_of.to_string()]).await;
        store.begin_pass(hour).await.unwrap().is_some()
    };
    assert!(!ahead_by(hour / 2).await, "clocks differ by a little");
    assert!(ahead_by(hour * 24).await);
    opened.close().await;
}

#[tokio::test]
async fn scrubbing_takes_nobody_out_who_comes_and_goes_meanwhile() {
    let server = RedisServer::start().await;
    let [one, other] = [Opened::open(&server.store()), Opened::open(&server.store())];
    let busy = async {
        for turn in 0..60 {
            for number in 0..10 {
                let (id, with) = (format!("u{number}"), format!("s{number}"));
                open(&one.store, &id, Some((turn + number) % 3), &with).await;
                if (turn + number) % 4 == 0 {
                    one.store.close_session(&session(&with)).await.unwrap();
                }
            }
        }
        for number in 0..10 {
            open(&one.store, &format!("u{number}"), Some(5), &format!("s{number}")).await;
        }
        one.store.rooms(None, 1).await.unwrap();
    };
    let scrubs = async {
        for _ in 0..10 {
            scrub(&other.store).await;
        }
    };
    tokio::join!(busy, scrubs);
    let counted = scrub(&other.store).await;
    assert_eq!((counted.sessions_live, counted.rooms), (10, 1));
    assert_eq!(members(&server, 5).await.len(), 10);
    assert_eq!(one.store.room(RoomId(5)).await.unwrap().sessions, 10);
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_cluster_is_looked_through_on_every_master() {
    let cluster = RedisCluster::start(0).await;
    let opened = Opened::open(&cluster.store());
    let store = &opened.store;
    for number in 0..30 {
        open(store, &format!("u{number}"), Some(number), &format!("s{number}")).await;
    }
    for number in 0..30 {
        let key = format!("chat:room:{number}:sessions");
        let master = cluster.master_of(&key).await;
        master.ask::<()>(&["SADD", &key, "stale"]).await;
    }
    let counted = eventually("the slots are settled", || async {
        match store.begin_pass(Duration::ZERO).await {
            Ok(Some(mut pass)) => loop {
                match store.next_step(&mut pass, 100).await {
                    Ok(Step::More(_)) => {}
                    Ok(Step::Done(counted)) => return Some(counted),
                    Ok(Step::Void) | Err(_) => return None,
                }
            },
            Ok(None) | Err(_) => None,
        }
    })
    .await;
    assert_eq!((counted.users, counted.sessions_live, counted.rooms), (30, 30, 30));
    assert_eq!(mended(store), [30, 0, 0]);
    opened.close().await;
}
