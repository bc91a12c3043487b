//! How the way to one peer stands at a moment, for figures and operators.

use super::breaker::Stand;

/// A pool and who waits for it. Taken at once: the numbers fit each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Connections on which a call is under way.
    pub in_use: usize,
    /// Connections that wait for a call.
    pub idle: usize,
    /// Connections being made.
    pub opening: usize,
    /// The most of all these together: the gateway's `pool_size`.
    pub connections_max: usize,
    /// Callers who wait for a connection.
    pub waiting: usize,
    /// Whether connections may be made.
    pub breaker: BreakerState,
}

/// Whether connections to a peer may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// As many as are needed.
    Closed,
    /// One, to see whether the peer is back.
    HalfOpen,
    /// None for now: the latest attempts failed.
    Open,
}

impl BreakerState {
    /// All of them, from good to bad.
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

impl From<Stand> for BreakerState {
    fn from(stand: Stand) -> Self {
        match stand {
            Stand::Closed => Self::Closed,
            Stand::HalfOpen => Self::HalfOpen,
            Stand::Open { .. } => Self::Open,
        }
    }
}
