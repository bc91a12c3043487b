//! The state in memory, with every change in a checksummed log on disk before anyone hears of it.
//!
//! The way of a change: an operation changes the state under its lock, and the state writes the
//! after-images of what it touched behind the changes that are pending already. One thread takes
//! everything pending, appends it to the log as one group, syncs, and wakes whom it concerns: so
//! thousands of operations share a sync, and one alone waits for no other. A reader waits likewise
//! if what it saw is not durable yet.
//!
//! Where many ask at once, the thread waits for most of those that it told last before it writes
//! (`crowd`): so a sync serves all of them, and not the first that is back.
//!
//! When the log has grown as long as the snapshot before it, a new log is begun and a snapshot
//! written beside it; then the older ones go. See `group` for the files' form, `folder` for
//! their names, `recovery` for the way back.

mod acknowledged;
mod crowd;
mod disk;
mod error;
mod folder;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed;
mod group;
mod log;
mod reader;
mod record;
mod recovery;
mod shared;
mod snapshot;
#[cfg(test)]
mod tests;
mod waiting;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

pub use error::OpenError;

use self::disk::Disk;
use self::folder::Folder;
use self::group::Group;
use self::shared::{Core, Shared};
use self::waiting::Durable;
use self::writer::Writer;
use super::lookup::{Cursor, KnownUser, Member, Page, Population, RoomCount};
use super::night::{Batch, BatchLimits, NextBatch, Night, PastNight, Plan};
use super::state::State;
use super::state::delivery::FormStep;
use super::state::journal::{Journal as _, Seen};
use super::{Error, KeepOnline, Key, Result, StateStore};
use crate::crash::{self, Point};
use crate::domain::{Day, Record, RoomId, SessionId, StudyTime, UnixMillis, UserId, UserTime};

/// The store of `embedded:DIR`.
///
/// An operation is ready when it is synced to the disk. While the disk refuses to take more,
/// changes fail before they touch anything, and what is durable can be read; a change that fails
/// because the trouble began under it may come into effect later.
///
/// Dropping it writes what is pending, as [`StateStore::close`] does, and waits for that, but not for
/// ever.
#[derive(Debug)]
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    limits: Limits,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Where the store's own limits lie; other than by default only in tests.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// A log shorter than this, or than the snapshot before it, is not compacted.
    log_bytes_min: u64,
    /// Room that is made in a log ahead of what is written. Made once in some ten thousand changes,
    /// it takes the disk about as long as ten syncs.
    log_ahead_bytes: u64,
    /// Pending bytes beyond which no change is accepted.
    pending_bytes_max: u64,
    /// How long dropping the store waits for a disk that does nothing any more.
    drop_wait_max: Duration,
    /// How long after a failure the disk is tried again.
    retry_after: Duration,
    /// Slots that a snapshot writes down in one holding of the lock: a tenth of a millisecond.
    snapshot_step_slots: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // What is built to die has the steps of a compaction often.
            log_bytes_min: if cfg!(feature = "crash-points") { 4 << 10 } else { 16 << 20 },
            log_ahead_bytes: if cfg!(feature = "crash-points") { 1 << 10 } else { 1 << 20 },
            pending_bytes_max: 64 << 20,
            drop_wait_max: Duration::from_secs(5),
            retry_after: Duration::from_millis(500),
            snapshot_step_slots: 1024,
        }
    }
}

impl EmbeddedStore {
    /// Opens the store in the folder `dir`, which is made if it is missing. No other process can
    /// open it until this store is closed or dropped. Blocks while it reads.
    pub fn open(dir: &Path) -> std::result::Result<Self, OpenError> {
        Self::open_on(dir, Disk::new(), Limits::default())
    }

    fn open_on(dir: &Path, disk: Disk, limits: Limits) -> std::result::Result<Self, OpenError> {
        let disk = Arc::new(disk);
        let (folder, before) = Folder::claim(dir, Arc::clone(&disk))?;
        let recovered = recovery::recover(&folder, before, &disk)?;
        crash::point(Point::StoreOpened);
        let (writer, shared) = Writer::new(folder, disk, limits, recovered);
        let thread = Builder::new().name("stated-log".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(OpenError::io("start the thread that writes to", dir))?;
        Ok(Self { shared, limits, writer: Mutex::new(Some(thread)) })
    }

    /// Users with a record.
    pub fn user_count(&self) -> usize {
        self.shared.core().state.user_count()
    }

    /// How many there are of everything.
    pub fn counted(&self) -> Population {
        self.shared.core().state.population(UnixMillis::now())
    }

    /// Does what may change the state, if changes are accepted, and waits until it is durable.
    async fn change<T>(
        &self,
        operation: impl FnOnce(&mut State, &mut Group) -> Seen<T>,
    ) -> Result<T> {
        let waker = waiting::waker().await;
        let (value, durable) = self.apply(|core| {
            let seen = operation(&mut core.state, &mut core.journal);
            let mut durable = Durable::new(&self.shared, seen.position);
            durable.register(core, waker);
            (seen.value, durable)
        })?;
        durable.await.map(|()| value)
    }

    fn apply<T>(&self, operation: impl FnOnce(&mut Core) -> T) -> Result<T> {
        let mut core = self.shared.core();
        if let Some(refusal) = &core.refusal {
            return Err(Error::Failed(refusal.to_string()));
        }
        if core.journal.len() > self.limits.pending_bytes_max {
            return Err(Error::Failed("too much is waiting to be written".to_owned()));
        }
        let answer = operation(&mut core);
        crash::point(Point::ChangeApplied);
        if !core.journal.is_empty() {
            self.shared.offer(core);
        }
        Ok(answer)
    }

    /// Waits until what was seen is durable, so that nobody is told what a crash could undo.
    async fn durable<T>(&self, seen: Seen<T>) -> Result<T> {
        Durable::new(&self.shared, seen.position).await.map(|()| seen.value)
    }

    /// Lets nothing new in and the writer end.
    fn stop(&self) {
        let mut core = self.shared.core();
        core.stopping = true;
        core.refusal = Some("the store is closed".into());
        self.shared.wake_writer(core);
    }

    fn join(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes the store panicked");
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.stop();
        if self.shared.wait_for_end(self.limits.drop_wait_max) {
            self.join();
        } else {
            // The thread keeps the folder's lock until it or the process ends.
            tracing::error!(
                "the disk does nothing any more: what was not acknowledged may be lost"
            );
        }
    }
}

impl StateStore for EmbeddedStore {
    fn in_call_order(&self) -> bool {
        true
    }

    fn look_ahead<'a>(&self, keys: impl Iterator<Item = Key<'a>>) {
        self.shared.core().state.look_ahead(keys);
    }

    async fn open_session(
        &self,
        user: &UserId,
        room: Option<RoomId>,
        session: &SessionId,
    ) -> Result<Record> {
        self.change(|state, journal| state.open_session(journal, user, room, session)).await
    }

    async fn close_session(&self, session: &SessionId) -> Result<Option<Record>> {
        self.change(|state, journal| state.close_session(journal, session)).await
    }

    async fn study_time(&self, user: &UserId) -> Result<Option<StudyTime>> {
        let seen = self.shared.core().state.study_time(user);
        self.durable(seen).await
    }

    async fn record_study_time(&self, user: &UserId, study_time: &StudyTime) -> Result<Record> {
        self.change(|state, journal| state.record_study_time(journal, user, study_time)).await
    }

    async fn list_study_times(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<()> {
        self.change(|state, journal| state.list_study_times(journal, entries, at, last_timeout))
            .await
    }

    async fn close_day(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Day> {
        self.change(|state, journal| state.close_day(journal, entries, at, last_timeout)).await
    }

    async fn close_overdue_day(
        &self,
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Option<Day>> {
        self.change(|state, journal| state.close_overdue_day(journal, at, last_timeout)).await
    }

    async fn close_day_by_hand(&self, at: UnixMillis) -> Result<Day> {
        self.change(|state, journal| state.close_day_by_hand(journal, at)).await
    }

    async fn night(&self) -> Result<Night> {
        let seen = {
            let core = self.shared.core();
            Seen { value: core.state.night(), position: core.state.night_position() }
        };
        self.durable(seen).await
    }

    async fn night_history(&self, limit: usize) -> Result<Vec<PastNight>> {
        let seen = {
            let core = self.shared.core();
            let value = core.state.night_history(limit);
            Seen { value, position: core.state.night_position() }
        };
        self.durable(seen).await
    }

    async fn night_plan(&self, from: Option<Cursor>, limit: usize) -> Result<Plan> {
        let seen = self.shared.core().state.night_plan(from, limit);
        self.durable(seen).await
    }

    async fn next_batch(&self, limits: BatchLimits) -> Result<NextBatch> {
        loop {
            // The lock is free between two steps.
            match self.apply(|core| core.state.next_batch(&mut core.journal, limits))? {
                FormStep::Done(seen) => return self.durable(seen).await,
                FormStep::Continue => tokio::task::yield_now().await,
            }
        }
    }

    async fn acknowledge_batch(&self, batch: &Batch, keep: KeepOnline) -> Result<()> {
        self.change(|state, journal| state.acknowledge_batch(journal, batch, keep)).await
    }

    async fn user(&self, user: &UserId) -> Result<Option<KnownUser>> {
        let seen = self.shared.core().state.user(user);
        self.durable(seen).await
    }

    async fn session(&self, session: &SessionId) -> Result<Option<Record>> {
        let seen = self.shared.core().state.session(session);
        self.durable(seen).await
    }

    async fn rooms(&self, from: Option<Cursor>, limit: usize) -> Result<Page<RoomCount>> {
        Ok(self.shared.core().state.rooms(from, limit))
    }

    async fn room(&self, room: RoomId) -> Result<RoomCount> {
        Ok(self.shared.core().state.room(room))
    }

    async fn room_members(
        &self,
        room: RoomId,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Member>> {
        Ok(self.shared.core().state.room_members(room, from, limit))
    }

    async fn population(&self) -> Result<Option<Population>> {
        Ok(Some(self.counted()))
    }

    /// A change without a record: the log takes it and a reader passes it by.
    async fn prove_writable(&self) -> Result<()> {
        self.change(|_, journal| {
            let position = journal.position();
            journal.commit();
            Seen { value: (), position }
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        let latest = self.shared.core().journal.position() - 1;
        self.stop();
        waiting::writer_ended(&self.shared).await;
        self.join();
        if self.shared.durable() >= latest {
            return Ok(());
        }
        let trouble = self.shared.core().trouble.as_deref().unwrap_or_default().to_owned();
        Err(Error::Failed(trouble))
    }
}
