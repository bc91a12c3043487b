//! Calls of one peer by what came of them, and how long they took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::gateway::CallError;
use crate::metrics::histogram::Histogram;

/// What came of a call: [`CallError`] without its particulars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The peer answered.
    Ok,
    /// The message is longer than the peer reads.
    TooLong,
    /// No connection could be made.
    Unreachable,
    /// No reply in time.
    Timeout,
    /// The peer answered with an error.
    Refused,
    /// The connection broke.
    Dropped,
}

/// Calls since the daemon started.
#[derive(Debug, Default)]
pub struct Calls {
    outcomes: [AtomicU64; CallOutcome::ALL.len()],
    /// How long they took, whatever came of them.
    pub durations: Histogram,
}

impl CallOutcome {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::TooLong, Self::Unreachable, Self::Timeout, Self::Refused, Self::Dropped];

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::TooLong => "too_long",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
        }
    }

    fn of(error: Option<&CallError>) -> Self {
        match error {
            None => Self::Ok,
            Some(CallError::TooLong { .. }) => Self::TooLong,
            Some(CallError::Unreachable { .. }) => Self::Unreachable,
            Some(CallError::Timeout { .. }) => Self::Timeout,
            Some(CallError::Refused { .. }) => Self::Refused,
            Some(CallError::Dropped { .. }) => Self::Dropped,
        }
    }
}

impl Calls {
    pub(super) fn record(&self, error: Option<&CallError>, took: Duration) {
        if let Some(count) = self.outcomes.get(CallOutcome::of(error) as usize) {
            count.fetch_add(1, Relaxed);
        }
        self.durations.record(took);
    }

    /// How many came to what.
    pub fn outcomes(&self) -> impl Iterator<Item = (CallOutcome, u64)> + '_ {
        CallOutcome::ALL
            .into_iter()
            .zip(&self.outcomes)
            .map(|(of, count)| (of, count.load(Relaxed)))
    }
}
