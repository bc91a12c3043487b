//! What operators look up in the state. Nothing here changes it.

use super::State;
use super::journal::Seen;
use super::rooms::Place;
use crate::domain::{Record, RoomId, SessionId, UnixMillis, UserId};
use crate::store::lookup::{
    Cursor, KnownUser, Member, PAGE_ITEMS_MAX, Page, Population, RoomCount,
};

/// Places looked at for one page, so that a lock around the state is never held for longer than a
/// few hundred microseconds.
const LOOKS_MAX: usize = 4096;

impl State {
    /// [`crate::store::StateStore::user`].
    pub fn user(&self, user: &UserId) -> Seen<Option<KnownUser>> {
        match self.table.find_user(user) {
            Some(slot) => {
                let entry = self.table.entry(slot);
                let known = KnownUser { record: entry.record(self.day), is_live: entry.live };
                Seen { value: Some(known), position: entry.stamp.max(self.day_position) }
            }
            None => Seen { value: None, position: self.absence_position },
        }
    }

    /// [`crate::store::StateStore::session`].
    pub fn session(&self, session: &SessionId) -> Seen<Option<Record>> {
        match self.table.find_session(session) {
            Some(slot) => {
                let entry = self.table.entry(slot);
                let position = entry.stamp.max(self.day_position);
                Seen { value: Some(entry.record(self.day)), position }
            }
            None => Seen { value: None, position: self.absence_position },
        }
    }

    /// [`crate::store::StateStore::rooms`].
    pub fn rooms(&self, from: Option<Cursor>, limit: usize) -> Page<RoomCount> {
        let [from, ..] = from.map_or([0; 3], |cursor| cursor.0);
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let (items, next) = self.table.rooms().page(from, limit, LOOKS_MAX);
        Page { items, next: next.map(|next| Cursor([next as u64, 0, 0])) }
    }

    /// [`crate::store::StateStore::room`].
    pub fn room(&self, room: RoomId) -> RoomCount {
        RoomCount { room, sessions: self.table.rooms().sessions_in(room) }
    }

    /// [`crate::store::StateStore::room_members`].
    pub fn room_members(&self, room: RoomId, from: Option<Cursor>, limit: usize) -> Page<Member> {
        let from = from.map_or(Place::START, |Cursor([seen, slot, arrival])| {
            let slot = u32::try_from(slot).unwrap_or(u32::MAX);
            Place { seen, slot, arrival }
        });
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let (slots, next) = self.table.rooms().members(room, from, limit, LOOKS_MAX);
        let entries = slots.into_iter().filter_map(|slot| self.table.get(slot as usize));
        let members = entries.filter_map(|entry| {
            Some(Member { session: entry.session.clone()?, user: entry.user.clone() })
        });
        let next = next.map(|place| Cursor([place.seen, place.slot.into(), place.arrival]));
        Page { items: members.collect(), next }
    }

    /// [`crate::store::StateStore::population`].
    pub fn population(&self, as_of: UnixMillis) -> Population {
        Population {
            users: self.table.user_count() as u64,
            sessions_live: self.table.session_count() as u64,
            rooms: self.table.rooms().len() as u64,
            as_of,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::store::state::journal::NoJournal;

    const USERS: u8 = 12;
    const ROOMS: i64 = 3;

    /// A user enters a room, or leaves.
    type Step = (u8, Option<i64>);

    fn step() -> impl Strategy<Value = Step> {
        (0..USERS, prop::option::weighted(0.7, 0..ROOMS))
    }

    fn play(state: &mut State, (user, room): Step) {
        let session = SessionId::parse(&format!("s{user}")).unwrap();
        let user = UserId::parse(&format!("u{user}")).unwrap();
        match room {
            Some(room) => {
                drop(state.open_session(&mut NoJournal, &user, Some(RoomId(room)), &session))
            }
            None => drop(state.close_session(&mut NoJournal, &session)),
        }
    }

    /// Who is where, by looking at everybody.
    fn everybody(state: &State) -> BTreeMap<i64, BTreeSet<String>> {
        let mut rooms = BTreeMap::<_, BTreeSet<_>>::new();
        for user in 0..USERS {
            let user = UserId::parse(&format!("u{user}")).unwrap();
            let Some(known) = state.user(&user).value else { continue };
            if let (true, Some(room)) = (known.is_live, known.record.room) {
                rooms.entry(room.0).or_default().insert(user.as_str().to_owned());
            }
        }
        rooms
    }

    proptest! {
        #[test]
        fn the_rooms_are_what_looking_at_everybody_says(steps in prop::collection::vec(step(), 0..80)) {
            let mut state = State::default();
            for step in steps {
                play(&mut state, step);
                let expected = everybody(&state);
                let rooms = state.rooms(None, 100);
                let rooms = rooms.items.iter().map(|found| (found.room.0, found.sessions as usize));
                let counts = expected.iter().map(|(room, users)| (*room, users.len()));
                prop_assert_eq!(rooms.collect::<BTreeMap<_, _>>(), counts.collect::<BTreeMap<_, _>>());
                for room in 0..ROOMS {
                    let page = state.room_members(RoomId(room), None, 100);
                    let users = expected.get(&room).cloned().unwrap_or_default();
                    prop_assert_eq!(state.room(RoomId(room)).sessions, users.len() as u64);
                    prop_assert_eq!(page.items.len(), users.len());
                    let found = page.items.iter().map(|member| member.user.as_str().to_owned());
                    prop_assert_eq!(found.collect::<BTreeSet<_>>(), users);
                }
                prop_assert_eq!(state.population(UnixMillis(0)).rooms as usize, expected.len());
            }
        }

        #[test]
        fn who_is_there_all_the_while_is_on_one_page_exactly(
            before in prop::collection::vec(step(), 0..40),
            between in prop::collection::vec(prop::collection::vec(step(), 0..4), 0..20),
            limit in 1..4_usize,
        ) {
            let mut state = State::default();
            for step in before {
                play(&mut state, step);
            }
            let mut stayed = everybody(&state).remove(&0).unwrap_or_default();
            let (mut listed, mut from) = (Vec::new(), None);
            let mut between = between.into_iter();
            loop {
                let page = state.room_members(RoomId(0), from, limit);
                prop_assert!(page.items.len() <= limit);
                listed.extend(page.items.into_iter().map(|member| member.user.as_str().to_owned()));
                from = page.next;
                if from.is_none() {
                    break;
                }
                for step in between.next().unwrap_or_default() {
                    stayed.remove(&format!("u{}", step.0));
                    play(&mut state, step);
                }
            }
            for user in stayed {
                prop_assert_eq!(listed.iter().filter(|other| **other == user).count(), 1);
            }
        }

        #[test]
        fn a_room_that_is_never_empty_is_on_one_page_exactly(
            before in prop::collection::vec(step(), 0..40),
            between in prop::collection::vec(step(), 0..20),
        ) {
            let mut state = State::default();
            for step in before {
                play(&mut state, step);
            }
            let mut stayed: BTreeSet<_> = everybody(&state).into_keys().collect();
            let (mut listed, mut from) = (Vec::new(), None);
            let mut between = between.into_iter();
            loop {
                let page = state.rooms(from, 1);
                listed.extend(page.items.into_iter().map(|found| found.room.0));
                from = page.next;
                if from.is_none() {
                    break;
                }
                if let Some(step) = between.next() {
                    play(&mut state, step);
                    let now = everybody(&state);
                    stayed.retain(|room| now.contains_key(room));
                }
            }
            for room in stayed {
                prop_assert_eq!(listed.iter().filter(|other| **other == room).count(), 1);
            }
        }
    }

    #[test]
    fn a_page_of_a_large_room_takes_bounded_work() {
        let mut state = State::default();
        let count = LOOKS_MAX * 2 + 10;
        for number in 0..count {
            let user = UserId::parse(&format!("u{number}")).unwrap();
            let session = SessionId::parse(&format!("s{number}")).unwrap();
            state.open_session(&mut NoJournal, &user, Some(RoomId(1)), &session);
        }
        // The cursor's own slot is gone, so all that were seen are passed over in steps.
        let place = Cursor([count as u64 - 1, 0, u64::MAX]);
        let first = state.room_members(RoomId(1), Some(place), 10);
        assert_eq!((first.items.len(), first.next.is_some()), (0, true));
        let second = state.room_members(RoomId(1), first.next, 10);
        assert_eq!((second.items.len(), second.next.is_some()), (0, true));
        let third = state.room_members(RoomId(1), second.next, 10);
        assert_eq!((third.items.len(), third.next), (1, None));
    }
}
