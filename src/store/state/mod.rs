//! The state as a plain value: every operation of the port as a function without waiting.
//!
//! The memory and the embedded store are this value behind a lock; the tests hold the Redis
//! scripts against it. Nothing here grows with the number of users but the tables themselves.
//!
//! How a day ends in it: closing only counts the running day up. What an entry of an older day
//! holds is thereby sealed, without being touched: it reads as null, and [`Entry::settle`] sets it
//! aside when somebody next writes to the entry or delivers it.

pub mod delivery;
pub mod entry;
mod history;
pub mod journal;
mod lookup;
mod pages;
mod plan;
mod rooms;
pub mod sealed;
mod table;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hashbrown::HashSet;

use self::delivery::Delivery;
use self::entry::Entry;
use self::history::History;
use self::journal::{Journal, Seen};
use self::table::{Slot, Table};
use super::night::{Batch, ClosedBy, ClosedDay, Night, PastNight};
use super::{AHEAD_MAX, Key};
use crate::domain::{Day, Record, RoomId, SessionId, StudyTime, UnixMillis, UserId, UserTime};

/// The whole state of a store.
#[derive(Debug)]
pub struct State {
    table: Table,
    day: Day,
    listed_at: Option<UnixMillis>,
    undelivered: BTreeMap<Day, Delivery>,
    batches: VecDeque<Batch>,
    /// Where the latest of them were formed.
    formed_position: u64,
    history: History,
    /// Position of the latest change of the night.
    night_position: u64,
    /// Position of the latest close: what is read of a user depends on the running day.
    day_position: u64,
    /// Position of the latest removal: on it depends that a user or session is not there.
    absence_position: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            table: Table::default(),
            day: Day::FIRST,
            listed_at: None,
            undelivered: BTreeMap::new(),
            batches: VecDeque::new(),
            formed_position: 0,
            history: History::default(),
            night_position: 0,
            day_position: 0,
            absence_position: 0,
        }
    }
}

impl State {
    /// [`super::StateStore::look_ahead`].
    pub fn look_ahead<'a>(&self, keys: impl Iterator<Item = Key<'a>>) {
        self.table.look_ahead(keys);
    }

    /// [`super::StateStore::open_session`].
    pub fn open_session(
        &mut self,
        journal: &mut impl Journal,
        user: &UserId,
        room: Option<RoomId>,
        session: &SessionId,
    ) -> Seen<Record> {
        let today = self.day;
        if let Some(owner) = self.table.find_session(session) {
            self.end_session(journal, owner, user);
        }
        let slot = self.settled(user);
        if self.table.entry(slot).live {
            // The session that is replaced resolves to nobody from here on.
            self.absence_position = journal.position();
        }
        self.table.unlink_session(slot);
        let entry = self.table.entry_mut(slot);
        entry.room = room;
        entry.session = Some(session.clone());
        entry.live = true;
        entry.fresh = true;
        let record = entry.record(today);
        self.table.link_session(slot);
        self.put_and_commit(journal, slot, record)
    }

    /// Takes the session from an owner who is not `but`.
    fn end_session(&mut self, journal: &mut impl Journal, owner: Slot, but: &UserId) {
        if self.table.entry(owner).user == *but {
            return;
        }
        self.table.unlink_session(owner);
        let entry = self.table.entry_mut(owner);
        entry.live = false;
        entry.stamp = journal.position();
        journal.put(entry);
    }

    /// [`super::StateStore::close_session`].
    pub fn close_session(
        &mut self,
        journal: &mut impl Journal,
        session: &SessionId,
    ) -> Seen<Option<Record>> {
        let today = self.day;
        let Some(slot) = self.table.find_session(session) else {
            return Seen { value: None, position: self.absence_position };
        };
        self.table.unlink_session(slot);
        let entry = self.table.entry_mut(slot);
        entry.live = false;
        let record = entry.record(today);
        self.absence_position = journal.position();
        self.put_and_commit(journal, slot, Some(record))
    }

    /// [`super::StateStore::study_time`].
    pub fn study_time(&self, user: &UserId) -> Seen<Option<StudyTime>> {
        match self.table.find_user(user) {
            Some(slot) => {
                let entry = self.table.entry(slot);
                let value = entry.study_time_on(self.day).cloned();
                Seen { value, position: entry.stamp.max(self.day_position) }
            }
            None => Seen { value: None, position: self.absence_position },
        }
    }

    /// [`super::StateStore::record_study_time`].
    pub fn record_study_time(
        &mut self,
        journal: &mut impl Journal,
        user: &UserId,
        study_time: &StudyTime,
    ) -> Seen<Record> {
        let today = self.day;
        let slot = self.settled(user);
        let entry = self.table.entry_mut(slot);
        entry.record_study_time(study_time.clone(), today);
        let record = entry.record(today);
        self.put_and_commit(journal, slot, record)
    }

    /// [`super::StateStore::list_study_times`].
    pub fn list_study_times(
        &mut self,
        journal: &mut impl Journal,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Seen<()> {
        self.close_if_overdue(journal, at, last_timeout);
        self.list(journal, entries);
        self.listed_at = Some(at);
        self.write_night(journal);
        self.commit(journal, ())
    }

    /// [`super::StateStore::close_day`].
    pub fn close_day(
        &mut self,
        journal: &mut impl Journal,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Seen<Day> {
        self.close_if_overdue(journal, at, last_timeout);
        self.list(journal, entries);
        let closed = self.end_day(journal, at, ClosedBy::Last);
        self.commit(journal, closed)
    }

    /// [`super::StateStore::close_day_by_hand`].
    pub fn close_day_by_hand(&mut self, journal: &mut impl Journal, at: UnixMillis) -> Seen<Day> {
        let closed = self.end_day(journal, at, ClosedBy::Operator);
        self.commit(journal, closed)
    }

    /// [`super::StateStore::close_overdue_day`].
    pub fn close_overdue_day(
        &mut self,
        journal: &mut impl Journal,
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Seen<Option<Day>> {
        match self.close_if_overdue(journal, at, last_timeout) {
            Some(day) => self.commit(journal, Some(day)),
            None => Seen { value: None, position: self.night_position },
        }
    }

    /// [`super::StateStore::night`].
    pub fn night(&self) -> Night {
        let undelivered = self.undelivered.iter();
        Night {
            day: self.day,
            listed_at: self.listed_at,
            undelivered: undelivered
                .map(|(day, delivery)| ClosedDay { day: *day, closed_at: delivery.closed_at })
                .collect(),
        }
    }

    /// The position on which what [`State::night`] says depends.
    pub fn night_position(&self) -> u64 {
        self.night_position
    }

    fn close_if_overdue(
        &mut self,
        journal: &mut impl Journal,
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Option<Day> {
        let listed_at = self.listed_at?;
        if at.since(listed_at) < last_timeout {
            return None;
        }
        Some(self.end_day(journal, at, ClosedBy::Timeout))
    }

    /// The day is over: one assignment, whatever the number of users.
    fn end_day(&mut self, journal: &mut impl Journal, at: UnixMillis, by: ClosedBy) -> Day {
        let closed = self.day;
        let delivery = Delivery { closed_at: at, next_slot: 0, too_long: 0 };
        self.undelivered.insert(closed, delivery);
        self.day = closed.next();
        self.listed_at = None;
        self.write_night(journal);
        self.day_position = self.night_position;
        self.remember(journal, PastNight::new(ClosedDay { day: closed, closed_at: at }, by));
        closed
    }

    fn list(&mut self, journal: &mut impl Journal, entries: &[UserTime]) {
        let today = self.day;
        for some in last_of_each_user(entries).chunks(AHEAD_MAX) {
            self.look_ahead(some.iter().map(|entry| Key::User(&entry.user)));
            for UserTime { user, study_time } in some {
                let slot = self.settled(user);
                let entry = self.table.entry_mut(slot);
                entry.list_study_time(study_time.clone(), today);
                entry.stamp = journal.position();
                journal.put(entry);
            }
        }
    }

    /// The user's slot, made if there is none, with nothing of a closed day in its record.
    fn settled(&mut self, user: &UserId) -> Slot {
        let today = self.day;
        let slot = match self.table.find_user(user) {
            Some(slot) => slot,
            None => self.table.insert(Entry::new(user.clone(), today)),
        };
        self.table.entry_mut(slot).settle(today);
        slot
    }

    fn put_and_commit<T>(&mut self, journal: &mut impl Journal, slot: Slot, value: T) -> Seen<T> {
        let entry = self.table.entry_mut(slot);
        entry.stamp = journal.position();
        journal.put(entry);
        self.commit(journal, value)
    }

    fn write_night(&mut self, journal: &mut impl Journal) {
        self.night_position = journal.position();
        journal.night(&self.night());
    }

    fn commit<T>(&self, journal: &mut impl Journal, value: T) -> Seen<T> {
        let position = journal.position();
        journal.commit();
        Seen { value, position }
    }
}

/// The entries that count when a list names a user more than once: the last of each (contract §8).
pub fn last_of_each_user(entries: &[UserTime]) -> Vec<&UserTime> {
    let mut seen = HashSet::with_capacity(entries.len());
    entries.iter().rev().filter(|entry| seen.insert(&entry.user)).collect()
}
