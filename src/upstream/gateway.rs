//! The way to one peer: one call is one message and its reply, within its limits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::call::{DropCause, Failure, Received, Rest};
use super::connect::ConnectFailure;
use super::pool::{Counters, NoConnection, Patience, Pool};
use super::reply::{Reply, is_error};
use crate::config;

/// How long a caller waits for a trial connection to a peer that did not answer the last ones.
const TRIAL_PATIENCE: Duration = Duration::from_millis(250);

/// One peer: its connections and its limits. A clone is the same gateway.
#[derive(Debug, Clone)]
pub struct Gateway {
    pool: Arc<Pool>,
}

/// Why a call was not answered as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The message is longer than the peer reads. Nothing was sent.
    #[error("{peer} reads at most {max} bytes, the message has {found}")]
    TooLong {
        /// The peer.
        peer: &'static str,
        /// Bytes of the message.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// No connection could be made. Nothing was sent.
    #[error("{peer} can't be reached: {cause}")]
    Unreachable {
        /// The peer.
        peer: &'static str,
        /// Why the latest attempt failed.
        cause: ConnectFailure,
    },
    /// No reply in time.
    #[error("{peer} did not answer in time")]
    Timeout {
        /// The peer.
        peer: &'static str,
        /// Whether any byte of the message was handed to a socket.
        sent: bool,
    },
    /// The peer answered with an error object.
    #[error("{peer} answered with an error")]
    Refused {
        /// The peer.
        peer: &'static str,
    },
    /// The connection broke, or what came is not a reply, after something may have been sent.
    #[error("{peer} gave no reply: {cause}")]
    Dropped {
        /// The peer.
        peer: &'static str,
        /// How it broke.
        cause: DropCause,
    },
}

impl CallError {
    /// Whether it is certain that not one byte of the message was handed to a socket.
    pub fn nothing_sent(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::Unreachable { .. } => true,
            Self::Timeout { sent, .. } => !sent,
            Self::Refused { .. } | Self::Dropped { .. } => false,
        }
    }
}

impl Gateway {
    /// The way to `peer`, which is named so in the log. Connects when it is first called.
    pub fn new(peer: &'static str, config: &config::Gateway, tasks: &TaskTracker) -> Self {
        Self { pool: Pool::new(peer, config.clone(), tasks.clone()) }
    }

    /// One exchange: message out, reply in. It ends by `deadline`, and not later than the reply
    /// timeout, to which the connect timeout is added if a connection has to be made. If the
    /// future is dropped, the connection it holds is closed.
    pub async fn call(&self, message: &[u8], deadline: Instant) -> Result<Reply, CallError> {
        self.check_length(message)?;
        let peer = self.pool.peer;
        let limits = Limits::from_now(&self.pool.config, deadline);
        loop {
            let mut lease =
                self.pool.lease(limits.patience).await.map_err(|none| self.no_connection(none))?;
            let Some(connection) = lease.connection() else { continue };
            let was_pooled = connection.was_pooled();
            let by = if was_pooled { limits.reply_by } else { limits.first_reply_by() };
            match connection.exchange(message, by).await {
                Ok(Received { payload, rest }) => {
                    match rest {
                        Rest::Nothing => lease.give_back(),
                        Rest::Bytes => drop(lease),
                    }
                    return match is_error(&payload) {
                        true => Err(CallError::Refused { peer }),
                        false => Ok(Reply(payload)),
                    };
                }
                // It went stale in the pool, and the message is still ours: on to another one.
                Err(Failure::Unsent) if was_pooled => {}
                Err(Failure::Unsent) => {
                    lease.hung_up();
                    return Err(CallError::Unreachable { peer, cause: ConnectFailure::HungUp });
                }
                Err(Failure::Timeout { sent }) => return Err(CallError::Timeout { peer, sent }),
                Err(Failure::Dropped(cause)) => return Err(CallError::Dropped { peer, cause }),
            }
        }
    }

    /// Closes the idle connections, and those in use when their exchange is over. Nothing can be
    /// called any more.
    pub fn shutdown(&self) {
        self.pool.stop();
    }

    /// The peer's name in the log.
    pub fn peer(&self) -> &'static str {
        self.pool.peer
    }

    /// Where the peer is and what it takes.
    pub fn config(&self) -> &config::Gateway {
        &self.pool.config
    }

    /// What became of the connections so far.
    pub fn counters(&self) -> &Counters {
        &self.pool.counters
    }

    /// Whether the latest attempt to connect succeeded, or none was made yet.
    pub fn is_reachable(&self) -> bool {
        self.pool.is_reachable()
    }

    /// Until when calls that need a new connection fail at once; `None` if they would try.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.pool.retry_at()
    }

    /// A message that is too long is found out before a connection is taken for it.
    fn check_length(&self, message: &[u8]) -> Result<(), CallError> {
        let config = &self.pool.config;
        let max = config.max_frame_bytes.min(config.framing.payload_bytes_max());
        match message.len() {
            found if found > max => Err(CallError::TooLong { peer: self.pool.peer, found, max }),
            _ => Ok(()),
        }
    }

    fn no_connection(&self, none: NoConnection) -> CallError {
        let peer = self.pool.peer;
        match none {
            NoConnection::Unreachable(cause) => CallError::Unreachable { peer, cause },
            NoConnection::AllBusy => CallError::Timeout { peer, sent: false },
        }
    }
}

/// The limits of one call.
#[derive(Debug, Clone, Copy)]
struct Limits {
    reply_timeout: Duration,
    patience: Patience,
    /// On a connection that was there: waiting for it counted already.
    reply_by: Instant,
    /// On whatever connection.
    end: Instant,
}

impl Limits {
    fn from_now(config: &config::Gateway, deadline: Instant) -> Self {
        let now = Instant::now();
        let reply_by = deadline.min(now + config.reply_timeout);
        let open_by = deadline.min(now + config.connect_timeout);
        Self {
            reply_timeout: config.reply_timeout,
            patience: Patience {
                free_by: reply_by,
                open_by,
                trial_by: open_by.min(now + TRIAL_PATIENCE),
            },
            reply_by,
            end: deadline.min(now + config.connect_timeout + config.reply_timeout),
        }
    }

    /// On a connection that was made just now: making it did not count.
    fn first_reply_by(&self) -> Instant {
        self.end.min(Instant::now() + self.reply_timeout)
    }
}
