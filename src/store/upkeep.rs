//! What a store keeps in order beside the records, in figures.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::lookup::Population;

/// What became of rooms' sets and of what a crash left behind. Only Redis has any of it: the other
/// stores change everything about a user at once, and derive their rooms.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// Sessions that a room's set did not take in, though they are live.
    pub entries_refused: AtomicU64,
    /// Sessions that are over and were not taken out of a room's set: too many were at once, or
    /// Redis did not do it.
    pub exits_given_up: AtomicU64,
    /// What the latest pass could not read or did not understand, and left as it is.
    pub left_alone: AtomicU64,
    mended: [AtomicU64; Mended::ALL.len()],
    counted: Mutex<Option<Population>>,
}

/// What is put right again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mended {
    /// A session in a room's set that is not live in that room.
    StaleMember,
    /// A live session that was missing in its room's set.
    MissingMember,
    /// A session's index that led to a user whose session it is not.
    StaleIndex,
}

impl Mended {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::StaleMember, Self::MissingMember, Self::StaleIndex];

    /// For figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::StaleMember => "stale_member",
            Self::MissingMember => "missing_member",
            Self::StaleIndex => "stale_index",
        }
    }
}

impl Upkeep {
    /// What was mended so far, by kind.
    pub fn mended(&self) -> impl Iterator<Item = (Mended, u64)> {
        Mended::ALL.into_iter().zip(self.mended.iter().map(|count| count.load(Relaxed)))
    }

    /// What was counted last, here or by another daemon, as far as this one has heard.
    pub fn counted(&self) -> Option<Population> {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_mended(&self, kind: Mended, count: u64) {
        if let Some(mended) = self.mended.get(kind as usize) {
            mended.fetch_add(count, Relaxed);
        }
    }

    pub(super) fn hear_of(&self, population: Population) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(population);
    }
}
