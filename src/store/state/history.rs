//! What is remembered of closed days: the latest ones, each with what became of it.

use std::collections::BTreeMap;

use super::State;
use super::journal::Journal;
use crate::domain::{Day, UnixMillis};
use crate::store::night::{NIGHTS_KEPT, PastNight};

/// The latest nights.
#[derive(Debug, Default)]
pub(super) struct History {
    nights: BTreeMap<Day, PastNight>,
}

impl History {
    /// The day's night is as given from now on; the oldest is forgotten for a new one.
    pub(super) fn keep(&mut self, night: PastNight) {
        self.nights.insert(night.closed.day, night);
        while self.nights.len() > NIGHTS_KEPT {
            self.nights.pop_first();
        }
    }

    fn latest(&self) -> impl Iterator<Item = &PastNight> {
        self.nights.values().rev()
    }
}

impl State {
    /// [`crate::store::StateStore::night_history`], as of [`State::night_position`].
    pub fn night_history(&self, limit: usize) -> Vec<PastNight> {
        self.history.latest().take(limit).copied().collect()
    }

    /// A night begins to be remembered.
    pub(super) fn remember(&mut self, journal: &mut impl Journal, night: PastNight) {
        journal.past_night(&night);
        self.history.keep(night);
    }

    /// Auth acknowledged a frame of the day. Days that were closed before they were remembered, or
    /// too long ago, stay unknown.
    pub(super) fn remember_frame(&mut self, journal: &mut impl Journal, day: Day, users: usize) {
        let Some(night) = self.history.nights.get_mut(&day) else { return };
        night.frames += 1;
        night.users += users as u64;
        journal.past_night(night);
    }

    /// Nothing of the day is left to tell.
    pub(super) fn remember_delivery(
        &mut self,
        journal: &mut impl Journal,
        day: Day,
        at: UnixMillis,
    ) {
        let Some(night) = self.history.nights.get_mut(&day) else { return };
        night.delivered_at = Some(at);
        journal.past_night(night);
    }

    /// What is remembered of a night was as given.
    pub fn restore_past_night(&mut self, night: PastNight) {
        self.history.keep(night);
    }

    /// All nights that are remembered.
    pub fn past_nights(&self) -> impl Iterator<Item = &PastNight> {
        self.history.latest()
    }
}
