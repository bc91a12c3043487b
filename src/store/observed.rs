//! A store that counts what it does: how long each operation takes, and how often it fails.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::lookup::{Cursor, KnownUser, Member, Page, Population, RoomCount};
use super::night::{Batch, BatchLimits, ClosedBy, NextBatch, Night, PastNight, Plan};
use super::redis::RedisStore;
use super::redis::links::LinkFigures;
use super::{Error, KeepOnline, Key, Result, StateStore, Store};
use crate::clock;
use crate::crash::{self, Point};
use crate::domain::{Day, Record, RoomId, SessionId, StudyTime, UnixMillis, UserId, UserTime};
use crate::metrics::histogram::{Histogram, Snapshot};
use crate::metrics::spread::Spread;

/// An operation of the port, as figures tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`StateStore::open_session`]
    OpenSession,
    /// [`StateStore::close_session`]
    CloseSession,
    /// [`StateStore::study_time`]
    StudyTime,
    /// [`StateStore::record_study_time`]
    RecordStudyTime,
    /// [`StateStore::list_study_times`]
    ListStudyTimes,
    /// [`StateStore::close_day`]
    CloseDay,
    /// [`StateStore::close_overdue_day`]
    CloseOverdueDay,
    /// [`StateStore::close_day_by_hand`]
    CloseDayByHand,
    /// [`StateStore::night`]
    Night,
    /// [`StateStore::night_history`]
    NightHistory,
    /// [`StateStore::night_plan`]
    NightPlan,
    /// [`StateStore::next_batch`]
    NextBatch,
    /// [`StateStore::acknowledge_batch`]
    AcknowledgeBatch,
    /// [`StateStore::user`]
    User,
    /// [`StateStore::session`]
    Session,
    /// [`StateStore::rooms`]
    Rooms,
    /// [`StateStore::room`]
    Room,
    /// [`StateStore::room_members`]
    RoomMembers,
    /// [`StateStore::population`]
    Population,
    /// [`StateStore::prove_writable`]
    ProveWritable,
}

/// What one operation did so far.
#[derive(Debug)]
pub struct Figures {
    /// How long it took, whatever came of it.
    pub durations: Snapshot,
    /// How often it failed.
    pub errors: u64,
}

#[derive(Debug, Default)]
struct Counts {
    durations: Histogram,
    errors: AtomicU64,
}

type AllCounts = [Counts; Operation::ALL.len()];

/// The store, observed.
#[derive(Debug)]
pub struct Observed {
    store: Store,
    counts: Spread<AllCounts>,
    closes: [AtomicU64; ClosedBy::ALL.len()],
}

/// An operation under way. Dropped with its future, it counts for nothing.
struct Begun<'a> {
    counts: &'a Spread<AllCounts>,
    operation: Operation,
    at: Instant,
}

impl Operation {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 20] = [
        Self::OpenSession,
        Self::CloseSession,
        Self::StudyTime,
        Self::RecordStudyTime,
        Self::ListStudyTimes,
        Self::CloseDay,
        Self::CloseOverdueDay,
        Self::CloseDayByHand,
        Self::Night,
        Self::NightHistory,
        Self::NightPlan,
        Self::NextBatch,
        Self::AcknowledgeBatch,
        Self::User,
        Self::Session,
        Self::Rooms,
        Self::Room,
        Self::RoomMembers,
        Self::Population,
        Self::ProveWritable,
    ];

    /// Its name in the port.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSession => "open_session",
            Self::CloseSession => "close_session",
            Self::StudyTime => "study_time",
            Self::RecordStudyTime => "record_study_time",
            Self::ListStudyTimes => "list_study_times",
            Self::CloseDay => "close_day",
            Self::CloseOverdueDay => "close_overdue_day",
            Self::CloseDayByHand => "close_day_by_hand",
            Self::Night => "night",
            Self::NightHistory => "night_history",
            Self::NightPlan => "night_plan",
            Self::NextBatch => "next_batch",
            Self::AcknowledgeBatch => "acknowledge_batch",
            Self::User => "user",
            Self::Session => "session",
            Self::Rooms => "rooms",
            Self::Room => "room",
            Self::RoomMembers => "room_members",
            Self::Population => "population",
            Self::ProveWritable => "prove_writable",
        }
    }
}

impl Observed {
    /// Observes `store` from now on.
    pub fn new(store: Store) -> Self {
        Self { store, counts: Spread::default(), closes: Default::default() }
    }

    /// Each operation's figures.
    pub fn figures(&self) -> impl Iterator<Item = (Operation, Figures)> {
        let of_operation = |operation: Operation| {
            let parts = || self.counts.parts().filter_map(|all| all.get(operation as usize));
            let durations = Snapshot::of(parts().map(|counts| &counts.durations));
            let errors = parts().map(|counts| counts.errors.load(Relaxed)).sum();
            (operation, Figures { durations, errors })
        };
        Operation::ALL.into_iter().map(of_operation)
    }

    /// Days that this daemon closed, by why. A night that was left open and that the next night's
    /// first frame closed is not among them.
    pub fn closes(&self) -> impl Iterator<Item = (ClosedBy, u64)> + '_ {
        ClosedBy::ALL.into_iter().zip(&self.closes).map(|(by, count)| (by, count.load(Relaxed)))
    }

    /// How many there are of everything, as far as the store knows without being asked.
    pub fn counted(&self) -> Option<Population> {
        self.store.counted()
    }

    /// The store, if several programs share it.
    pub fn redis(&self) -> Option<&RedisStore> {
        self.store.redis()
    }

    /// The connections to Redis; none with other stores.
    pub fn links(&self) -> LinkFigures {
        self.store.links()
    }

    fn count_close(&self, by: ClosedBy) {
        if let Some(count) = self.closes.get(by as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn begin(&self, operation: Operation) -> Begun<'_> {
        Begun { counts: &self.counts, operation, at: clock::begin() }
    }
}

impl Begun<'_> {
    fn end<T>(self, result: Result<T>) -> Result<T> {
        let took: Duration = clock::end().saturating_duration_since(self.at);
        let here = self.counts.here();
        if let Some(counts) = here.part.get(self.operation as usize) {
            counts.durations.record_here(&here, took);
            if result.is_err() {
                here.add(&counts.errors, 1);
            }
        }
        crash::point(Point::Done(self.operation));
        result
    }
}

impl StateStore for Observed {
    fn in_call_order(&self) -> bool {
        self.store.in_call_order()
    }

    fn look_ahead<'a>(&self, keys: impl Iterator<Item = Key<'a>>) {
        self.store.look_ahead(keys);
    }

    async fn open_session(
        &self,
        user: &UserId,
        room: Option<RoomId>,
        session: &SessionId,
    ) -> Result<Record> {
        let begun = self.begin(Operation::OpenSession);
        begun.end(self.store.open_session(user, room, session).await)
    }

    async fn close_session(&self, session: &SessionId) -> Result<Option<Record>> {
        let begun = self.begin(Operation::CloseSession);
        begun.end(self.store.close_session(session).await)
    }

    async fn study_time(&self, user: &UserId) -> Result<Option<StudyTime>> {
        let begun = self.begin(Operation::StudyTime);
        begun.end(self.store.study_time(user).await)
    }

    async fn record_study_time(&self, user: &UserId, study_time: &StudyTime) -> Result<Record> {
        let begun = self.begin(Operation::RecordStudyTime);
        begun.end(self.store.record_study_time(user, study_time).await)
    }

    async fn list_study_times(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<()> {
        let begun = self.begin(Operation::ListStudyTimes);
        begun.end(self.store.list_study_times(entries, at, last_timeout).await)
    }

    async fn close_day(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Day> {
        let begun = self.begin(Operation::CloseDay);
        let closed = begun.end(self.store.close_day(entries, at, last_timeout).await);
        // A record that can't be read keeps no day open.
        if matches!(closed, Ok(_) | Err(Error::Unreadable(_))) {
            self.count_close(ClosedBy::Last);
        }
        closed
    }

    async fn close_overdue_day(
        &self,
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Option<Day>> {
        let begun = self.begin(Operation::CloseOverdueDay);
        let closed = begun.end(self.store.close_overdue_day(at, last_timeout).await);
        if let Ok(Some(_)) = closed {
            self.count_close(ClosedBy::Timeout);
        }
        closed
    }

    async fn close_day_by_hand(&self, at: UnixMillis) -> Result<Day> {
        let begun = self.begin(Operation::CloseDayByHand);
        let closed = begun.end(self.store.close_day_by_hand(at).await);
        if closed.is_ok() {
            self.count_close(ClosedBy::Operator);
        }
        closed
    }

    async fn night(&self) -> Result<Night> {
        let begun = self.begin(Operation::Night);
        begun.end(self.store.night().await)
    }

    async fn night_history(&self, limit: usize) -> Result<Vec<PastNight>> {
        let begun = self.begin(Operation::NightHistory);
        begun.end(self.store.night_history(limit).await)
    }

    async fn night_plan(&self, from: Option<Cursor>, limit: usize) -> Result<Plan> {
        let begun = self.begin(Operation::NightPlan);
        begun.end(self.store.night_plan(from, limit).await)
    }

    async fn next_batch(&self, limits: BatchLimits) -> Result<NextBatch> {
        let begun = self.begin(Operation::NextBatch);
        begun.end(self.store.next_batch(limits).await)
    }

    async fn acknowledge_batch(&self, batch: &Batch, keep: KeepOnline) -> Result<()> {
        let begun = self.begin(Operation::AcknowledgeBatch);
        begun.end(self.store.acknowledge_batch(batch, keep).await)
    }

    async fn user(&self, user: &UserId) -> Result<Option<KnownUser>> {
        let begun = self.begin(Operation::User);
        begun.end(self.store.user(user).await)
    }

    async fn session(&self, session: &SessionId) -> Result<Option<Record>> {
        let begun = self.begin(Operation::Session);
        begun.end(self.store.session(session).await)
    }

    async fn rooms(&self, from: Option<Cursor>, limit: usize) -> Result<Page<RoomCount>> {
        let begun = self.begin(Operation::Rooms);
        begun.end(self.store.rooms(from, limit).await)
    }

    async fn room(&self, room: RoomId) -> Result<RoomCount> {
        let begun = self.begin(Operation::Room);
        begun.end(self.store.room(room).await)
    }

    async fn room_members(
        &self,
        room: RoomId,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Member>> {
        let begun = self.begin(Operation::RoomMembers);
        begun.end(self.store.room_members(room, from, limit).await)
    }

    async fn population(&self) -> Result<Option<Population>> {
        let begun = self.begin(Operation::Population);
        begun.end(self.store.population().await)
    }

    async fn prove_writable(&self) -> Result<()> {
        let begun = self.begin(Operation::ProveWritable);
        begun.end(self.store.prove_writable().await)
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn an_operation_counts_under_its_name() {
        for (at, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, at);
        }
        let store = Observed::new(Store::Memory(MemoryStore::default()));
        let user = UserId::parse("u1").unwrap();
        store.open_session(&user, None, &SessionId::parse("s1").unwrap()).await.unwrap();
        let counted = |(of, figures): (Operation, Figures)| {
            let all = figures.durations.up_to.last().copied().unwrap();
            (all > 0).then(|| (of.name(), all, figures.errors))
        };
        let counted: Vec<_> = store.figures().filter_map(counted).collect();
        assert_eq!(counted, [("open_session", 1, 0)]);
        assert_eq!(store.counted().map(|counted| counted.users), Some(1));
    }

    #[tokio::test]
    async fn a_close_counts_under_its_cause() {
        let store = Observed::new(Store::Memory(MemoryStore::default()));
        let hour = Duration::from_secs(3600);
        let at = UnixMillis(1_000_000_000);
        store.close_day(&[], at, hour).await.unwrap();
        store.close_day_by_hand(at).await.unwrap();
        store.close_day_by_hand(at).await.unwrap();
        assert_eq!(store.close_overdue_day(at, hour).await.unwrap(), None);
        store.list_study_times(&[], at, hour).await.unwrap();
        let later = UnixMillis(at.0 + 2 * 3_600_000);
        assert!(store.close_overdue_day(later, hour).await.unwrap().is_some());
        let counted: Vec<_> = store.closes().map(|(by, count)| (by.name(), count)).collect();
        assert_eq!(counted, [("last", 1), ("timeout", 1), ("operator", 2)]);
    }
}
