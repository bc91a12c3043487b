//! Calls to one peer: what goes through, what is replaced or given up, and what is told of it.

mod away;
mod pool;
mod replies;

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
