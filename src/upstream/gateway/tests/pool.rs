//! Which connection a call goes through, and what becomes of it afterwards.

use super::*;

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
