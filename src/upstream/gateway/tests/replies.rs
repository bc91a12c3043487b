//! What comes back, or does not.

use super::*;

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
