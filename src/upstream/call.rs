//! One exchange on one connection: a message out, its reply in, and what is known if that fails.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::stream::Stream;
use crate::connection::frame::{BrokenFraming, Decoder, Framing};
use crate::crash::{self, Point};

/// The longest reply a peer may send (contract §8).
pub const REPLY_BYTES_MAX: usize = 1 << 20;
/// Room for a reply at first; nearly every one is shorter.
const REPLY_BYTES_USUAL: usize = 512;

/// A connection to a peer.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    framing: Framing,
    /// Whether it lay in the pool since it was made: then the peer had time to close it.
    pooled: bool,
}

/// Why a reply is missing, and with that how much the peer may know.
#[derive(Debug)]
pub(super) enum Failure {
    /// Not one byte was handed to the socket.
    Unsent,
    /// The same, since the peer had said something that nobody asked for.
    Unasked,
    /// The limit passed.
    Timeout {
        /// Whether any byte was handed to the socket.
        sent: bool,
    },
    /// After something may have been sent the connection broke.
    Dropped(DropCause),
}

/// How a connection broke under an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DropCause {
    /// The peer closed before its reply was complete.
    #[error("the peer closed the connection")]
    Closed,
    /// The system reported an error.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// What the peer sent is not a frame, or too long a one.
    #[error("the reply is not framed as agreed: {0}")]
    Framing(BrokenFraming),
}

/// What became of a connection while nobody used it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idle {
    /// Nothing, as it should be.
    Clean,
    /// The peer closed it, or it broke.
    Closed,
    /// The peer said something.
    Spoke,
}

/// A reply, and whether the stream stands at its end.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) payload: Bytes,
    pub(super) rest: Rest,
}

/// What followed a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing, as it should be.
    Nothing,
    /// Bytes that nobody asked for: the next reply could not be told from them.
    Bytes,
}

impl Connection {
    pub(super) fn new(stream: Stream, framing: Framing) -> Self {
        Self { stream, framing, pooled: false }
    }

    pub(super) fn was_pooled(&self) -> bool {
        self.pooled
    }

    pub(super) fn set_pooled(&mut self) {
        self.pooled = true;
    }

    /// What the peer did while nobody spoke with it.
    pub(super) fn idle(&mut self) -> Idle {
        self.stream.idle()
    }

    /// Sends `message` and waits for its reply. After a failure, or if the future is dropped, the
    /// connection is of no use any more.
    pub(super) async fn exchange(
        &mut self,
        message: &[u8],
        by: Instant,
    ) -> Result<Received, Failure> {
        match self.idle() {
            Idle::Clean => {}
            Idle::Closed => return Err(Failure::Unsent),
            Idle::Spoke => return Err(Failure::Unasked),
        }
        let mut sent = 0;
        let outcome = timeout_at(by, self.send_and_receive(message, &mut sent)).await;
        match outcome {
            Ok(Ok(received)) => Ok(received),
            Ok(Err(_)) if sent == 0 => Err(Failure::Unsent),
            Ok(Err(cause)) => Err(Failure::Dropped(cause)),
            Err(_) => Err(Failure::Timeout { sent: sent > 0 }),
        }
    }

    /// Counts in `sent` the bytes that the socket took, or may have taken.
    async fn send_and_receive(
        &mut self,
        message: &[u8],
        sent: &mut usize,
    ) -> Result<Received, DropCause> {
        let mut buffer = BytesMut::with_capacity(message.len().max(REPLY_BYTES_USUAL) + 4);
        // The gateway has checked the length against the framing, so this does not fail.
        self.framing
            .put(message, &mut buffer)
            .map_err(|_| DropCause::Io(io::ErrorKind::InvalidInput))?;
        if self.stream.may_send_unseen() {
            *sent = 1;
        }
        while !buffer.is_empty() {
            match self.stream.write(&buffer).await {
                Ok(0) => return Err(DropCause::Closed),
                Ok(bytes) => {
                    *sent += bytes;
                    buffer.advance(bytes);
                }
                Err(error) => return Err(DropCause::Io(error.kind())),
            }
        }
        self.stream.flush().await.map_err(|error| DropCause::Io(error.kind()))?;
        crash::point(Point::MessageSent);
        self.receive(&mut buffer).await
    }

    async fn receive(&mut self, buffer: &mut BytesMut) -> Result<Received, DropCause> {
        let mut decoder = Decoder::new(self.framing, REPLY_BYTES_MAX);
        loop {
            if let Some(found) = decoder.find(buffer).map_err(DropCause::Framing)? {
                let all = buffer.len();
                let payload = buffer.split_to(found.consumed).freeze();
                let rest = if all == found.consumed { Rest::Nothing } else { Rest::Bytes };
                return Ok(Received { payload: payload.slice(found.start..found.end), rest });
            }
            buffer.reserve(REPLY_BYTES_USUAL);
            match self.stream.read(buffer).await {
                Ok(0) => return Err(DropCause::Closed),
                Ok(_) => {}
                Err(error) => return Err(DropCause::Io(error.kind())),
            }
        }
    }
}
