//! Room-outs: in which order they are told, what is sent again, and what is dropped and counted.

use std::collections::HashSet;

use tokio::join;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::connection::frame::Framing;
use crate::domain::RoomId;
use crate::upstream::fake::{DeadPeer, LONG, Peer, Talk, config, eventually, far};
use crate::upstream::{RoomGateway, RoomOut, Turn, Turns};

use super::*;

fn gateways(room: config::Gateway) -> config::Gateways {
    config::Gateways {
        signaling: room.clone(),
        auth: room.clone(),
        room,
        room_retry_for: LONG,
        room_queue_max: 10_000,
    }
}

fn gateway(config: &config::Gateways) -> RoomGateway {
    RoomGateway::new(config, None, &TaskTracker::new())
}

async fn start() -> (Peer, RoomGateway) {
    let peer = Peer::new(Framing::Length4).await;
    let gateway = gateway(&gateways(config(peer.address(), Framing::Length4)));
    (peer, gateway)
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn out(id: &str, room: i64) -> RoomOut {
    RoomOut { user: user(id), room: RoomId(room), turn: Turn::alone() }
}

fn message(id: &str, room: i64) -> String {
    format!(r#"{{"server":"state","user_id":"{id}","room_id":{room}}}"#)
}

fn count(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(Relaxed)
}

async fn hear_and_answer(talk: &mut Talk, expected: &str, answer: &str) {
    assert_eq!(talk.hear().await.unwrap(), expected);
    talk.say(answer.as_bytes()).await;
}

#[tokio::test]
async fn room_outs_of_one_user_go_one_after_the_other_and_of_others_beside_them() {
    let (peer, gateway) = start().await;
    for room in 1..=3 {
        gateway.tell(out("u1", room));
    }
    gateway.tell(out("u2", 7));
    let (mut one, mut two) = (peer.accept().await, peer.accept().await);
    let (first, second) = (one.hear().await.unwrap(), two.hear().await.unwrap());
    let heard = HashSet::from([first.clone(), second]);
    assert_eq!(heard, HashSet::from([message("u1", 1), message("u2", 7)]));
    if first != message("u1", 1) {
        std::mem::swap(&mut one, &mut two);
    }
    // The other connection is free, and yet the same user's next one waits.
    two.say(b"").await;
    assert!(two.is_quiet().await && one.is_quiet().await);
    one.say(b"SUCCESS").await;
    let (counters, mut talks) = (gateway.counters(), [one, two]);
    for room in 2..=3 {
        eventually(|| count(&counters.answered) == room).await;
        let [one, two] = &mut talks;
        tokio::select! {
            heard = one.hear() => { assert_eq!(heard.unwrap(), message("u1", room as i64)); one.say(b"").await; }
            heard = two.hear() => { assert_eq!(heard.unwrap(), message("u1", room as i64)); two.say(b"").await; }
        }
    }
    eventually(|| count(&counters.answered) == 4 && count(&counters.queued) == 0).await;
    assert!(peer.is_alone().await);
}

#[tokio::test]
async fn what_a_connection_took_is_never_sent_again() {
    for cut in 0..framed_message_len() {
        let (peer, gateway) = start().await;
        gateway.tell(out("u1", 1));
        let mut talk = peer.accept().await;
        let mut taken = vec![0; cut];
        tokio::io::AsyncReadExt::read_exact(&mut talk.stream, &mut taken).await.unwrap();
        // Our side wrote at once what this side reads in part only; then this side is gone.
        talk.stream.peek(&mut [0]).await.unwrap();
        talk.reset();
        eventually(|| count(&gateway.counters().queued) == 0).await;
        assert_eq!(count(&gateway.counters().unknown), 1, "closed after {cut} bytes");
        gateway.tell(out("u1", 2));
        hear_and_answer(&mut peer.accept().await, &message("u1", 2), "").await;
        assert!(peer.is_alone().await);
        assert_eq!(count(&gateway.counters().retried), 0);
    }
}

fn framed_message_len() -> usize {
    4 + message("u1", 1).len()
}

/// Does what the dice say, in each connection anew; returns what it heard.
async fn moody_talk(mut talk: Talk) -> Vec<String> {
    use tokio::io::AsyncReadExt;
    let mut heard = Vec::new();
    loop {
        match fastrand::u8(..12) {
            0 => break,
            1 => {
                let mut some = vec![0; fastrand::usize(1..framed_message_len())];
                let _half = talk.stream.read_exact(&mut some).await;
                break;
            }
            2 => {
                heard.extend(talk.hear().await);
                break;
            }
            3 => {
                heard.extend(talk.hear().await);
                // The other side may be gone.
                let _sent = talk.stream.try_write(&[0, 0]);
                break;
            }
            _ => match talk.hear().await {
                Some(message) => {
                    talk.say(b"SUCCESS").await;
                    heard.push(message);
                }
                None => break,
            },
        }
    }
    if fastrand::bool() {
        talk.reset();
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_connections_break_nothing_is_told_twice_and_everything_is_accounted_for() {
    const TOLD: u64 = 3000;
    let (peer, gateway) = start().await;
    for number in 0..TOLD {
        gateway.tell(out(&format!("u{}", number % 100), number as i64));
    }
    let counters = gateway.counters();
    let stopped = gateway.shutdown(Instant::now() + 3 * LONG);
    tokio::pin!(stopped);
    let mut talks = FuturesUnordered::new();
    let mut heard = Vec::new();
    loop {
        tokio::select! {
            talk = peer.accept() => talks.push(moody_talk(talk)),
            Some(messages) = talks.next() => heard.extend(messages),
            () = &mut stopped => break,
        }
    }
    while let Some(messages) = talks.next().await {
        heard.extend(messages);
    }
    let (answered, unknown) = (count(&counters.answered), count(&counters.unknown));
    assert_eq!(answered + unknown, TOLD);
    assert!(answered > TOLD / 2 && unknown > 0, "{counters:?}");
    let told = heard.len();
    assert!(told as u64 >= answered);
    assert_eq!(heard.into_iter().collect::<HashSet<_>>().len(), told);
}

#[tokio::test]
async fn what_is_not_answered_or_answered_with_an_error_is_not_sent_again() {
    let peer = Peer::new(Framing::Length4).await;
    let room = config::Gateway {
        reply_timeout: Duration::from_millis(500),
        ..config(peer.address(), Framing::Length4)
    };
    let gateway = gateway(&gateways(room));
    gateway.tell(out("u1", 1));
    let mut silent = peer.accept().await;
    assert_eq!(silent.hear().await.unwrap(), message("u1", 1));
    assert_eq!(silent.hear().await, None);
    gateway.tell(out("u1", 2));
    let mut talk = peer.accept().await;
    hear_and_answer(&mut talk, &message("u1", 2), r#"{"error":null}"#).await;
    gateway.tell(out("u1", 3));
    hear_and_answer(&mut talk, &message("u1", 3), "SUCCESS").await;
    let counters = gateway.counters();
    eventually(|| count(&counters.answered) == 1).await;
    assert_eq!((count(&counters.unknown), count(&counters.refused)), (1, 1));
    assert_eq!(count(&counters.retried), 0);
}

#[tokio::test]
async fn what_could_not_be_sent_is_sent_once_and_in_order_when_room_is_back() {
    let dead = DeadPeer::new();
    let gateway = gateway(&gateways(config(dead.address(), Framing::Length4)));
    for number in 0..1000 {
        gateway.tell(out(&format!("u{}", number % 250), number));
    }
    eventually(|| count(&gateway.counters().retried) >= 3).await;
    let peer = dead.listen();
    let heard = async {
        let mut talks = FuturesUnordered::new();
        let mut heard = Vec::new();
        loop {
            tokio::select! {
                talk = peer.accept() => talks.push(talk.echo()),
                Some(messages) = talks.next() => {
                    heard.extend(messages);
                    if talks.is_empty() { break heard; }
                }
            }
        }
    };
    let (heard, ()) = join!(heard, async {
        eventually(|| count(&gateway.counters().answered) == 1000).await;
        gateway.shutdown(far()).await;
    });
    let expected: HashSet<String> =
        (0..1000).map(|number| message(&format!("u{}", number % 250), number)).collect();
    assert_eq!(heard.len(), 1000);
    assert_eq!(heard.into_iter().collect::<HashSet<_>>(), expected);
}

#[tokio::test]
async fn one_user_keeps_the_order_through_an_outage() {
    let dead = DeadPeer::new();
    let gateway = gateway(&gateways(config(dead.address(), Framing::Length4)));
    for room in 0..20 {
        gateway.tell(out("u1", room));
    }
    eventually(|| count(&gateway.counters().retried) >= 2).await;
    let mut talk = dead.listen().accept().await;
    for room in 0..20 {
        hear_and_answer(&mut talk, &message("u1", room), "").await;
    }
}

#[tokio::test]
async fn after_retry_for_an_unsent_room_out_is_dropped() {
    let dead = DeadPeer::new();
    let config = config::Gateways {
        room_retry_for: Duration::from_millis(50),
        ..gateways(config(dead.address(), Framing::Length4))
    };
    let gateway = gateway(&config);
    for room in 0..100 {
        gateway.tell(out(&room.to_string(), room));
        gateway.tell(out("same", room));
    }
    let counters = gateway.counters();
    eventually(|| counters.dropped() == 200).await;
    assert_eq!(count(&counters.queued), 0);
    let peer = dead.listen();
    eventually(|| gateway.gateway().retry_at().is_none()).await;
    gateway.tell(out("u1", 1));
    hear_and_answer(&mut peer.accept().await, &message("u1", 1), "").await;
    assert!(peer.is_alone().await);
}

#[tokio::test]
async fn a_full_queue_drops_the_newcomer() {
    let dead = DeadPeer::new();
    let config = config::Gateways {
        room_queue_max: 2,
        ..gateways(config(dead.address(), Framing::Length4))
    };
    let gateway = gateway(&config);
    for room in 1..=3 {
        gateway.tell(out("u1", room));
    }
    assert_eq!(gateway.counters().dropped(), 1);
    assert_eq!(count(&gateway.counters().queued), 2);
    let mut talk = dead.listen().accept().await;
    for room in 1..=2 {
        hear_and_answer(&mut talk, &message("u1", room), "").await;
    }
    assert!(talk.is_quiet().await);
    gateway.tell(out("u1", 4));
    hear_and_answer(&mut talk, &message("u1", 4), "").await;
}

#[tokio::test]
async fn shutdown_tells_what_is_queued() {
    let (peer, gateway) = start().await;
    for room in 0..50 {
        gateway.tell(out("u1", room));
    }
    let mut talk = peer.accept().await;
    let ((), ()) = join!(gateway.shutdown(far()), async {
        for room in 0..50 {
            hear_and_answer(&mut talk, &message("u1", room), "").await;
        }
    });
    assert_eq!(talk.hear().await, None);
    gateway.tell(out("u1", 51));
    let counters = gateway.counters();
    assert_eq!((count(&counters.answered), counters.dropped()), (50, 1));
    gateway.shutdown(far()).await;
}

#[tokio::test]
async fn shutdown_drops_and_counts_what_can_not_be_told_in_time() {
    let dead = DeadPeer::new();
    let gateway = gateway(&gateways(config(dead.address(), Framing::Length4)));
    for room in 0..50 {
        gateway.tell(out(&(room % 7).to_string(), room));
    }
    eventually(|| count(&gateway.counters().retried) >= 1).await;
    gateway.shutdown(Instant::now() + Duration::from_millis(20)).await;
    let counters = gateway.counters();
    assert_eq!(counters.dropped() + count(&counters.unknown), 50);
    assert!(count(&counters.unknown) <= 1);
    assert_eq!(count(&counters.queued), 0);
}

#[tokio::test]
async fn who_asks_hears_what_room_says_about_the_owner() {
    let (peer, gateway) = start().await;
    let (reply, mut talk) = join!(gateway.ask(out("u1", 5), far()), async {
        let mut talk = peer.accept().await;
        let change = r#"{"type":"CHANGE","user_id":"u2","room_id":5}"#;
        hear_and_answer(&mut talk, &message("u1", 5), change).await;
        talk
    });
    assert_eq!(reply, OwnerReply::Change { user: user("u2"), room: Some(RoomId(5)) });
    let expected = message("u1", 5);
    for answer in [r#"{"type" : "KEEP"}"#, "", "SUCCESS", r#"{"error":{}}"#] {
        let (reply, ()) =
            join!(gateway.ask(out("u1", 5), far()), hear_and_answer(&mut talk, &expected, answer));
        assert_eq!(reply, OwnerReply::Keep);
    }
    // Nobody waits for this answer any more, and room is told nevertheless.
    assert_eq!(gateway.ask(out("u1", 6), Instant::now()).await, OwnerReply::Keep);
    hear_and_answer(&mut talk, &message("u1", 6), "").await;
}

#[tokio::test]
async fn who_asks_while_room_is_away_is_not_kept_waiting_and_room_is_told_later() {
    let dead = DeadPeer::new();
    let gateway = gateway(&gateways(config(dead.address(), Framing::Length4)));
    for room in 0..20 {
        let user = format!("u{}", room % 2);
        assert_eq!(gateway.ask(out(&user, room), far()).await, OwnerReply::Keep);
    }
    assert_eq!(count(&gateway.counters().queued), 20);
    let peer = dead.listen();
    let _talks = join!(peer.accept(), async {
        eventually(|| gateway.gateway().is_reachable()).await;
    });
}

#[tokio::test]
async fn a_room_out_waits_for_its_turn_and_ends_it_when_answered() {
    let (peer, gateway) = start().await;
    let mut turns = Turns::default();
    let before = turns.next(&user("u1"));
    gateway.tell(RoomOut { turn: turns.next(&user("u1")), ..out("u1", 1) });
    let mut after = turns.next(&user("u1"));
    // Others pass it by.
    gateway.tell(out("u2", 2));
    let mut talk = peer.accept().await;
    hear_and_answer(&mut talk, &message("u2", 2), "").await;
    assert!(talk.is_quiet().await);
    drop(before);
    assert_eq!(talk.hear().await.unwrap(), message("u1", 1));
    assert!(!after.has_come());
    talk.say(b"").await;
    after.wait(far()).await.unwrap();
}

#[tokio::test]
async fn a_room_out_that_has_to_be_tried_again_does_not_hold_up_what_follows() {
    let dead = DeadPeer::new();
    let gateway = gateway(&gateways(config(dead.address(), Framing::Length4)));
    let mut turns = Turns::default();
    for room in 0..10 {
        let turn = turns.next(&user("u1"));
        gateway.tell(RoomOut { turn, ..out("u1", room) });
        turns.next(&user("u1")).wait(far()).await.unwrap();
    }
    assert_eq!(count(&gateway.counters().queued), 10);
}
