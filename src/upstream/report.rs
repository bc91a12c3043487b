//! Says in the log what room was not told, at most once a second however much it is.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use super::gateway::CallError;
use super::room::RoomCounters;

/// At most one line in this time; the line carries the counts.
const INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Report {
    counters: Arc<RoomCounters>,
    said: Losses,
    said_at: Option<Instant>,
    /// Why the latest one was not answered.
    blame: Option<CallError>,
}

/// Counts since the daemon started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Losses {
    dropped: u64,
    refused: u64,
    unknown: u64,
}

impl Report {
    pub(super) fn new(counters: Arc<RoomCounters>) -> Self {
        Self { counters, said: Losses::default(), said_at: None, blame: None }
    }

    pub(super) fn blame(&mut self, error: CallError) {
        self.blame = Some(error);
    }

    /// When there is something to say; `None` if there is nothing yet.
    pub(super) fn due_at(&self) -> Option<Instant> {
        if self.losses() == self.said {
            return None;
        }
        Some(self.said_at.map_or_else(Instant::now, |said_at| said_at + INTERVAL))
    }

    /// Says what was not said yet.
    pub(super) fn say(&mut self) {
        let losses = self.losses();
        let (said, counters) = (self.said, &self.counters);
        let dropped = losses.dropped - said.dropped;
        let (refused, unknown) = (losses.refused - said.refused, losses.unknown - said.unknown);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                total.full = counters.dropped_full.load(Relaxed),
                total.late = counters.dropped_late.load(Relaxed),
                total.long = counters.dropped_long.load(Relaxed),
                total.stopping = counters.dropped_stopping.load(Relaxed),
                "room is never told of {dropped} who left",
            );
        }
        if refused + unknown > 0 {
            let cause = self.blame.take().map(|error| error.to_string());
            let cause = cause.unwrap_or_else(|| "the daemon stops".to_owned());
            tracing::warn!(
                refused,
                unknown,
                cause,
                "room may not know of {} who left, and is not told twice: {cause}",
                refused + unknown,
            );
        }
        self.said = losses;
        self.said_at = Some(Instant::now());
    }

    fn losses(&self) -> Losses {
        Losses {
            dropped: self.counters.dropped(),
            refused: self.counters.refused.load(Relaxed),
            unknown: self.counters.unknown.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_told_at_once_and_what_follows_a_second_later() {
        let counters = Arc::new(RoomCounters::default());
        let mut report = Report::new(Arc::clone(&counters));
        assert_eq!(report.due_at(), None);
        counters.dropped_late.fetch_add(1, Relaxed);
        assert_eq!(report.due_at(), Some(Instant::now()));
        report.say();
        assert_eq!(report.due_at(), None);
        counters.unknown.fetch_add(1000, Relaxed);
        assert_eq!(report.due_at(), Some(Instant::now() + INTERVAL));
        report.say();
        assert_eq!(report.due_at(), None);
    }
}
