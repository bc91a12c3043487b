//! Users in slots that never move, found by user, by live session and by room.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::entry::Entry;
use super::pages::Pages;
use super::rooms::Rooms;
use crate::domain::{SessionId, UserId};
use crate::store::{AHEAD_MAX, Key};

/// Where an entry is, from its insertion to its removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// The users of a state.
///
/// Invariant: `sessions` leads from a session to a slot exactly if the entry there is `live` and
/// names this session; and then, if the entry names a room, the slot is in that room's list.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Pages<Option<Entry>>,
    free: Vec<Slot>,
    users: HashTable<Slot>,
    sessions: HashTable<Slot>,
    rooms: Rooms,
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

    /// Looks at what [`Self::find_user`] and [`Self::find_session`] will look at for the first
    /// [`AHEAD_MAX`] of the keys. A look-up is waiting for memory, for one place after the other; of
    /// several that don't depend on each other the processor waits for all at once.
    pub(super) fn look_ahead<'a>(&self, keys: impl Iterator<Item = Key<'a>>) {
        let mut slots = [None; AHEAD_MAX];
        for (slot, key) in slots.iter_mut().zip(keys) {
            // What is likely to be it: to be sure, its entry would have to be there.
            *slot = match key {
                Key::User(user) => self.users.find(self.hasher.hash_one(user), |_| true),
                Key::Session(session) => {
                    self.sessions.find(self.hasher.hash_one(session), |_| true)
                }
            };
        }
        let mut seen = 0;
        for slot in slots.into_iter().flatten() {
            let entry = self.get(slot.index());
            seen ^= entry.map_or(0, |entry| entry.stamp ^ entry.user.as_str().len() as u64);
            seen ^= self.rooms.arrival_of(*slot);
        }
        std::hint::black_box(seen);
    }

    /// The entry in a slot that is known to be used.
    pub(super) fn entry(&self, slot: Slot) -> &Entry {
        entry_in(&self.slots, slot)
    }

    /// The entry in a slot that is known to be used. What leads to it, its user, its live session
    /// and that one's room, is not to be changed through this.
    #[expect(clippy::expect_used, reason = "a slot is given out at insertion and ends at removal")]
    pub(super) fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        self.get_mut(slot.index()).expect("the slot is used")
    }

    pub(super) fn get(&self, slot: usize) -> Option<&Entry> {
        self.slots.get(slot)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Slots there are, used or free.
    pub(super) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Live sessions.
    pub(super) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// Puts in the entry of a user who has none. It is not live yet.
    pub(super) fn insert(&mut self, entry: Entry) -> Slot {
        let hash = self.hasher.hash_one(&entry.user);
        let slot = self.place(entry);
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.users.insert_unique(hash, slot, |slot| hasher.hash_one(&entry_in(slots, *slot).user));
        slot
    }

    #[expect(clippy::expect_used, reason = "four billion entries do not fit into memory")]
    fn place(&mut self, entry: Entry) -> Slot {
        if let Some(slot) = self.free.pop()
            && let Some(free) = self.slots.get_mut(slot.index())
        {
            *free = Some(entry);
            return slot;
        }
        let slot = Slot(u32::try_from(self.slot_count()).expect("fewer than 2^32 users"));
        self.slots.push(Some(entry));
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.unlink_session(slot);
        let hash = self.hasher.hash_one(&self.entry(slot).user);
        if let Ok(found) = self.users.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        if let Some(used) = self.slots.get_mut(slot.index()) {
            *used = None;
        }
        self.free.push(slot);
    }

    /// The live session of the entry leads to it from now on, and is in its room.
    pub(super) fn link_session(&mut self, slot: Slot) {
        if let Some(room) = self.entry(slot).room {
            self.rooms.enter(slot, room);
        }
        let Some(session) = &self.entry(slot).session else { return };
        let hash = self.hasher.hash_one(session);
        let (slots, hasher) = (&self.slots, &self.hasher);
        // Every entry in this table is live, so it has a session; `None` never gets a hash here.
        self.sessions.insert_unique(hash, slot, |slot| {
            entry_in(slots, *slot).session.as_ref().map_or(0, |session| hasher.hash_one(session))
        });
    }

    /// Nothing leads from a session to the entry any more, and it is in no room.
    pub(super) fn unlink_session(&mut self, slot: Slot) {
        self.rooms.leave(slot);
        let Some(session) = &self.entry(slot).session else { return };
        let hash = self.hasher.hash_one(session);
        if let Ok(found) = self.sessions.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
    }
}

impl Slot {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }

    pub(super) fn number(self) -> u32 {
        self.0
    }
}

#[expect(clippy::expect_used, reason = "a slot is given out at insertion and ends at removal")]
fn entry_in(slots: &Pages<Option<Entry>>, slot: Slot) -> &Entry {
    slots.get(slot.index()).and_then(Option::as_ref).expect("the slot is used")
}
