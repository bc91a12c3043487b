//! Users in slots that never move, found by user and by live session.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::entry::Entry;
use crate::domain::{SessionId, UserId};

/// Entries in one piece of memory. Pieces are never copied when the table grows.
const PAGE: usize = 1024;

/// Where an entry is, from its insertion to its removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// The users of a state.
///
/// Invariant: `sessions` leads from a session to a slot exactly if the entry there is `live` and
/// names this session.
#[derive(Debug, Default)]
pub(super) struct Table {
    pages: Vec<Vec<Option<Entry>>>,
    free: Vec<Slot>,
    users: HashTable<Slot>,
    sessions: HashTable<Slot>,
    hasher: DefaultHashBuilder,
}

impl Table {
    pub(super) fn find_user(&self, user: &UserId) -> Option<Slot> {
        let hash = self.hasher.hash_one(user);
        self.users.find(hash, |slot| self.entry(*slot).user == *user).copied()
    }

    pub(super) fn find_session(&self, session: &SessionId) -> Option<Slot> {
        let hash = self.hasher.hash_one(session);
        self.sessions
            .find(hash, |slot| self.entry(*slot).session.as_ref() == Some(session))
            .copied()
    }

    /// The entry in a slot that is known to be used.
    pub(super) fn entry(&self, slot: Slot) -> &Entry {
        entry_in(&self.pages, slot)
    }

    /// The entry in a slot that is known to be used. What leads to it, its user and its live
    /// session, is not to be changed through this.
    #[expect(clippy::expect_used, reason = "a slot is given out at insertion and ends at removal")]
    pub(super) fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        self.get_mut(slot.index()).expect("the slot is used")
    }

    pub(super) fn get(&self, slot: usize) -> Option<&Entry> {
        self.pages.get(slot / PAGE)?.get(slot % PAGE)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.pages.get_mut(slot / PAGE)?.get_mut(slot % PAGE)?.as_mut()
    }

    /// Slots there are, used or free.
    pub(super) fn slot_count(&self) -> usize {
        match self.pages.last() {
            Some(last) => (self.pages.len() - 1) * PAGE + last.len(),
            None => 0,
        }
    }

    pub(super) fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Puts in the entry of a user who has none. It is not live yet.
    pub(super) fn insert(&mut self, entry: Entry) -> Slot {
        let hash = self.hasher.hash_one(&entry.user);
        let slot = self.place(entry);
        let (pages, hasher) = (&self.pages, &self.hasher);
        self.users.insert_unique(hash, slot, |slot| hasher.hash_one(&entry_in(pages, *slot).user));
        slot
    }

    #[expect(clippy::expect_used, reason = "four billion entries do not fit into memory")]
    fn place(&mut self, entry: Entry) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.pages[slot.index() / PAGE][slot.index() % PAGE] = Some(entry);
            return slot;
        }
        let slot = Slot(u32::try_from(self.slot_count()).expect("fewer than 2^32 users"));
        match self.pages.last_mut() {
            Some(last) if last.len() < PAGE => last.push(Some(entry)),
            _ => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(Some(entry));
                self.pages.push(page);
            }
        }
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.unlink_session(slot);
        let hash = self.hasher.hash_one(&self.entry(slot).user);
        if let Ok(found) = self.users.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        self.pages[slot.index() / PAGE][slot.index() % PAGE] = None;
        self.free.push(slot);
    }

    /// The live session of the entry leads to it from now on.
    pub(super) fn link_session(&mut self, slot: Slot) {
        let Some(session) = &self.entry(slot).session else { return };
        let hash = self.hasher.hash_one(session);
        let (pages, hasher) = (&self.pages, &self.hasher);
        // Every entry in this table is live, so it has a session; `None` never gets a hash here.
        self.sessions.insert_unique(hash, slot, |slot| {
            entry_in(pages, *slot).session.as_ref().map_or(0, |session| hasher.hash_one(session))
        });
    }

    /// Nothing leads from a session to the entry any more.
    pub(super) fn unlink_session(&mut self, slot: Slot) {
        let Some(session) = &self.entry(slot).session else { return };
        let hash = self.hasher.hash_one(session);
        if let Ok(found) = self.sessions.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
    }
}

impl Slot {
    fn index(self) -> usize {
        self.0 as usize
    }
}

#[expect(clippy::expect_used, reason = "a slot is given out at insertion and ends at removal")]
fn entry_in(pages: &[Vec<Option<Entry>>], slot: Slot) -> &Entry {
    pages[slot.index() / PAGE][slot.index() % PAGE].as_ref().expect("the slot is used")
}
