//! Who is in which room: lists that run through the users' slots, in the order of arrival.
//!
//! Nothing of it is stored: it follows from which sessions are live. A session that comes or goes
//! costs a look-up of its room and a few links, and memory only where there was never so much.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::pages::Pages;
use super::table::Slot;
use crate::domain::RoomId;
use crate::store::lookup::RoomCount;

/// No slot and no room: there are fewer than 2^32 of either.
const NONE: u32 = u32::MAX;

/// The rooms with a live session.
///
/// Invariants: `by_id` leads to exactly the rooms with a session, and `free` to all others. A room
/// stays where it is in `rooms` for as long as somebody is in it. Along a room's list `arrival`
/// grows.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: Pages<Room>,
    free: Vec<u32>,
    by_id: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Each user slot's place in a list.
    links: Pages<Link>,
    arrivals: u64,
}

#[derive(Debug, Clone, Copy)]
struct Room {
    id: RoomId,
    sessions: u32,
    oldest: u32,
    newest: u32,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    /// Where the room is; `NONE` if the slot is in no list.
    room: u32,
    before: u32,
    after: u32,
    /// Counts up over all that ever entered a room.
    arrival: u64,
}

/// Where somebody stands who walks along a room's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Everybody up to this arrival was seen.
    pub(super) seen: u64,
    /// A slot to go on behind, if this arrival is still in it.
    pub(super) slot: u32,
    pub(super) arrival: u64,
}

impl Place {
    /// Before everybody.
    pub(super) const START: Self = Self { seen: 0, slot: NONE, arrival: 0 };
}

impl Rooms {
    /// Rooms with a live session.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Live sessions in the room.
    pub(super) fn sessions_in(&self, id: RoomId) -> u64 {
        self.find(id).and_then(|at| self.room(at)).map_or(0, |room| room.sessions.into())
    }

    /// When the slot entered a room last: for whoever only wants to have looked at its place.
    pub(super) fn arrival_of(&self, slot: Slot) -> u64 {
        self.links.get(slot.index()).map_or(0, |link| link.arrival)
    }

    /// The slot, which is in no room, is the newest in this one.
    pub(super) fn enter(&mut self, slot: Slot, id: RoomId) {
        let at = self.find(id).unwrap_or_else(|| self.insert(id));
        self.arrivals += 1;
        let arrival = self.arrivals;
        let Some(room) = self.rooms.get_mut(at as usize) else { return };
        let link = Link { room: at, before: room.newest, after: NONE, arrival };
        let newest = slot.number();
        match self.links.get_mut(room.newest as usize) {
            Some(before) => before.after = newest,
            None => room.oldest = newest,
        }
        room.newest = newest;
        room.sessions += 1;
        while self.links.len() <= slot.index() {
            self.links.push(Link { room: NONE, before: NONE, after: NONE, arrival: 0 });
        }
        if let Some(own) = self.links.get_mut(slot.index()) {
            *own = link;
        }
    }

    /// The slot is in no room any more; done twice is done once.
    pub(super) fn leave(&mut self, slot: Slot) {
        let Some(own) = self.links.get_mut(slot.index()) else { return };
        let Link { room: at, before, after, .. } = *own;
        own.room = NONE;
        let Some(room) = self.rooms.get_mut(at as usize).filter(|_| at != NONE) else { return };
        match self.links.get_mut(before as usize) {
            Some(before) => before.after = after,
            None => room.oldest = after,
        }
        match self.links.get_mut(after as usize) {
            Some(after) => after.before = before,
            None => room.newest = before,
        }
        room.sessions -= 1;
        if room.sessions == 0 {
            let id = room.id;
            self.remove(at, id);
        }
    }

    /// The rooms in places from `from` on, `limit` of them at the most, after a look at so many
    /// places; and the place to go on from, if there are more.
    pub(super) fn page(
        &self,
        from: usize,
        limit: usize,
        looks: usize,
    ) -> (Vec<RoomCount>, Option<usize>) {
        let mut found = Vec::new();
        let end = self.rooms.len().min(from.saturating_add(looks));
        let mut at = from;
        while at < end && found.len() < limit {
            if let Some(room) = self.rooms.get(at).filter(|room| room.sessions > 0) {
                found.push(RoomCount { room: room.id, sessions: room.sessions.into() });
            }
            at += 1;
        }
        (found, (at < self.rooms.len()).then_some(at))
    }

    /// Who is in the room behind `from`, `limit` slots at the most, after so many steps; and where
    /// to go on, if there are more.
    pub(super) fn members(
        &self,
        id: RoomId,
        from: Place,
        limit: usize,
        steps: usize,
    ) -> (Vec<u32>, Option<Place>) {
        let Some((at, room)) = self.find(id).and_then(|at| Some((at, self.room(at)?))) else {
            return (Vec::new(), None);
        };
        // Who has left is no help: from the oldest again, past all that were seen.
        let known = self.links.get(from.slot as usize);
        let known = known.filter(|link| link.room == at && link.arrival == from.arrival);
        let mut next = known.map_or(room.oldest, |link| link.after);
        let mut place = from;
        let mut found = Vec::new();
        for _ in 0..steps {
            let Some(link) = self.links.get(next as usize) else { return (found, None) };
            if link.arrival > place.seen {
                if found.len() == limit {
                    break;
                }
                found.push(next);
            }
            place = Place { seen: place.seen.max(link.arrival), slot: next, arrival: link.arrival };
            next = link.after;
        }
        (found, (next != NONE).then_some(place))
    }

    fn room(&self, at: u32) -> Option<&Room> {
        self.rooms.get(at as usize)
    }

    fn find(&self, id: RoomId) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        let is_it = |at: &u32| self.room(*at).is_some_and(|room| room.id == id);
        self.by_id.find(hash, is_it).copied()
    }

    #[expect(clippy::expect_used, reason = "there are no more rooms than users")]
    fn insert(&mut self, id: RoomId) -> u32 {
        let room = Room { id, sessions: 0, oldest: NONE, newest: NONE };
        let at = match self.free.pop() {
            Some(at) => at,
            None => u32::try_from(self.rooms.len()).expect("fewer than 2^32 rooms"),
        };
        match self.rooms.get_mut(at as usize) {
            Some(free) => *free = room,
            None => self.rooms.push(room),
        }
        let (rooms, hasher) = (&self.rooms, &self.hasher);
        self.by_id.insert_unique(hasher.hash_one(id), at, |at| {
            rooms.get(*at as usize).map_or(0, |room| hasher.hash_one(room.id))
        });
        at
    }

    fn remove(&mut self, at: u32, id: RoomId) {
        let hash = self.hasher.hash_one(id);
        if let Ok(found) = self.by_id.find_entry(hash, |other| *other == at) {
            found.remove();
        }
        self.free.push(at);
    }
}
