//! What a store keeps in order beside the records, in figures.

use std::sync::atomic::AtomicU64;

/// What became of rooms' sets and of what a crash left behind. Only Redis has any of it: the other
/// stores change everything about a user at once, and derive their rooms.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// Sessions that a room's set did not take in, though they are live.
    pub entries_refused: AtomicU64,
    /// Sessions that are over and were not taken out of a room's set, because too many were.
    pub exits_given_up: AtomicU64,
}
