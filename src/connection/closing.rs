//! The end of a connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Connection;

/// What a closing connection reads and discards is read in pieces of this size.
const DISCARDED_BYTES: usize = 1024;
/// How long a closing connection waits for the peer to close too, so that replies on their way are
/// not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Closes so that the peer gets everything that was written: a socket closed over unread input
    /// would be reset.
    pub(super) async fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        // On the heap: an array would make room for itself in the task from its beginning.
        let discarded = &mut self.input.buffer;
        discarded.reserve(DISCARDED_BYTES);
        let until_closed = async {
            while self.stream.read_buf(discarded).await? > 0 {
                discarded.clear();
            }
            Ok::<_, io::Error>(())
        };
        match tokio::time::timeout(LINGER, until_closed).await {
            // TLS ended without goodbye: all that was owed is written.
            Ok(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
