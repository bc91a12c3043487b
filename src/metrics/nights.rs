//! Frames of closed days to auth.

use std::sync::atomic::AtomicU64;

/// Since the daemon started.
#[derive(Debug, Default)]
pub struct Nights {
    /// Frames that auth acknowledged.
    pub batches_delivered: AtomicU64,
    /// Users in those.
    pub users_delivered: AtomicU64,
    /// Frames that were not acknowledged, and are sent again.
    pub batches_retried: AtomicU64,
}
