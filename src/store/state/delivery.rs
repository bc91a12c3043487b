//! Closed days on their way to auth: frames are formed, remembered, forgotten.

use super::State;
use super::journal::{Journal, Seen};
use crate::domain::{Day, UnixMillis, UserId, UserTime};
use crate::store::KeepOnline;
use crate::store::night::{Batch, BatchFiller, BatchLimits, ClosedDay, NextBatch, Offer};

/// Slots looked at in one step of forming a batch, so that a lock around the state is never held
/// for longer than a few hundred microseconds.
const SCAN_SLOTS: usize = 4096;
/// Frames are formed until they hold so many users. What is formed together becomes durable together,
/// and while auth reads one of them nobody waits for the next.
const USERS_AHEAD: usize = 400;

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
pub(super) struct Delivery {
    pub(super) closed_at: UnixMillis,
    /// The first slot that was not looked at yet. Entries of a closed day only ever leave it, so
    /// one pass finds them all.
    pub(super) next_slot: usize,
    /// Users of this pass whose entry does not fit any frame.
    pub(super) too_long: usize,
}

impl State {
    /// The frames that are formed and not acknowledged, in the order in which they go to auth.
    pub fn outstanding_batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter()
    }

    /// [`crate::store::StateStore::next_batch`], in steps that each look at a bounded number of slots.
    pub fn next_batch(&mut self, journal: &mut impl Journal, limits: BatchLimits) -> FormStep {
        if self.batches.front().is_some_and(|batch| !batch.fits(limits)) {
            self.unform(journal);
        }
        if let Some(batch) = self.batches.front() {
            let value = NextBatch::Send(batch.clone());
            return FormStep::Done(Seen { value, position: self.formed_position });
        }
        let end = self.table.slot_count();
        let open = self.undelivered.iter().find(|(_, delivery)| delivery.next_slot < end);
        let Some((&day, &delivery)) = open else {
            return FormStep::Done(self.end_of_pass(journal));
        };
        let Some(first) = self.form(journal, day, delivery, limits) else {
            return FormStep::Continue;
        };
        // The older ones were looked at to their end, and what was found is with auth.
        self.end_days(journal, |of_day, delivery| of_day < day && delivery.too_long == 0);
        self.formed_position = journal.position();
        self.night_position = journal.position();
        FormStep::Done(self.commit(journal, NextBatch::Send(first)))
    }

    /// Forms frames of `day` from where its delivery stands; the first of them, if there is one in
    /// the slots of this step. A frame that the step's end cut short is left for the next step,
    /// unless it is the first.
    fn form(
        &mut self,
        journal: &mut impl Journal,
        day: Day,
        mut delivery: Delivery,
        limits: BatchLimits,
    ) -> Option<Batch> {
        let closed = ClosedDay { day, closed_at: delivery.closed_at };
        let end = self.table.slot_count().min(delivery.next_slot + SCAN_SLOTS);
        let mut ahead = 0;
        while ahead < USERS_AHEAD {
            let (users, after) = self.scan(day, delivery, end, limits);
            let was_cut_short = after.next_slot == end && end < self.table.slot_count();
            if was_cut_short && ahead > 0 {
                break;
            }
            delivery = after;
            let Some(users) = users else { break };
            ahead += users.len();
            let batch = Batch { id: Batch::new_id(), closed, users };
            journal.batch_formed(&batch);
            self.batches.push_back(batch);
        }
        self.undelivered.insert(day, delivery);
        self.batches.front().cloned()
    }

    /// The frames can't be sent any more as they were formed. Nothing of them was acknowledged: their
    /// users are looked for from the beginning.
    fn unform(&mut self, journal: &mut impl Journal) {
        for batch in self.batches.drain(..) {
            if let Some(delivery) = self.undelivered.get_mut(&batch.closed.day) {
                (delivery.next_slot, delivery.too_long) = (0, 0);
            }
            journal.batch_gone(&batch.id);
        }
        self.night_position = journal.position();
        journal.commit();
    }

    /// Collects entries of `day` from where the delivery stands, up to a frame or the slot `end`.
    fn scan(
        &mut self,
        day: Day,
        mut delivery: Delivery,
        end: usize,
        limits: BatchLimits,
    ) -> (Option<Vec<UserTime>>, Delivery) {
        let mut filler = BatchFiller::new(limits);
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
        let has_ended = self.end_days(journal, |_, delivery| delivery.too_long == 0);
        let users = self.undelivered.values().map(|delivery| delivery.too_long).sum();
        for delivery in self.undelivered.values_mut() {
            *delivery = Delivery { closed_at: delivery.closed_at, next_slot: 0, too_long: 0 };
        }
        let next = if users > 0 { NextBatch::TooLong { users } } else { NextBatch::Nothing };
        match has_ended {
            true => self.commit(journal, next),
            false => Seen { value: next, position: self.night_position },
        }
    }

    /// Forgets the closed days of which nothing is left to tell; says whether there were any.
    fn end_days(
        &mut self,
        journal: &mut impl Journal,
        is_delivered: impl Fn(Day, Delivery) -> bool,
    ) -> bool {
        let delivered =
            self.undelivered.extract_if(.., |day, delivery| is_delivered(*day, *delivery));
        let delivered: Vec<Day> = delivered.map(|(day, _)| day).collect();
        if delivered.is_empty() {
            return false;
        }
        let now = UnixMillis::now();
        for day in delivered {
            self.remember_delivery(journal, day, now);
        }
        self.write_night(journal);
        true
    }

    /// [`crate::store::StateStore::acknowledge_batch`].
    pub fn acknowledge_batch(
        &mut self,
        journal: &mut impl Journal,
        batch: &Batch,
        keep: KeepOnline,
    ) -> Seen<()> {
        if self.batches.front().is_none_or(|outstanding| outstanding.id != batch.id) {
            return Seen { value: (), position: self.night_position };
        }
        self.batches.pop_front();
        for entry in &batch.users {
            self.forget_sealed(journal, &entry.user, batch.closed.day, keep);
        }
        self.remember_frame(journal, batch.closed.day, batch.users.len());
        journal.batch_gone(&batch.id);
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
        entry.closed.remove(day);
        let kept_online = entry.live && keep == KeepOnline::Yes;
        if entry.fresh || kept_online || !entry.closed.is_empty() {
            entry.stamp = journal.position();
            journal.put(entry);
        } else {
            journal.remove(user);
            self.table.remove(slot);
        }
    }
}
