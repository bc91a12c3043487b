//! Requests and replies on a connection whose socket is a piece of memory.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use stated::config::Config;
use stated::config::running::Running;
use stated::connection::account::Origin;
use stated::connection::frame::Framing;
use stated::connection::registry::Registry;
use stated::connection::{Connection, Shared};
use stated::domain::Context;
use stated::metrics::Metrics;
use stated::store::memory::MemoryStore;
use stated::store::{Observed, Store};
use stated::upstream::Upstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

/// Bytes that the socket holds in each direction.
const SOCKET_BYTES: usize = 256 * 1024;

/// Sends the messages in turn, so many at once, and reads as many replies, on one connection to a
/// daemon's core with the memory store.
pub(crate) fn exchange(messages: &[&str], in_flight: usize) -> impl FnMut() + use<> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut frames = BytesMut::new();
    for message in messages.iter().cycle().take(in_flight) {
        Framing::Length4.put(message.as_bytes(), &mut frames).unwrap();
    }
    let mut peer = connect(&runtime);
    let mut replies = BytesMut::with_capacity(SOCKET_BYTES);
    move || {
        runtime.block_on(async {
            peer.write_all(&frames).await.unwrap();
            replies.clear();
            while count_frames(&replies) < in_flight {
                assert_ne!(peer.read_buf(&mut replies).await.unwrap(), 0, "it was closed");
            }
        });
    }
}

fn connect(runtime: &Runtime) -> DuplexStream {
    let _runtime = runtime.enter();
    let (peer, socket) = duplex(SOCKET_BYTES);
    let tasks = TaskTracker::new();
    let context = Arc::new(Context {
        store: Arc::new(Observed::new(Store::Memory(MemoryStore::default()))),
        upstream: Arc::new(Upstream::new(&Config::default().gateways, &Default::default(), &tasks)),
        running: Arc::new(Running::of(Config::default())),
        day_closed: Notify::new(),
        metrics: Arc::<Metrics>::default(),
    });
    let shared = Arc::new(Shared::new(context, tasks.clone()));
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let origin =
        Origin { peer: address, listener: address, framing: Framing::Length4, is_near: true };
    let registered = Arc::new(Registry::new(0)).register(origin);
    let mut connection = Connection::new(socket, registered.account(), shared);
    tasks.spawn(async move { connection.serve().await.map(|reason| registered.close(reason)) });
    peer
}

/// Whole frames in the bytes.
fn count_frames(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let Some(rest) = rest.get(u32::from_be_bytes(*length) as usize..) else { break };
        (count, bytes) = (count + 1, rest);
    }
    count
}
