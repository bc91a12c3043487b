//! The state in memory alone: for tests, trials and benchmarks. It is gone when the daemon stops.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lookup::{Cursor, KnownUser, Member, Page, Population, RoomCount};
use super::night::{Batch, BatchLimits, NextBatch, Night, PastNight, Plan};
use super::state::State;
use super::state::delivery::FormStep;
use super::state::journal::NoJournal;
use super::{KeepOnline, Key, Result, StateStore};
use crate::domain::{Day, Record, RoomId, SessionId, StudyTime, UnixMillis, UserId, UserTime};

/// The store of `memory:`.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

impl MemoryStore {
    /// How many there are of everything.
    pub fn counted(&self) -> Population {
        self.state().population(UnixMillis::now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // After a panic inside an operation one user may be half-changed; everybody else is served.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for MemoryStore {
    fn in_call_order(&self) -> bool {
        true
    }

    fn look_ahead<'a>(&self, keys: impl Iterator<Item = Key<'a>>) {
        self.state().look_ahead(keys);
    }

    async fn open_session(
        &self,
        user: &UserId,
        room: Option<RoomId>,
        session: &SessionId,
    ) -> Result<Record> {
        Ok(self.state().open_session(&mut NoJournal, user, room, session).value)
    }

    async fn close_session(&self, session: &SessionId) -> Result<Option<Record>> {
        Ok(self.state().close_session(&mut NoJournal, session).value)
    }

    async fn study_time(&self, user: &UserId) -> Result<Option<StudyTime>> {
        Ok(self.state().study_time(user).value)
    }

    async fn record_study_time(&self, user: &UserId, study_time: &StudyTime) -> Result<Record> {
        Ok(self.state().record_study_time(&mut NoJournal, user, study_time).value)
    }

    async fn list_study_times(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<()> {
        self.state().list_study_times(&mut NoJournal, entries, at, last_timeout);
        Ok(())
    }

    async fn close_day(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Day> {
        Ok(self.state().close_day(&mut NoJournal, entries, at, last_timeout).value)
    }

    async fn close_overdue_day(
        &self,
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Option<Day>> {
        Ok(self.state().close_overdue_day(&mut NoJournal, at, last_timeout).value)
    }

    async fn close_day_by_hand(&self, at: UnixMillis) -> Result<Day> {
        Ok(self.state().close_day_by_hand(&mut NoJournal, at).value)
    }

    async fn night(&self) -> Result<Night> {
        Ok(self.state().night())
    }

    async fn night_history(&self, limit: usize) -> Result<Vec<PastNight>> {
        Ok(self.state().night_history(limit))
    }

    async fn night_plan(&self, from: Option<Cursor>, limit: usize) -> Result<Plan> {
        Ok(self.state().night_plan(from, limit).value)
    }

    async fn next_batch(&self, limits: BatchLimits) -> Result<NextBatch> {
        loop {
            // The lock is free between two steps.
            let step = self.state().next_batch(&mut NoJournal, limits);
            match step {
                FormStep::Done(seen) => return Ok(seen.value),
                FormStep::Continue => tokio::task::yield_now().await,
            }
        }
    }

    async fn acknowledge_batch(&self, batch: &Batch, keep: KeepOnline) -> Result<()> {
        self.state().acknowledge_batch(&mut NoJournal, batch, keep);
        Ok(())
    }

    async fn user(&self, user: &UserId) -> Result<Option<KnownUser>> {
        Ok(self.state().user(user).value)
    }

    async fn session(&self, session: &SessionId) -> Result<Option<Record>> {
        Ok(self.state().session(session).value)
    }

    async fn rooms(&self, from: Option<Cursor>, limit: usize) -> Result<Page<RoomCount>> {
        Ok(self.state().rooms(from, limit))
    }

    async fn room(&self, room: RoomId) -> Result<RoomCount> {
        Ok(self.state().room(room))
    }

    async fn room_members(
        &self,
        room: RoomId,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Member>> {
        Ok(self.state().room_members(room, from, limit))
    }

    async fn population(&self) -> Result<Option<Population>> {
        Ok(Some(self.counted()))
    }

    async fn prove_writable(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
