//! How changes of the state are written down, and how it is made from what was written.

use super::State;
use super::delivery::Delivery;
use super::entry::Entry;
use crate::domain::UserId;
use crate::store::night::{Batch, Night, PastNight};

/// Where changes are written down before anyone hears of them. Everything between two calls of
/// [`Journal::commit`] is one change: all of it is found after a crash, or nothing.
pub trait Journal {
    /// The entry is now as given.
    fn put(&mut self, entry: &Entry);
    /// The user is gone.
    fn remove(&mut self, user: &UserId);
    /// The night stands as given.
    fn night(&mut self, night: &Night);
    /// What is remembered of a night is as given.
    fn past_night(&mut self, night: &PastNight);
    /// The frame is formed, behind those that are.
    fn batch_formed(&mut self, batch: &Batch);
    /// The frame with this id is no more.
    fn batch_gone(&mut self, id: &str);
    /// The position that the change under way will have.
    fn position(&self) -> u64;
    /// The change is complete.
    fn commit(&mut self);
}

/// A journal that keeps nothing, for the memory store.
#[derive(Debug, Clone, Copy)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn put(&mut self, _: &Entry) {}
    fn remove(&mut self, _: &UserId) {}
    fn night(&mut self, _: &Night) {}
    fn past_night(&mut self, _: &PastNight) {}
    fn batch_formed(&mut self, _: &Batch) {}
    fn batch_gone(&mut self, _: &str) {}
    fn position(&self) -> u64 {
        0
    }
    fn commit(&mut self) {}
}

/// What was seen or done, and the journal position that must be durable before anyone is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<T> {
    /// The answer.
    pub value: T,
    /// The answer depends on nothing after this position.
    pub position: u64,
}

/// What a journal's reader does with what it finds, in the order in which it was written.
impl State {
    /// Undoes nothing: the entry simply is as given now.
    pub fn restore_entry(&mut self, entry: Entry) {
        let slot = match self.table.find_user(&entry.user) {
            Some(slot) => {
                self.table.unlink_session(slot);
                slot
            }
            None => self.table.insert(Entry::new(entry.user.clone(), entry.day)),
        };
        let live = entry.live;
        *self.table.entry_mut(slot) = entry;
        if live {
            self.table.link_session(slot);
        }
    }

    /// The user is gone.
    pub fn restore_removal(&mut self, user: &UserId) {
        if let Some(slot) = self.table.find_user(user) {
            self.table.remove(slot);
        }
    }

    /// The night stood as given.
    pub fn restore_night(&mut self, night: &Night) {
        self.day = night.day;
        self.listed_at = night.listed_at;
        self.undelivered = night
            .undelivered
            .iter()
            .map(|closed| {
                let closed_at = closed.closed_at;
                (closed.day, Delivery { closed_at, next_slot: 0, too_long: 0 })
            })
            .collect();
    }

    /// The frame was formed. What is read may begin in the middle, so it may be known.
    pub fn restore_batch(&mut self, batch: Batch) {
        if self.batches.iter().all(|known| known.id != batch.id) {
            self.batches.push_back(batch);
        }
    }

    /// The frame was there no more.
    pub fn restore_batch_gone(&mut self, id: &str) {
        self.batches.retain(|batch| batch.id != id);
    }

    /// There was no frame.
    pub fn restore_no_batch(&mut self) {
        self.batches.clear();
    }

    /// Slots of the user table, used or free; slots never move and never become fewer.
    pub fn slot_count(&self) -> usize {
        self.table.slot_count()
    }

    /// The entry in a slot, if it is used.
    pub fn entry_at(&self, slot: usize) -> Option<&Entry> {
        self.table.get(slot)
    }

    /// Users with a record.
    pub fn user_count(&self) -> usize {
        self.table.user_count()
    }
}
