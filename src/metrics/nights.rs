//! Days that are closed, and their frames to auth.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::store::night::ClosedBy;

/// Since the daemon started.
#[derive(Debug, Default)]
pub struct Nights {
    /// Frames that auth acknowledged.
    pub batches_delivered: AtomicU64,
    /// Users in those.
    pub users_delivered: AtomicU64,
    /// Frames that were not acknowledged, and are sent again.
    pub batches_retried: AtomicU64,
    /// Days that this daemon closed, by why.
    closed: [AtomicU64; ClosedBy::ALL.len()],
}

impl Nights {
    /// This daemon closed a day.
    pub fn count_close(&self, by: ClosedBy) {
        if let Some(closed) = self.closed.get(by as usize) {
            closed.fetch_add(1, Relaxed);
        }
    }

    /// Days that this daemon closed, by why. A night that turned out overdue when the next one
    /// began to list is not among them.
    pub fn closed(&self) -> impl Iterator<Item = (ClosedBy, u64)> {
        ClosedBy::ALL.into_iter().zip(self.closed.iter().map(|closed| closed.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_counts_under_its_cause() {
        let nights = Nights::default();
        for (count, by) in ClosedBy::ALL.into_iter().enumerate() {
            (0..=count).for_each(|_| nights.count_close(by));
            assert_eq!(ClosedBy::named(by.name()), Some(by));
        }
        let closed: Vec<_> = nights.closed().map(|(by, count)| (by.name(), count)).collect();
        assert_eq!(closed, [("last", 1), ("timeout", 2), ("operator", 3)]);
    }
}
