//! The services the daemon calls: room, signaling, auth.
//!
//! [`message`] is what is said to them, [`Gateway::call`] how: one message out, its reply in.
//! [`RoomGateway`] stands before room's gateway and keeps what need not be answered at once.

mod breaker;
mod call;
mod calls;
mod connect;
mod dispatch;
#[cfg(test)]
mod fake;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed;
mod gateway;
mod lease;
mod line;
pub mod message;
mod pool;
mod reply;
mod report;
mod room;
mod standing;
mod stream;
mod trust;
mod turn;

pub use call::{DropCause, REPLY_BYTES_MAX};
pub use calls::{CallOutcome, Calls};
pub use connect::ConnectFailure;
pub use gateway::{CallError, Gateway};
pub use pool::Counters;
pub use reply::{OwnerReply, Reply};
pub use room::{RoomCounters, RoomGateway, RoomOut};
pub use standing::{BreakerState, Standing};
pub use turn::{Turn, Turns};

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::trust::Reuse;
use crate::{config, tls};

/// The ways to all peers.
#[derive(Debug)]
pub struct Upstream {
    /// Is told who left.
    pub room: RoomGateway,
    /// Is forwarded what room decided.
    pub signaling: Gateway,
    /// Is handed the closed day.
    pub auth: Gateway,
}

impl Upstream {
    /// Opens no connection yet. What it spawns on `tasks` ends after [`Upstream::shutdown`].
    pub fn new(config: &config::Gateways, tls: &tls::Gateways, tasks: &TaskTracker) -> Self {
        let gateway = |peer, config, calling: &Option<_>, reuse| {
            Gateway::new(peer, config, calling.clone(), reuse, tasks)
        };
        Self {
            room: RoomGateway::new(config, tls.room.clone(), tasks),
            signaling: gateway("signaling", &config.signaling, &tls.signaling, Reuse::WhileTrusted),
            // Its answer is what lets the daemon forget study times.
            auth: gateway("auth", &config.auth, &tls.auth, Reuse::Never),
        }
    }

    /// The ways to all peers, room's without the queue before it.
    pub fn gateways(&self) -> [&Gateway; 3] {
        [self.room.gateway(), &self.signaling, &self.auth]
    }

    /// Goes by this from now on; what is under way comes to its end.
    pub fn go_by(&self, config: &config::Gateways, tls: &tls::Gateways) {
        self.room.go_by(config, tls.room.clone());
        self.signaling.go_by(&config.signaling, tls.signaling.clone());
        self.auth.go_by(&config.auth, tls.auth.clone());
    }

    /// Tells room what is still to be told, by `deadline`, then closes all connections.
    pub async fn shutdown(&self, deadline: Instant) {
        self.room.shutdown(deadline).await;
        self.signaling.shutdown();
        self.auth.shutdown();
    }
}
