//! Rooms' sets in Redis: kept in the flights that requests make anyway, and never in their way.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use stated::config::{Secret, StoreUrl};
use stated::domain::RoomId;
use stated::store::StateStore;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::battery::{session, user};
use crate::servers::eventually;
use crate::servers::redis::{RedisCluster, RedisServer, store_at};
use crate::stores::Opened;

/// What passes between a store and Redis: `Some` is what the store sent, `None` a reply.
type Passed = Arc<Mutex<Vec<Option<String>>>>;

/// Stands between a store and Redis, and writes down what passes.
async fn listen_in(server: &RedisServer) -> (SocketAddr, Passed) {
    let passed = Passed::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, port, noted) = (listener.local_addr().unwrap(), server.port, passed.clone());
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((store, _)) = listener.accept().await {
            let redis = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let ((from_store, to_store), (from_redis, to_redis)) =
                (store.into_split(), redis.into_split());
            let (sent, replied) = (noted.clone(), noted.clone());
            tasks.spawn(pass(from_store, to_redis, move |bytes| {
                sent.lock().unwrap().push(Some(String::from_utf8_lossy(bytes).into_owned()));
            }));
            tasks.spawn(pass(from_redis, to_store, move |_| replied.lock().unwrap().push(None)));
        }
    });
    (address, passed)
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    note: impl Fn(&[u8]),
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        note(&bytes[..count]);
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// How often the store sent something about users and sessions of the test and then waited, until
/// it began to empty seats, which nobody waits for.
fn flights(passed: &Passed) -> usize {
    let passed = std::mem::take(&mut *passed.lock().unwrap());
    let of_requests =
        passed.iter().take_while(|sent| !sent.as_deref().is_some_and(|sent| sent.contains("SREM")));
    let (mut flights, mut is_waiting) = (0, true);
    for sent in of_requests {
        let Some(sent) = sent else {
            is_waiting = true;
            continue;
        };
        if sent.contains("mina") {
            flights += usize::from(std::mem::replace(&mut is_waiting, false));
        }
    }
    flights
}

#[tokio::test]
async fn a_request_waits_for_redis_no_more_often_than_without_rooms() {
    let server = RedisServer::start().await;
    let (address, passed) = listen_in(&server).await;
    let url = Secret::new(format!("redis://{address}/"));
    let opened = Opened::open(&store_at(StoreUrl::Redis(url)));
    let store = &opened.store;
    let open = async |room: i64, with: &str| {
        flights(&passed);
        store.open_session(&user("mina"), Some(RoomId(room)), &session(with)).await.unwrap();
        let flights = flights(&passed);
        // What is done behind the answer is through before the next.
        store.rooms(None, 1).await.unwrap();
        flights
    };
    let close = async |with: &str| {
        flights(&passed);
        store.close_session(&session(with)).await.unwrap();
        let flights = flights(&passed);
        store.rooms(None, 1).await.unwrap();
        flights
    };
    assert_eq!(open(7, "mina-1").await, 1, "opened");
    assert_eq!(open(8, "mina-1").await, 1, "moved");
    assert_eq!(open(8, "mina-2").await, 2, "replaced: its index is removed");
    assert_eq!(close("mina-2").await, 1, "closed: its user is known here");
    assert_eq!(close("mina-1").await, 1, "closed before");
    assert_eq!(open(7, "mina-2").await, 1, "opened again");
    opened.close().await;
}

#[tokio::test]
async fn a_set_that_takes_nobody_in_fails_no_request() {
    let server = RedisServer::start().await;
    let opened = Opened::open(&server.store());
    let store = &opened.store;
    server.ask::<()>(&["SET", "chat:room:7:sessions", "somebody's own"]).await;
    let record = store.open_session(&user("u1"), Some(RoomId(7)), &session("s1")).await.unwrap();
    assert_eq!(record.room, Some(RoomId(7)));
    assert_eq!(store.upkeep().entries_refused.load(Ordering::Relaxed), 1);
    assert_eq!(store.rooms(None, 10).await.unwrap().items, []);
    let error = store.room_members(RoomId(7), None, 10).await.unwrap_err().to_string();
    assert!(error.contains("no set"), "{error}");
    assert!(store.close_session(&session("s1")).await.unwrap().is_some());
    assert_eq!(store.session(&session("s1")).await.unwrap(), None);
    let text: String = server.ask(&["GET", "chat:room:7:sessions"]).await;
    assert_eq!(text, "somebody's own");
    opened.close().await;
}

#[tokio::test]
async fn a_session_that_can_not_be_taken_out_is_counted() {
    let server = RedisServer::start().await;
    let opened = Opened::open(&server.store());
    let store = &opened.store;
    store.open_session(&user("u1"), Some(RoomId(7)), &session("s1")).await.unwrap();
    // Redis forbids this command and no other.
    server.ask::<()>(&["ACL", "SETUSER", "default", "-srem"]).await;
    assert!(store.close_session(&session("s1")).await.unwrap().is_some());
    eventually("it is counted", || async {
        (store.upkeep().exits_given_up.load(Ordering::Relaxed) == 1).then_some(())
    })
    .await;
    // Not there, whatever the set says.
    assert_eq!(store.room_members(RoomId(7), None, 10).await.unwrap().items, []);
    opened.close().await;
}

#[tokio::test]
async fn a_page_of_rooms_that_another_redis_process_gave_out_makes_nobody_miss_a_room() {
    let mut server = RedisServer::start().await;
    let opened = Opened::open(&server.store());
    let store = &opened.store;
    let seat = "for i = 1, 2000 do redis.call('SADD', 'chat:room:' .. i .. ':sessions', 's') end";
    server.ask::<()>(&["EVAL", seat, "0"]).await;
    let mut rooms = std::collections::BTreeSet::new();
    let mut page = store.rooms(None, 100).await.unwrap();
    rooms.extend(page.items.iter().map(|room| room.room.0));
    // It places its keys by another secret.
    server.stop();
    server.start_again().await;
    while let Some(next) = page.next {
        page = store.rooms(Some(next), 100).await.unwrap();
        rooms.extend(page.items.iter().map(|room| room.room.0));
    }
    assert_eq!(rooms, (1..=2000).collect());
    opened.close().await;
}

#[tokio::test]
async fn a_session_that_passes_to_another_user_is_counted_where_it_is() {
    let server = RedisServer::start().await;
    let opened = Opened::open(&server.store());
    let store = &opened.store;
    let count = async |room: i64| store.room(RoomId(room)).await.unwrap().sessions;
    store.open_session(&user("u1"), Some(RoomId(7)), &session("s1")).await.unwrap();
    store.open_session(&user("u2"), Some(RoomId(8)), &session("s1")).await.unwrap();
    assert_eq!((count(7).await, count(8).await), (0, 1));
    // In the same room it stays.
    store.open_session(&user("u3"), Some(RoomId(8)), &session("s1")).await.unwrap();
    assert_eq!(count(8).await, 1);
    opened.close().await;
}

#[tokio::test]
async fn every_daemon_keeps_the_same_sets() {
    let server = RedisServer::start().await;
    let [one, other] = [Opened::open(&server.store()), Opened::open(&server.store())];
    let room = |id: i64| Some(RoomId(id));
    one.store.open_session(&user("u1"), room(7), &session("s1")).await.unwrap();
    other.store.open_session(&user("u2"), room(7), &session("s2")).await.unwrap();
    other.store.open_session(&user("u1"), room(8), &session("s3")).await.unwrap();
    one.store.close_session(&session("s2")).await.unwrap();
    eventually("room 7 is empty", || async {
        let exists: i64 = server.ask(&["EXISTS", "chat:room:7:sessions"]).await;
        (exists == 0).then_some(())
    })
    .await;
    let members: Vec<String> = server.ask(&["SMEMBERS", "chat:room:8:sessions"]).await;
    assert_eq!(members, ["s3"]);
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn what_was_left_is_taken_out_before_the_store_is_closed() {
    let server = RedisServer::start().await;
    let opened = Opened::open(&server.store());
    for number in 0..50 {
        let (of, with) = (user(&format!("u{number}")), session(&format!("s{number}")));
        opened.store.open_session(&of, Some(RoomId(7)), &with).await.unwrap();
        opened.store.close_session(&with).await.unwrap();
    }
    opened.close().await;
    assert_eq!(server.ask::<i64>(&["EXISTS", "chat:room:7:sessions"]).await, 0);
}

#[tokio::test]
async fn a_room_whose_master_is_away_keeps_nobody_from_opening_a_session() {
    let mut cluster = RedisCluster::start(0).await;
    for node in &cluster.nodes {
        node.ask::<()>(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await;
    }
    let opened = Opened::open(&cluster.store());
    let store = &opened.store;
    store.open_session(&user("u0"), None, &session("s0")).await.unwrap();
    // Whatever belongs to no room lies on other masters than the one that goes.
    let gone = cluster.master_of("chat:room:7:sessions").await.port;
    let night = cluster.master_of("stated:night").await.port;
    let room = if night == gone { room_elsewhere(&cluster, night).await } else { 7 };
    let gone = cluster.master_of(&format!("chat:room:{room}:sessions")).await.port;
    let (id, with) = (
        key_elsewhere(&cluster, "realTimeData:u", gone).await,
        key_elsewhere(&cluster, "sessionIdIndex:s", gone).await,
    );
    let (id, with) = (user(&format!("u{id}")), session(&format!("s{with}")));
    cluster.nodes.iter_mut().find(|node| node.port == gone).unwrap().stop();
    let record = eventually("the session is opened", || async {
        store.open_session(&id, Some(RoomId(room)), &with).await.ok()
    })
    .await;
    assert_eq!(record.room, Some(RoomId(room)));
    assert!(store.upkeep().entries_refused.load(Ordering::Relaxed) > 0);
    assert_eq!(store.session(&with).await.unwrap(), Some(record));
    assert!(store.close_session(&with).await.unwrap().is_some());
}

async fn room_elsewhere(cluster: &RedisCluster, than: u16) -> i64 {
    for room in 0.. {
        if cluster.master_of(&format!("chat:room:{room}:sessions")).await.port != than {
            return room;
        }
    }
    unreachable!("rooms lie everywhere")
}

/// A number that makes a key of another master of it.
async fn key_elsewhere(cluster: &RedisCluster, prefix: &str, than: u16) -> u32 {
    for number in 0.. {
        if cluster.master_of(&format!("{prefix}{number}")).await.port != than {
            return number;
        }
    }
    unreachable!("keys lie everywhere")
}
