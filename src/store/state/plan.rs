//! What a close would tell auth, before it is closed.

use super::State;
use super::journal::Seen;
use crate::domain::UserTime;
use crate::store::night::{PLAN_USERS_MAX, Plan};
use crate::store::{Cursor, Page};

/// Slots looked at for one page, so that a lock around the state is never held for longer than a
/// few hundred microseconds.
const PAGE_SLOTS: usize = 4096;

impl State {
    /// [`crate::store::StateStore::night_plan`]. Slots never move, so a cursor is the next one.
    pub fn night_plan(&self, from: Option<Cursor>, limit: usize) -> Seen<Plan> {
        let (mut slot, limit) = (slot_of(from), limit.clamp(1, PLAN_USERS_MAX));
        let (all, mut position) = (self.table.slot_count(), self.day_position);
        let end = all.min(slot.saturating_add(PAGE_SLOTS));
        let mut items = Vec::new();
        while slot < end && items.len() < limit {
            if let Some(entry) = self.table.get(slot)
                && let Some(study_time) = entry.told_if_closed(self.day)
            {
                let study_time = study_time.cloned();
                items.push(UserTime { user: entry.user.clone(), study_time });
                position = position.max(entry.stamp);
            }
            slot += 1;
        }
        let next = (slot < all).then_some(Cursor([slot as u64, 0, 0]));
        Seen { value: Plan { day: self.day, users: Page { items, next } }, position }
    }
}

fn slot_of(from: Option<Cursor>) -> usize {
    let Some(Cursor([slot, ..])) = from else { return 0 };
    usize::try_from(slot).unwrap_or(usize::MAX)
}
