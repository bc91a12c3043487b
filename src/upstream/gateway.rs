//! The way to one peer: one call is one message and its reply, within its limits.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::breaker::Stand;
use super::call::{DropCause, Failure, Received, Rest};
use super::connect::ConnectFailure;
use super::line::{NoConnection, Patience};
use super::pool::{Counters, Pool, Way};
use super::reply::{Reply, is_error};
use super::standing::Standing;
use super::trust::Reuse;
use crate::config;
use crate::tls::Calling;

/// How long a caller waits for a trial connection to a peer that did not answer the last ones.
const TRIAL_PATIENCE: Duration = Duration::from_millis(250);

/// One peer: its connections and its limits. A clone is the same gateway.
#[derive(Debug, Clone)]
pub struct Gateway {
    peer: &'static str,
    reuse: Reuse,
    /// Replaced when the peer moves.
    pool: Arc<ArcSwap<Pool>>,
    counters: Arc<Counters>,
    tasks: TaskTracker,
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
    pub fn new(
        peer: &'static str,
        config: &config::Gateway,
        calling: Option<Calling>,
        reuse: Reuse,
        tasks: &TaskTracker,
    ) -> Self {
        let counters = Arc::new(Counters::default());
        let way = Way { config: Arc::new(config.clone()), calling };
        let pool = Pool::new(peer, way, reuse, Arc::clone(&counters), tasks.clone());
        Self { peer, reuse, pool: Arc::new(ArcSwap::new(pool)), counters, tasks: tasks.clone() }
    }

    /// Goes by this from now on. A call that has begun keeps the time it was given; if its message is
    /// on the way, it ends where it was sent to, else it goes to the new address.
    pub fn go_by(&self, config: &config::Gateway, calling: Option<Calling>) {
        let pool = self.pool.load_full();
        let before = pool.config();
        let way = Way { config: Arc::new(config.clone()), calling };
        if is_same_peer(&before, config) {
            return pool.go_by(way);
        }
        let counters = Arc::clone(&self.counters);
        let next = Pool::new(self.peer, way, self.reuse, counters, self.tasks.clone());
        // Whoever is sent away from the old one must find the new one.
        self.pool.store(next);
        pool.retire();
    }

    /// One exchange: message out, reply in. It ends by `deadline`, and not later than the reply
    /// timeout, to which the connect timeout is added if a connection has to be made. If the
    /// future is dropped, the connection it holds is closed.
    pub async fn call(&self, message: &[u8], deadline: Instant) -> Result<Reply, CallError> {
        let begun_at = Instant::now();
        let result = self.exchange(message, deadline).await;
        self.counters.calls.record(result.as_ref().err(), begun_at.elapsed());
        result
    }

    async fn exchange(&self, message: &[u8], deadline: Instant) -> Result<Reply, CallError> {
        loop {
            match exchange_through(self.pool.load_full(), message, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(Failed::Call(error)) => return Err(error),
                Err(Failed::Moved) => {}
            }
        }
    }

    /// Closes the idle connections, and those in use when their exchange is over. Nothing can be
    /// called any more.
    pub fn shutdown(&self) {
        self.pool.load().stop();
    }

    /// The peer's name in the log.
    pub fn peer(&self) -> &'static str {
        self.peer
    }

    /// Where the peer is and what it takes.
    pub fn config(&self) -> Arc<config::Gateway> {
        self.pool.load().config()
    }

    /// What became of the connections so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The pool, who waits for it, and whether it may grow.
    pub fn standing(&self) -> Standing {
        self.pool.load().standing()
    }

    /// Whether the latest attempt to connect succeeded, or none was made yet.
    pub fn is_reachable(&self) -> bool {
        self.pool.load().stand() == Stand::Closed
    }

    /// Until when calls that need a new connection fail at once; `None` if they would try.
    pub fn retry_at(&self) -> Option<Instant> {
        match self.pool.load().stand() {
            Stand::Closed | Stand::HalfOpen => None,
            Stand::Open { retry_at, .. } => Some(retry_at),
        }
    }
}

/// Whether connections to the one are as good as connections to the other. A certificate that was
/// renewed changes nothing for those that stand.
fn is_same_peer(one: &config::Gateway, other: &config::Gateway) -> bool {
    let whom = |config: &config::Gateway| (config.tls.is_on(), config.tls.server_name.clone());
    (&one.address, one.framing) == (&other.address, other.framing) && whom(one) == whom(other)
}

/// Why an exchange came to nothing.
enum Failed {
    /// For good.
    Call(CallError),
    /// The peer moved before anything was sent: there is another pool now.
    Moved,
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// A message that is too long is found out before a connection is taken for it.
fn check_length(
    peer: &'static str,
    config: &config::Gateway,
    message: &[u8],
) -> Result<(), CallError> {
    let max = config.max_frame_bytes.min(config.framing.payload_bytes_max());
    match message.len() {
        found if found > max => Err(CallError::TooLong { peer, found, max }),
        _ => Ok(()),
    }
}

fn no_connection(peer: &'static str, none: NoConnection) -> Failed {
    match none {
        NoConnection::Unreachable(cause) => CallError::Unreachable { peer, cause }.into(),
        NoConnection::AllBusy => CallError::Timeout { peer, sent: false }.into(),
        NoConnection::Moved => Failed::Moved,
    }
}

/// Moved, a call begins anew: with the other peer's limits, and the same deadline.
async fn exchange_through(
    pool: Arc<Pool>,
    message: &[u8],
    deadline: Instant,
) -> Result<Reply, Failed> {
    let peer = pool.peer;
    let limits = {
        let config = pool.config();
        check_length(peer, &config, message)?;
        Limits::from_now(&config, deadline)
    };
    loop {
        let mut lease =
            pool.lease(limits.patience).await.map_err(|none| no_connection(peer, none))?;
        let was_pooled = lease.was_pooled();
        let by = match was_pooled || lease.waited_for_others() {
            true => limits.reply_by,
            false => limits.first_reply_by(),
        };
        match lease.exchange(message, by).await {
            Ok(Received { payload, rest }) => {
                match rest {
                    Rest::Nothing => lease.give_back(),
                    Rest::Bytes => drop(lease),
                }
                return match is_error(&payload) {
                    true => Err(CallError::Refused { peer }.into()),
                    false => Ok(Reply(payload)),
                };
            }
            // It went stale in the pool, and the message is still ours: on to another one.
            Err(Failure::Unsent | Failure::Unasked) if was_pooled => {}
            Err(Failure::Unsent | Failure::Unasked) => {
                lease.hung_up();
                return Err(CallError::Unreachable { peer, cause: ConnectFailure::HungUp }.into());
            }
            Err(Failure::Timeout { sent }) => return Err(CallError::Timeout { peer, sent }.into()),
            Err(Failure::Dropped(cause)) => return Err(CallError::Dropped { peer, cause }.into()),
        }
    }
}

/// The limits of one call.
#[derive(Debug, Clone, Copy)]
struct Limits {
    reply_timeout: Duration,
    patience: Patience,
    /// On a connection that was there or that others were waited for: that counted already.
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

#[cfg(test)]
mod tests;
