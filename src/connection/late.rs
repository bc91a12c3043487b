//! Work that goes on though its request was answered for being late: counted, and its memory kept.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Shared;
use super::memory::Loan;

/// One piece of such work, until it is dropped.
#[derive(Debug)]
pub(super) struct Late {
    shared: Arc<Shared>,
    _memory: Loan,
}

impl Late {
    /// One more, that takes so much memory.
    pub(super) fn new(shared: &Arc<Shared>, bytes: usize) -> Self {
        shared.context.metrics.requests.late.fetch_add(1, Relaxed);
        Self { shared: Arc::clone(shared), _memory: shared.memory.lend(bytes) }
    }

    /// Whether there are so many that no request is begun: what hangs is not made better by more.
    pub(super) fn are_too_many(shared: &Shared, max: usize) -> bool {
        shared.context.metrics.requests.late.load(Relaxed) >= max
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.shared.context.metrics.requests.late.fetch_sub(1, Relaxed);
    }
}
