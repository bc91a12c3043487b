//! The end of a connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::Connection;
use super::account::Account;

/// What a closing connection reads and discards is read in pieces of this size.
const DISCARDED_BYTES: usize = 1024;
/// How long a closing connection waits for the peer to close too, so that replies on their way are
/// not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Closes so that the peer gets everything that was written: a socket closed over unread input
    /// would be reset.
    pub(super) async fn linger(&mut self) -> io::Result<()> {
        // On the heap: hardly anybody waits for it.
        let unheard = Box::pin(unheard(&self.account, self.shared.limits().unread_timeout));
        tokio::select! {
            biased;
            done = self.stream.shutdown() => done?,
            () = unheard => return Ok(()),
        }
        // On the heap: an array would make room for itself in the task from its beginning.
        let discarded = &mut self.input.buffer;
        discarded.reserve(DISCARDED_BYTES);
        let until_closed = async {
            while self.stream.read_buf(discarded).await? > 0 {
                discarded.clear();
            }
            Ok::<_, io::Error>(())
        };
        match timeout(LINGER, until_closed).await {
            // TLS ended without goodbye: all that was owed is written.
            Ok(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// As long as a goodbye is waited for. TLS has to write one, which a peer that reads nothing any more
/// leaves no room for; a stop does not wait for that.
async fn unheard(account: &Account, max: Duration) {
    tokio::select! {
        () = sleep(max) => {}
        _ends = account.wished() => sleep(LINGER).await,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{DuplexStream, ReadBuf, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::connection::account::Wish;
    use crate::connection::tests::connection;
    use crate::metrics::connections::CloseReason;

    /// A stream that never has room for a goodbye.
    struct Full(DuplexStream);

    impl AsyncRead for Full {
        fn poll_read(
            mut self: Pin<&mut Self>,
            task: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(task, into)
        }
    }

    impl AsyncWrite for Full {
        fn poll_write(
            mut self: Pin<&mut Self>,
            task: &mut Context<'_>,
            from: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(task, from)
        }

        fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(task)
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    /// How long a peer is served that finished sending and has no room for a goodbye.
    async fn served(stops: bool) -> Duration {
        let (mut peer, stream) = duplex(1024);
        peer.write_all(b"{}\n").await.unwrap();
        peer.shutdown().await.unwrap();
        let mut connection = connection(Full(stream));
        if stops {
            connection.account.ask(Wish::Stop);
        }
        let begun = Instant::now();
        let served = timeout(Duration::from_secs(3600), connection.serve()).await;
        let reason = served.expect("it is not served for ever").unwrap();
        assert!(matches!(reason, CloseReason::Peer | CloseReason::Stopping), "{reason:?}");
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_leaves_no_room_for_a_goodbye_is_given_up_and_a_stop_does_not_wait_for_it()
    {
        let limits = crate::config::Config::default().limits;
        let waited = served(false).await;
        assert!(waited >= limits.unread_timeout && waited < 2 * limits.unread_timeout);
        assert!(served(true).await < limits.shutdown_grace / 4);
    }
}
