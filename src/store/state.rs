//! The state as a plain value: every operation of the port as a function without waiting.
//!
//! The memory and the embedded store are this value behind a lock; the tests hold the Redis
//! scripts against it. Nothing here grows with the number of users but the tables themselves.
//!
//! How a day ends in it: closing only counts the running day up. What an entry of an older
//! day holds is thereby sealed, without being touched: it reads as null, and `Entry::settle`
//! sets it aside when somebody next writes to the entry or delivers it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::KeepOnline;
use super::night::{Batch, BatchFiller, BatchLimits, ClosedDay, NextBatch, Night, Offer};
use super::table::{Slot, Table};
use crate::domain::{Day, Record, RoomId, SessionId, StudyTime, UnixMillis, UserId, UserTime};

/// Slots looked at in one step of forming a batch, so that a lock around the state is never held
/// for longer than a few hundred microseconds.
const SCAN_SLOTS: usize = 4096;

/// What is kept of a user.
///
/// Invariants: `closed` holds each day at most once, in rising order, all older than `day`.
/// `live` implies that `session` is there and that the session table leads to this entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub user: UserId,
    /// The last room.
    pub room: Option<RoomId>,
    /// The last session, live or not.
    pub session: Option<SessionId>,
    /// The study time of `day`.
    pub study_time: Option<StudyTime>,
    /// The day `study_time` belongs to. The running day's successor, if the user was listed
    /// tonight and a newer time has come since.
    pub day: Day,
    /// Whether `session` resolves to the user.
    pub live: bool,
    /// Whether `study_time` is the last word of tonight's listing on `day`.
    pub listed: bool,
    /// Whether anything was written since the previous day was sealed.
    pub fresh: bool,
    /// Study times of closed days that auth has not acknowledged.
    pub closed: Vec<(Day, Option<StudyTime>)>,
    /// Journal position of the latest change; not part of what is stored.
    pub stamp: u64,
}

impl Entry {
    fn new(user: UserId, day: Day) -> Self {
        Self {
            user,
            room: None,
            session: None,
            study_time: None,
            day,
            live: false,
            listed: false,
            fresh: true,
            closed: Vec::new(),
            stamp: 0,
        }
    }

    /// Sets aside what belongs to a closed day. A record that nobody has written to since the last
    /// close, and whose older time still waits for auth, has nothing new to tell.
    fn settle(&mut self, today: Day) {
        if self.day >= today {
            return;
        }
        if self.fresh || self.closed.is_empty() {
            self.closed.push((self.day, self.study_time.take()));
        }
        self.study_time = None;
        self.day = today;
        self.listed = false;
        self.fresh = false;
    }

    /// The newest study time; tonight's listing, if there was one, is thereby the last word on its
    /// day, and the newer time is the next day's (contract §5.1).
    fn record_study_time(&mut self, study_time: StudyTime, today: Day) {
        if self.listed && self.day == today {
            self.closed.push((today, self.study_time.take()));
            self.day = today.next();
            self.listed = false;
        }
        self.study_time = Some(study_time);
        self.fresh = true;
    }

    /// The running day's last word, as signaling lists it at night.
    fn list_study_time(&mut self, study_time: Option<StudyTime>, today: Day) {
        self.fresh = true;
        if self.day == today {
            self.listed = true;
            self.study_time = study_time.or(self.study_time.take());
        } else if let (Some(time), Some(sealed)) = (study_time, self.sealed_mut(today)) {
            *sealed = Some(time);
        }
    }

    fn sealed_mut(&mut self, day: Day) -> Option<&mut Option<StudyTime>> {
        self.closed.iter_mut().find(|(closed, _)| *closed == day).map(|(_, time)| time)
    }

    fn record(&self, today: Day) -> Record {
        Record {
            user: self.user.clone(),
            room: self.room,
            session: self.session.clone(),
            study_time: self.study_time_on(today).cloned(),
        }
    }

    fn study_time_on(&self, today: Day) -> Option<&StudyTime> {
        if self.day < today { None } else { self.study_time.as_ref() }
    }
}

/// Where changes are written down before anyone hears of them. Everything between two calls of
/// [`Journal::commit`] is one change: all of it is found after a crash, or nothing.
pub trait Journal {
    /// The entry is now as given.
    fn put(&mut self, entry: &Entry);
    /// The user is gone.
    fn remove(&mut self, user: &UserId);
    /// The night stands as given.
    fn night(&mut self, night: &Night);
    /// The outstanding frame is the given one.
    fn batch(&mut self, batch: Option<&Batch>);
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
    fn batch(&mut self, _: Option<&Batch>) {}
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

/// A step towards the next frame.
#[derive(Debug)]
pub enum FormStep {
    /// The answer.
    Done(Seen<NextBatch>),
    /// Nothing yet in the slots looked at; ask again.
    Continue,
}

/// A closed day and how far its delivery has come.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    closed_at: UnixMillis,
    /// The first slot that was not looked at yet. Entries of a closed day only ever leave it, so
    /// one pass finds them all.
    next_slot: usize,
    /// Users of this pass whose entry does not fit any frame.
    too_long: usize,
}

/// The whole state of a store.
#[derive(Debug)]
pub struct State {
    table: Table,
    day: Day,
    listed_at: Option<UnixMillis>,
    undelivered: BTreeMap<Day, Delivery>,
    batch: Option<Batch>,
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
            batch: None,
            night_position: 0,
            day_position: 0,
            absence_position: 0,
        }
    }
}

impl State {
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
        self.table.unlink_session(slot);
        let entry = self.table.entry_mut(slot);
        entry.room = room;
        entry.session = Some(session.clone());
        entry.live = true;
        entry.fresh = true;
        let record = entry.record(today);
        self.table.link_session(slot);
        self.seal(journal, slot, record)
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
        self.seal(journal, slot, Some(record))
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
        self.seal(journal, slot, record)
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
        let closed = self.end_day(journal, at);
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

    /// The frame that is formed and not acknowledged.
    pub fn outstanding_batch(&self) -> Option<&Batch> {
        self.batch.as_ref()
    }

    /// [`super::StateStore::next_batch`], in steps that each look at a bounded number of slots.
    pub fn next_batch(&mut self, journal: &mut impl Journal, limits: BatchLimits) -> FormStep {
        if let Some(batch) = &self.batch {
            let value = NextBatch::Send(batch.clone());
            return FormStep::Done(Seen { value, position: self.night_position });
        }
        let end = self.table.slot_count();
        let open = self.undelivered.iter().find(|(_, delivery)| delivery.next_slot < end);
        let Some((&day, &delivery)) = open else {
            return FormStep::Done(self.end_of_pass(journal));
        };
        let (users, delivery) = self.scan(day, delivery, limits);
        let closed = ClosedDay { day, closed_at: delivery.closed_at };
        self.undelivered.insert(day, delivery);
        let Some(users) = users else { return FormStep::Continue };
        let batch = Batch { id: Batch::new_id(), closed, users };
        journal.batch(Some(&batch));
        self.batch = Some(batch.clone());
        self.night_position = journal.position();
        FormStep::Done(self.commit(journal, NextBatch::Send(batch)))
    }

    /// Collects entries of `day` from where the delivery stands, up to a frame or the step's end.
    fn scan(
        &mut self,
        day: Day,
        mut delivery: Delivery,
        limits: BatchLimits,
    ) -> (Option<Vec<UserTime>>, Delivery) {
        let mut filler = BatchFiller::new(limits);
        let end = self.table.slot_count().min(delivery.next_slot + SCAN_SLOTS);
        while delivery.next_slot < end && !filler.is_full() {
            if let Some(offered) = self.sealed_time(delivery.next_slot, day) {
                match filler.offer(offered) {
                    Offer::Taken => {}
                    Offer::Full => break,
                    Offer::TooLong => delivery.too_long += 1,
                }
            }
            delivery.next_slot += 1;
        }
        (filler.finish(), delivery)
    }

    fn sealed_time(&mut self, slot: usize, day: Day) -> Option<UserTime> {
        let today = self.day;
        let entry = self.table.get_mut(slot)?;
        entry.settle(today);
        let study_time = entry.sealed_mut(day)?.clone();
        Some(UserTime { user: entry.user.clone(), study_time })
    }

    /// Every closed day was looked at to its end: forgets the delivered ones, starts the others
    /// over for the next time somebody asks.
    fn end_of_pass(&mut self, journal: &mut impl Journal) -> Seen<NextBatch> {
        let days = self.undelivered.len();
        self.undelivered.retain(|_, delivery| delivery.too_long > 0);
        let users = self.undelivered.values().map(|delivery| delivery.too_long).sum();
        for delivery in self.undelivered.values_mut() {
            *delivery = Delivery { closed_at: delivery.closed_at, next_slot: 0, too_long: 0 };
        }
        let next = if users > 0 { NextBatch::TooLong { users } } else { NextBatch::Nothing };
        if self.undelivered.len() == days {
            return Seen { value: next, position: self.night_position };
        }
        self.write_night(journal);
        self.commit(journal, next)
    }

    /// [`super::StateStore::acknowledge_batch`].
    pub fn acknowledge_batch(
        &mut self,
        journal: &mut impl Journal,
        batch: &Batch,
        keep: KeepOnline,
    ) -> Seen<()> {
        if self.batch.as_ref().is_none_or(|outstanding| outstanding.id != batch.id) {
            return Seen { value: (), position: self.night_position };
        }
        for entry in &batch.users {
            self.forget_sealed(journal, &entry.user, batch.closed.day, keep);
        }
        self.batch = None;
        journal.batch(None);
        self.night_position = journal.position();
        self.absence_position = journal.position();
        self.commit(journal, ())
    }

    fn forget_sealed(
        &mut self,
        journal: &mut impl Journal,
        user: &UserId,
        day: Day,
        keep: KeepOnline,
    ) {
        let today = self.day;
        let Some(slot) = self.table.find_user(user) else { return };
        let entry = self.table.entry_mut(slot);
        entry.settle(today);
        entry.closed.retain(|(closed, _)| *closed != day);
        entry.closed.shrink_to_fit();
        let kept_online = entry.live && keep == KeepOnline::Yes;
        if entry.fresh || kept_online || !entry.closed.is_empty() {
            entry.stamp = journal.position();
            journal.put(entry);
        } else {
            journal.remove(user);
            self.table.remove(slot);
        }
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
        Some(self.end_day(journal, at))
    }

    /// The day is over: one assignment, whatever the number of users.
    fn end_day(&mut self, journal: &mut impl Journal, at: UnixMillis) -> Day {
        let closed = self.day;
        let delivery = Delivery { closed_at: at, next_slot: 0, too_long: 0 };
        self.undelivered.insert(closed, delivery);
        self.day = closed.next();
        self.listed_at = None;
        self.write_night(journal);
        self.day_position = self.night_position;
        closed
    }

    fn list(&mut self, journal: &mut impl Journal, entries: &[UserTime]) {
        let today = self.day;
        for UserTime { user, study_time } in last_of_each_user(entries) {
            let slot = self.settled(user);
            let entry = self.table.entry_mut(slot);
            entry.list_study_time(study_time.clone(), today);
            entry.stamp = journal.position();
            journal.put(entry);
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

    fn seal<T>(&mut self, journal: &mut impl Journal, slot: Slot, value: T) -> Seen<T> {
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

    /// The outstanding frame was the given one.
    pub fn restore_batch(&mut self, batch: Option<Batch>) {
        self.batch = batch;
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

/// The entries that count when a list names a user more than once: the last of each (contract §8).
pub fn last_of_each_user(entries: &[UserTime]) -> impl Iterator<Item = &UserTime> {
    let mut seen = HashSet::with_capacity(entries.len());
    entries.iter().rev().filter(move |entry| seen.insert(&entry.user))
}
