//! The least a server can do in this runtime and framing: read a frame, send it back.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::connection::frame::{Decoder, Framing};

/// Longer than any message of a load.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// What is read at once.
const CHUNK_BYTES: usize = 8 * 1024;

/// Serves until the process is ended; tells where once it listens.
pub(super) fn serve(framing: Framing, tell: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        tell(listener.local_addr()?);
        let connections = TaskTracker::new();
        loop {
            let (stream, _) = listener.accept().await?;
            // A peer that goes away in the middle has ended its own connection only.
            connections.spawn(async move { drop(answer(stream, framing).await) });
        }
    })
}

/// Everything that one read brought is answered with one write.
async fn answer(mut stream: TcpStream, framing: Framing) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // A connection that never says anything has no buffer.
    stream.peek(&mut [0]).await?;
    let mut decoder = Decoder::new(framing, FRAME_BYTES_MAX);
    let (mut received, mut out) = (BytesMut::new(), BytesMut::new());
    loop {
        received.reserve(CHUNK_BYTES);
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
        while let Some(found) = decoder.find(&received).map_err(io::Error::other)? {
            let payload = &received[found.start..found.end];
            framing.put(payload, &mut out).map_err(io::Error::other)?;
            decoder.consume(&mut received, found);
        }
        stream.write_all(&out).await?;
        out.clear();
    }
}
