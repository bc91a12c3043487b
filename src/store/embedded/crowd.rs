//! How long the writer waits for more before it writes what there is.
//!
//! A sync costs the same for one change and for a thousand, and whoever was told of the last one mostly
//! comes back with the next. Written at once, the first of them would have a sync to itself and all
//! others wait for it. So the writer waits until most of those that it told are back, and no longer
//! than a few syncs take: one who is alone waits for nobody, and a crowd that doesn't come back is
//! waited for once.

use std::time::{Duration, Instant};

/// No wait is longer, however slow the disk is.
const PATIENCE_MAX: Duration = Duration::from_millis(1);
/// So many syncs may be waited for.
const PATIENCE_SYNCS: u32 = 2;

/// Those who were told last, and are expected back.
#[derive(Debug)]
pub(super) struct Crowd {
    expected: u32,
    until: Instant,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { expected: 0, until: Instant::now() }
    }
}

impl Crowd {
    /// So many changes were synced, which took so long.
    pub(super) fn served(&mut self, changes: u32, took: Duration) {
        // Not all of them: of a crowd that is not closed, fewer and fewer are waited for.
        self.expected = changes - changes.div_ceil(4);
        self.until = Instant::now() + (took * PATIENCE_SYNCS).min(PATIENCE_MAX);
    }

    /// How many changes end the wait.
    pub(super) fn expected(&self) -> u32 {
        self.expected
    }

    /// How much longer it is worth waiting, if there are so many changes.
    pub(super) fn patience(&self, changes: u32) -> Option<Duration> {
        if changes == 0 || changes >= self.expected {
            return None;
        }
        let left = self.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_secs(3600);

    #[test]
    fn whoever_is_alone_waits_for_nobody() {
        let mut crowd = Crowd::default();
        assert_eq!(crowd.patience(1), None);
        crowd.served(1, SYNC);
        assert_eq!(crowd.patience(1), None);
    }

    #[test]
    fn most_of_a_crowd_are_waited_for_and_not_for_ever() {
        let mut crowd = Crowd { expected: 0, until: Instant::now() };
        crowd.served(100, SYNC);
        assert_eq!(crowd.expected(), 75);
        assert_eq!(crowd.patience(75), None);
        crowd.until = Instant::now() + SYNC;
        assert!(crowd.patience(74).is_some());
        crowd.until = Instant::now();
        assert_eq!(crowd.patience(74), None);
    }

    #[test]
    fn a_crowd_that_gets_smaller_is_waited_for_less() {
        let (mut crowd, mut changes) = (Crowd::default(), 1000);
        for _ in 0..30 {
            crowd.served(changes, SYNC);
            changes = crowd.expected().max(1);
        }
        assert_eq!(changes, 1);
    }
}
