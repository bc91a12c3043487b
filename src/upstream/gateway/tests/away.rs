//! Peers that can't be reached, and callers who wait in line or leave it.

use super::*;

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
