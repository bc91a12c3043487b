//! Calls to one peer: what goes through, what is replaced or given up, and what is told of it.

use std::sync::atomic::Ordering::Relaxed;

use futures_util::future::join_all;
use tokio::join;

use super::*;
use crate::connection::frame::Framing;
use crate::upstream::fake::{DeadPeer, Peer, Talk, config, eventually, far, framed};
use crate::upstream::{BreakerState, REPLY_BYTES_MAX};

const REFUSED: ConnectFailure = ConnectFailure::Io(std::io::ErrorKind::ConnectionRefused);

fn gateway(config: &config::Gateway) -> Gateway {
    Gateway::new("peer", config, None, Reuse::WhileTrusted, &TaskTracker::new())
}

async fn start(framing: Framing) -> (Peer, Gateway) {
    let peer = Peer::new(framing).await;
    let gateway = gateway(&config(peer.address(), framing));
    (peer, gateway)
}

async fn call(gateway: &Gateway, message: &str) -> Result<String, CallError> {
    let reply = gateway.call(message.as_bytes(), far()).await?;
    Ok(String::from_utf8(reply.0.to_vec()).unwrap())
}

/// Hears one message and answers it with itself.
async fn echo_once(talk: &mut Talk) {
    let message = talk.hear().await.unwrap();
    talk.say(message.as_bytes()).await;
}

/// The gateway's first call and the connection it was made on, which lies in the pool now.
async fn connected(peer: &Peer, gateway: &Gateway) -> Talk {
    let (reply, talk) = join!(call(gateway, "first"), async {
        let mut talk = peer.accept().await;
        echo_once(&mut talk).await;
        talk
    });
    assert_eq!(reply.unwrap(), "first");
    talk
}

/// The next call works, on a new connection.
async fn works_anew(peer: &Peer, gateway: &Gateway) {
    connected(peer, gateway).await;
}

#[tokio::test]
async fn many_callers_share_few_connections_one_request_at_a_time_on_each() {
    let peer = Peer::new(Framing::Length4).await;
    let config = config::Gateway { pool_size: 3, ..config(peer.address(), Framing::Length4) };
    let gateway = gateway(&config);
    let callers = async {
        let replies = join_all((0..100).map(|number| {
            let gateway = &gateway;
            async move { (number, call(gateway, &number.to_string()).await.unwrap()) }
        }));
        for (number, reply) in replies.await {
            assert_eq!(reply, number.to_string());
        }
        gateway.shutdown();
    };
    let talks = async {
        let talks = [peer.accept().await, peer.accept().await, peer.accept().await];
        let heard = join_all(talks.map(Talk::echo)).await;
        assert_eq!(heard.iter().map(Vec::len).sum::<usize>(), 100);
        assert!(peer.is_alone().await);
    };
    join!(callers, talks);
}

#[tokio::test]
async fn the_connection_used_last_is_used_next() {
    let (peer, gateway) = start(Framing::Length4).await;
    let mut talk = connected(&peer, &gateway).await;
    for _ in 0..10 {
        let (reply, ()) = join!(call(&gateway, "again"), echo_once(&mut talk));
        reply.unwrap();
    }
    assert_eq!(gateway.counters().opened.load(Relaxed), 1);
    assert!(talk.is_quiet().await);
}

#[tokio::test]
async fn the_standing_tells_connections_in_use_from_idle_ones_and_counts_who_waits() {
    let peer = Peer::new(Framing::Length4).await;
    let config = config::Gateway { pool_size: 1, ..config(peer.address(), Framing::Length4) };
    let gateway = gateway(&config);
    let nothing = Standing {
        in_use: 0,
        idle: 0,
        opening: 0,
        connections_max: 1,
        waiting: 0,
        breaker: BreakerState::Closed,
    };
    assert_eq!(gateway.standing(), nothing);
    let calls = join_all(["one", "two", "three"].map(|message| call(&gateway, message)));
    let answers = async {
        let mut talk = peer.accept().await;
        let first = talk.hear().await.unwrap();
        let busy = Standing { in_use: 1, waiting: 2, ..nothing };
        eventually(|| gateway.standing() == busy).await;
        talk.say(first.as_bytes()).await;
        echo_once(&mut talk).await;
        echo_once(&mut talk).await;
        talk
    };
    let (replies, _talk) = join!(calls, answers);
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    assert_eq!(gateway.standing(), Standing { idle: 1, ..nothing });
}

#[tokio::test]
async fn the_standing_of_a_peer_that_refuses_is_not_closed() {
    let dead = DeadPeer::new();
    let gateway = gateway(&config(dead.address(), Framing::Length4));
    assert!(call(&gateway, "hi").await.unwrap_err().nothing_sent());
    assert_ne!(gateway.standing().breaker, BreakerState::Closed);
    eventually(|| gateway.standing().breaker == BreakerState::HalfOpen).await;
}

#[tokio::test]
async fn of_a_peer_that_moves_calls_under_way_come_to_their_end_and_others_go_along() {
    let (before, after) = (Peer::new(Framing::Length4).await, Peer::new(Framing::Lf).await);
    let old = config::Gateway { pool_size: 1, ..config(before.address(), Framing::Length4) };
    let new = config::Gateway { pool_size: 1, ..config(after.address(), Framing::Lf) };
    let gateway = gateway(&old);
    let calls = join_all(["under way", "in line", "too"].map(|text| call(&gateway, text)));
    let peers = async {
        let mut talk = before.accept().await;
        assert_eq!(talk.hear().await.unwrap(), "under way");
        eventually(|| gateway.standing().waiting == 2).await;
        gateway.go_by(&new, None);
        let mut moved = after.accept().await;
        echo_once(&mut moved).await;
        echo_once(&mut moved).await;
        talk.say(b"late").await;
        assert_eq!(talk.hear().await, None, "its connection is closed then");
        moved
    };
    let (replies, _moved) = join!(calls, peers);
    let replies: Vec<_> = replies.into_iter().map(Result::unwrap).collect();
    assert_eq!(replies, ["late", "in line", "too"]);
    assert_eq!(gateway.counters().calls.outcomes().next().unwrap().1, 3);
    assert!(before.is_alone().await);
}

#[tokio::test]
async fn who_waits_for_a_peer_that_is_silent_is_served_where_it_moved_to() {
    let (dead, after) = (DeadPeer::new(), Peer::new(Framing::Length4).await);
    let gateway = gateway(&config(dead.address(), Framing::Length4));
    let _hole = dead.black_hole().await;
    let (reply, _talk) = join!(call(&gateway, "hi"), async {
        eventually(|| gateway.standing().waiting == 1).await;
        gateway.go_by(&config(after.address(), Framing::Length4), None);
        let mut talk = after.accept().await;
        echo_once(&mut talk).await;
        talk
    });
    assert_eq!(reply.unwrap(), "hi");
}

#[tokio::test]
async fn a_pool_grows_at_once_and_shrinks_as_connections_come_back() {
    let peer = Peer::new(Framing::Length4).await;
    let of_size =
        |pool_size| config::Gateway { pool_size, ..config(peer.address(), Framing::Length4) };
    let gateway = gateway(&of_size(1));
    let calls = join_all(["one", "two", "three"].map(|text| call(&gateway, text)));
    let talks = async {
        let first = peer.accept().await;
        eventually(|| gateway.standing().waiting == 2).await;
        gateway.go_by(&of_size(3), None);
        let mut talks = [first, peer.accept().await, peer.accept().await];
        eventually(|| gateway.standing().in_use == 3).await;
        gateway.go_by(&of_size(1), None);
        for talk in &mut talks {
            echo_once(talk).await;
        }
        talks
    };
    let (replies, _talks) = join!(calls, talks);
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    let standing = gateway.standing();
    assert_eq!((standing.idle, standing.in_use, standing.connections_max), (1, 0, 1));
}

/// Of those in line only the first is sent: when its connection is given up, the time of the
/// others is over too.
#[tokio::test]
async fn waiting_for_a_busy_pool_counts_towards_the_reply_timeout() {
    let peer = Peer::new(Framing::Length4).await;
    let gateway = gateway(&config::Gateway {
        pool_size: 1,
        reply_timeout: Duration::from_millis(200),
        ..config(peer.address(), Framing::Length4)
    });
    let calls = join_all((0..4).map(|number| {
        let gateway = &gateway;
        async move { gateway.call(number.to_string().as_bytes(), far()).await }
    }));
    let (outcomes, heard) = join!(calls, async {
        let mut talk = peer.accept().await;
        let heard = talk.hear().await;
        (heard, talk.hear().await)
    });
    for outcome in outcomes {
        assert!(matches!(outcome, Err(CallError::Timeout { .. })), "{outcome:?}");
    }
    assert_eq!(heard, (Some("0".to_owned()), None));
    assert_eq!(gateway.counters().failed.load(Relaxed), 0);
}

#[tokio::test]
async fn a_connection_that_went_stale_in_the_pool_is_replaced_unnoticed() {
    let (peer, gateway) = start(Framing::Length4).await;
    drop(connected(&peer, &gateway).await);
    let talk = connected(&peer, &gateway).await;
    talk.reset();
    works_anew(&peer, &gateway).await;
    assert_eq!(gateway.counters().discarded.load(Relaxed), 2);
}

#[tokio::test]
async fn all_of_a_restarted_peers_connections_are_replaced_unnoticed() {
    let (peer, gateway) = start(Framing::Length4).await;
    let calls = join_all((0..10).map(|_| call(&gateway, "x")));
    let (replies, talks) = join!(calls, async {
        let mut talks = Vec::new();
        for _ in 0..10 {
            talks.push(peer.accept().await);
        }
        join_all(talks.iter_mut().map(echo_once)).await;
        talks
    });
    assert!(replies.iter().all(Result::is_ok));
    drop(talks);
    works_anew(&peer, &gateway).await;
    assert_eq!(gateway.counters().discarded.load(Relaxed), 10);
}

#[tokio::test]
async fn a_peer_that_closes_an_idle_connection_is_answered_in_kind_before_the_next_call() {
    let (peer, gateway) = start(Framing::Length4).await;
    let mut talk = connected(&peer, &gateway).await;
    tokio::time::pause();
    tokio::io::AsyncWriteExt::shutdown(&mut talk.stream).await.unwrap();
    assert_eq!(talk.hear().await, None);
    works_anew(&peer, &gateway).await;
}

#[tokio::test]
async fn bytes_nobody_asked_for_make_a_connection_unfit() {
    for framing in Framing::ALL {
        let (peer, gateway) = start(framing).await;
        // Right behind the reply, and later while nobody asks.
        let (reply, mut talk) = join!(call(&gateway, "a"), async {
            let mut talk = peer.accept().await;
            talk.hear().await.unwrap();
            let twice = framed(framing, b"b").repeat(2);
            talk.say_raw(&twice).await;
            talk
        });
        assert_eq!(reply.unwrap(), "b");
        assert_eq!(talk.hear().await, None);
        let mut talk = connected(&peer, &gateway).await;
        talk.say(b"unasked").await;
        works_anew(&peer, &gateway).await;
        assert_eq!(talk.hear().await, None);
    }
}

#[tokio::test]
async fn of_a_peer_that_said_something_unasked_each_connection_is_used_once() {
    let (peer, gateway) = start(Framing::Length4).await;
    let mut talk = connected(&peer, &gateway).await;
    talk.say(b"a second answer").await;
    for _ in 0..3 {
        let mut used = connected(&peer, &gateway).await;
        assert_eq!(used.hear().await, None);
        assert_eq!(gateway.standing().idle, 0);
    }
    assert_eq!(talk.hear().await, None);
}

#[tokio::test]
async fn a_connection_that_may_not_be_used_again_is_closed_with_the_answer() {
    let peer = Peer::new(Framing::Length4).await;
    let config = config(peer.address(), Framing::Length4);
    let gateway = Gateway::new("peer", &config, None, Reuse::Never, &TaskTracker::new());
    for _ in 0..3 {
        assert_eq!(connected(&peer, &gateway).await.hear().await, None);
    }
}

#[tokio::test]
async fn silence_times_out_closes_the_connection_and_blames_nobody() {
    let peer = Peer::new(Framing::Length4).await;
    let config = config::Gateway {
        reply_timeout: Duration::from_millis(500),
        ..config(peer.address(), Framing::Length4)
    };
    let gateway = gateway(&config);
    let (outcome, mut talk) = join!(call(&gateway, "a"), peer.accept());
    assert_eq!(outcome, Err(CallError::Timeout { peer: "peer", sent: true }));
    assert_eq!(talk.hear().await.unwrap(), "a");
    assert_eq!(talk.hear().await, None);
    assert!(gateway.is_reachable());
    works_anew(&peer, &gateway).await;
}

#[tokio::test]
async fn the_callers_deadline_counts_too() {
    let (peer, gateway) = start(Framing::Length4).await;
    let soon = Instant::now() + Duration::from_millis(500);
    let (outcome, _talk) = join!(gateway.call(b"a", soon), peer.accept());
    assert_eq!(outcome, Err(CallError::Timeout { peer: "peer", sent: true }));
    let (outcome, _talk) = join!(gateway.call(b"a", soon), peer.accept());
    assert!(outcome.unwrap_err().nothing_sent());
}

#[tokio::test]
async fn a_reply_cut_off_anywhere_is_none() {
    for framing in Framing::ALL {
        let (peer, gateway) = start(framing).await;
        let reply = framed(framing, b"SUCCESS");
        for cut in 0..reply.len() {
            let (outcome, ()) = join!(call(&gateway, "a"), async {
                let mut talk = peer.accept().await;
                talk.hear().await.unwrap();
                talk.say_raw(&reply[..cut]).await;
            });
            let dropped = CallError::Dropped { peer: "peer", cause: DropCause::Closed };
            assert_eq!(outcome, Err(dropped), "{framing:?} cut at {cut}");
        }
        works_anew(&peer, &gateway).await;
    }
}

#[tokio::test]
async fn a_reset_after_the_message_is_a_drop() {
    let (peer, gateway) = start(Framing::Length4).await;
    let (outcome, ()) = join!(call(&gateway, "a"), async {
        let mut talk = peer.accept().await;
        talk.hear().await.unwrap();
        talk.reset();
    });
    let outcome = outcome.unwrap_err();
    assert!(matches!(outcome, CallError::Dropped { .. }), "{outcome:?}");
    assert!(!outcome.nothing_sent());
}

#[tokio::test]
async fn a_reply_may_come_byte_by_byte_or_empty() {
    for framing in Framing::ALL {
        let (peer, gateway) = start(framing).await;
        let mut talk = connected(&peer, &gateway).await;
        for payload in ["{\"type\" : \"KEEP\"}", ""] {
            let (reply, ()) = join!(call(&gateway, "a"), async {
                talk.hear().await.unwrap();
                for byte in framed(framing, payload.as_bytes()) {
                    talk.say_raw(&[byte]).await;
                    tokio::task::yield_now().await;
                }
            });
            assert_eq!(reply.unwrap(), payload);
        }
    }
}

#[tokio::test]
async fn a_reply_of_one_mebibyte_passes_and_a_longer_one_drops_the_connection() {
    for framing in [Framing::Length4, Framing::Crlf, Framing::Lf] {
        let (peer, gateway) = start(framing).await;
        let mut talk = connected(&peer, &gateway).await;
        let longest = "x".repeat(REPLY_BYTES_MAX);
        let (reply, ()) = join!(call(&gateway, "a"), async {
            talk.hear().await.unwrap();
            talk.say(longest.as_bytes()).await;
        });
        assert!(reply.unwrap() == longest);
        let (outcome, ()) = join!(call(&gateway, "a"), async {
            talk.hear().await.unwrap();
            let longer = framed(framing, &vec![b'x'; REPLY_BYTES_MAX + 1]);
            // The other side may close before it has read everything.
            drop(tokio::io::AsyncWriteExt::write_all(&mut talk.stream, &longer).await);
        });
        let outcome = outcome.unwrap_err();
        assert!(
            matches!(outcome, CallError::Dropped { cause: DropCause::Framing(_), .. }),
            "{outcome:?}"
        );
        works_anew(&peer, &gateway).await;
    }
}

#[tokio::test]
async fn an_error_object_is_a_refusal_and_the_connection_stays() {
    let (peer, gateway) = start(Framing::Crlf).await;
    let mut talk = connected(&peer, &gateway).await;
    let (outcome, ()) = join!(call(&gateway, "a"), async {
        talk.hear().await.unwrap();
        talk.say(br#"{"error":{"code":"CHAT-001"}}"#).await;
    });
    assert_eq!(outcome, Err(CallError::Refused { peer: "peer" }));
    let (reply, ()) = join!(call(&gateway, "b"), echo_once(&mut talk));
    assert_eq!(reply.unwrap(), "b");
}

#[tokio::test]
async fn a_message_longer_than_the_peer_reads_takes_no_connection() {
    let (peer, gateway) = start(Framing::Length4).await;
    let outcome = call(&gateway, &"x".repeat(2047)).await;
    assert_eq!(outcome, Err(CallError::TooLong { peer: "peer", found: 2047, max: 2046 }));
    assert!(peer.is_alone().await);
    let (peer, gateway) = start(Framing::Length1).await;
    let outcome = call(&gateway, &"x".repeat(256)).await;
    assert_eq!(outcome, Err(CallError::TooLong { peer: "peer", found: 256, max: 255 }));
    works_anew(&peer, &gateway).await;
}

#[tokio::test]
async fn a_refusing_peer_is_told_at_once_and_found_again_when_it_is_back() {
    let dead = DeadPeer::new();
    let gateway = gateway(&config(dead.address(), Framing::Length4));
    let unreachable = CallError::Unreachable { peer: "peer", cause: REFUSED };
    for outcome in join_all((0..100).map(|_| call(&gateway, "a"))).await {
        assert_eq!(outcome, Err(unreachable));
    }
    assert!(unreachable.nothing_sent());
    assert!(!gateway.is_reachable());
    let peer = dead.listen();
    eventually(|| gateway.retry_at().is_none()).await;
    works_anew(&peer, &gateway).await;
    assert!(gateway.is_reachable());
}

#[tokio::test]
async fn callers_of_a_peer_known_to_be_away_share_one_attempt() {
    let dead = DeadPeer::new();
    let gateway = gateway(&config(dead.address(), Framing::Length4));
    call(&gateway, "a").await.unwrap_err();
    for attempts in 2..10 {
        eventually(|| gateway.retry_at().is_none()).await;
        for outcome in join_all((0..100).map(|_| call(&gateway, "a"))).await {
            outcome.unwrap_err();
        }
        assert_eq!(gateway.counters().failed.load(Relaxed), attempts);
    }
}

#[tokio::test]
async fn a_black_hole_costs_one_connect_timeout_and_not_one_a_call() {
    let dead = DeadPeer::new();
    let connect_timeout = Duration::from_secs(2);
    let config = config::Gateway { connect_timeout, ..config(dead.address(), Framing::Length4) };
    let _hole = dead.black_hole().await;
    let gateway = gateway(&config);
    // From here on time passes only when everybody waits.
    tokio::time::pause();
    let started = Instant::now();
    let check = async |cost: Duration| {
        let started = Instant::now();
        let cause = ConnectFailure::TimedOut;
        for outcome in join_all((0..100).map(|_| call(&gateway, "a"))).await {
            assert_eq!(outcome, Err(CallError::Unreachable { peer: "peer", cause }));
        }
        // The runtime's clock ticks in milliseconds.
        let elapsed = started.elapsed();
        assert!(elapsed >= cost && elapsed <= cost + Duration::from_millis(5), "{elapsed:?}");
    };
    check(connect_timeout).await;
    check(Duration::ZERO).await;
    eventually(|| gateway.retry_at().is_none()).await;
    check(TRIAL_PATIENCE).await;
    // The trial goes on by itself and fails, and its back-off begins.
    eventually(|| gateway.retry_at().is_some()).await;
    check(Duration::ZERO).await;
    assert!(started.elapsed() < 3 * connect_timeout);
}

#[tokio::test]
async fn who_can_not_connect_waits_for_a_connection_that_is_open() {
    let (peer, gateway) = start(Framing::Length4).await;
    let mut talk = connected(&peer, &gateway).await;
    drop(peer);
    let (first, second, ()) = join!(call(&gateway, "a"), call(&gateway, "b"), async {
        assert_eq!(talk.hear().await.unwrap(), "a");
        eventually(|| !gateway.is_reachable()).await;
        talk.say(b"1").await;
        assert_eq!(talk.hear().await.unwrap(), "b");
        talk.say(b"2").await;
    });
    assert_eq!((first.unwrap(), second.unwrap()), ("1".to_owned(), "2".to_owned()));
}

#[tokio::test]
async fn who_waits_for_a_busy_connection_waits_in_line_and_not_for_ever() {
    let peer = Peer::new(Framing::Length4).await;
    let config = config::Gateway { pool_size: 1, ..config(peer.address(), Framing::Length4) };
    let gateway = gateway(&config);
    let mut talk = connected(&peer, &gateway).await;
    let soon = Instant::now() + Duration::from_millis(50);
    let (first, late, second, ()) =
        join!(call(&gateway, "a"), gateway.call(b"late", soon), call(&gateway, "b"), async {
            assert_eq!(talk.hear().await.unwrap(), "a");
            eventually(|| Instant::now() > soon + Duration::from_millis(10)).await;
            talk.say(b"1").await;
            assert_eq!(talk.hear().await.unwrap(), "b");
            talk.say(b"2").await;
        });
    assert_eq!((first.unwrap(), second.unwrap()), ("1".to_owned(), "2".to_owned()));
    assert_eq!(late, Err(CallError::Timeout { peer: "peer", sent: false }));
}

#[tokio::test]
async fn a_call_that_is_cancelled_takes_its_connection_with_it() {
    let (peer, gateway) = start(Framing::Length4).await;
    let mut talk = connected(&peer, &gateway).await;
    tokio::select! {
        outcome = call(&gateway, "a") => panic!("{outcome:?}"),
        heard = talk.hear() => assert_eq!(heard.unwrap(), "a"),
    }
    assert_eq!(talk.hear().await, None);
    works_anew(&peer, &gateway).await;
}

#[tokio::test]
async fn a_caller_who_gives_up_in_line_leaves_the_connection_to_the_next() {
    let peer = Peer::new(Framing::Length4).await;
    let config = config::Gateway { pool_size: 1, ..config(peer.address(), Framing::Length4) };
    let gateway = gateway(&config);
    let mut given_up = Box::pin(gateway.call(b"given up", far()));
    assert!(futures_util::poll!(&mut given_up).is_pending());
    // Its connection is handed to it, and it is dropped without ever looking.
    let mut talk = peer.accept().await;
    eventually(|| gateway.counters().opened.load(Relaxed) == 1).await;
    drop(given_up);
    let (reply, ()) = join!(call(&gateway, "a"), echo_once(&mut talk));
    assert_eq!(reply.unwrap(), "a");
    assert_eq!(gateway.counters().opened.load(Relaxed), 1);
}

#[tokio::test]
async fn after_shutdown_nothing_is_open_and_nothing_is_opened() {
    let (peer, gateway) = start(Framing::Length4).await;
    let mut idle = connected(&peer, &gateway).await;
    let (reply, ()) = join!(call(&gateway, "busy"), async {
        idle.hear().await.unwrap();
        gateway.shutdown();
        idle.say(b"done").await;
    });
    assert_eq!(reply.unwrap(), "done");
    assert_eq!(idle.hear().await, None);
    let cause = ConnectFailure::Stopping;
    let outcome = call(&gateway, "a").await;
    assert_eq!(outcome, Err(CallError::Unreachable { peer: "peer", cause }));
    assert!(peer.is_alone().await);
}
