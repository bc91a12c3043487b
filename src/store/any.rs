//! The store that the configuration chose.

use std::time::Duration;

use super::embedded::EmbeddedStore;
use super::lookup::{Cursor, KnownUser, Member, Page, Population, RoomCount};
use super::memory::MemoryStore;
use super::night::{Batch, BatchLimits, NextBatch, Night, PastNight, Plan};
use super::redis::RedisStore;
use super::redis::links::{LinkFigures, Links};
use super::{KeepOnline, Key, Result, StateStore};
use crate::domain::{Day, Record, RoomId, SessionId, StudyTime, UnixMillis, UserId, UserTime};

/// One of the adapters. An enum and not a trait object: an operation then needs no allocation for
/// its future. Only those of Redis are boxed: they are large, and would make room for themselves in
/// every request, whichever the store.
#[derive(Debug)]
pub enum Store {
    /// `memory:`
    Memory(MemoryStore),
    /// `embedded:DIR`
    Embedded(EmbeddedStore),
    /// `redis://…` and its relatives.
    Redis(RedisStore),
}

impl Store {
    /// How many there are of everything, as far as that is known without asking anybody.
    pub fn counted(&self) -> Option<Population> {
        match self {
            Self::Memory(store) => Some(store.counted()),
            Self::Embedded(store) => Some(store.counted()),
            Self::Redis(store) => store.upkeep().counted(),
        }
    }

    /// The store, if several programs share it.
    pub fn redis(&self) -> Option<&RedisStore> {
        match self {
            Self::Memory(_) | Self::Embedded(_) => None,
            Self::Redis(store) => Some(store),
        }
    }

    /// The connections to Redis; none with other stores.
    pub fn links(&self) -> LinkFigures {
        match self {
            Self::Memory(_) | Self::Embedded(_) => Links::default().figures(),
            Self::Redis(store) => store.links(),
        }
    }
}

impl StateStore for Store {
    fn in_call_order(&self) -> bool {
        match self {
            Self::Memory(store) => store.in_call_order(),
            Self::Embedded(store) => store.in_call_order(),
            Self::Redis(store) => store.in_call_order(),
        }
    }

    fn look_ahead<'a>(&self, keys: impl Iterator<Item = Key<'a>>) {
        match self {
            Self::Memory(store) => store.look_ahead(keys),
            Self::Embedded(store) => store.look_ahead(keys),
            Self::Redis(store) => store.look_ahead(keys),
        }
    }

    async fn open_session(
        &self,
        user: &UserId,
        room: Option<RoomId>,
        session: &SessionId,
    ) -> Result<Record> {
        match self {
            Self::Memory(store) => store.open_session(user, room, session).await,
            Self::Embedded(store) => store.open_session(user, room, session).await,
            Self::Redis(store) => Box::pin(store.open_session(user, room, session)).await,
        }
    }

    async fn close_session(&self, session: &SessionId) -> Result<Option<Record>> {
        match self {
            Self::Memory(store) => store.close_session(session).await,
            Self::Embedded(store) => store.close_session(session).await,
            Self::Redis(store) => Box::pin(store.close_session(session)).await,
        }
    }

    async fn study_time(&self, user: &UserId) -> Result<Option<StudyTime>> {
        match self {
            Self::Memory(store) => store.study_time(user).await,
            Self::Embedded(store) => store.study_time(user).await,
            Self::Redis(store) => Box::pin(store.study_time(user)).await,
        }
    }

    async fn record_study_time(&self, user: &UserId, study_time: &StudyTime) -> Result<Record> {
        match self {
            Self::Memory(store) => store.record_study_time(user, study_time).await,
            Self::Embedded(store) => store.record_study_time(user, study_time).await,
            Self::Redis(store) => Box::pin(store.record_study_time(user, study_time)).await,
        }
    }

    async fn list_study_times(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<()> {
        match self {
            Self::Memory(store) => store.list_study_times(entries, at, last_timeout).await,
            Self::Embedded(store) => store.list_study_times(entries, at, last_timeout).await,
            Self::Redis(store) => Box::pin(store.list_study_times(entries, at, last_timeout)).await,
        }
    }

    async fn close_day(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Day> {
        match self {
            Self::Memory(store) => store.close_day(entries, at, last_timeout).await,
            Self::Embedded(store) => store.close_day(entries, at, last_timeout).await,
            Self::Redis(store) => Box::pin(store.close_day(entries, at, last_timeout)).await,
        }
    }

    async fn close_overdue_day(
        &self,
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Option<Day>> {
        match self {
            Self::Memory(store) => store.close_overdue_day(at, last_timeout).await,
            Self::Embedded(store) => store.close_overdue_day(at, last_timeout).await,
            Self::Redis(store) => Box::pin(store.close_overdue_day(at, last_timeout)).await,
        }
    }

    async fn close_day_by_hand(&self, at: UnixMillis) -> Result<Day> {
        match self {
            Self::Memory(store) => store.close_day_by_hand(at).await,
            Self::Embedded(store) => store.close_day_by_hand(at).await,
            Self::Redis(store) => Box::pin(store.close_day_by_hand(at)).await,
        }
    }

    async fn night(&self) -> Result<Night> {
        match self {
            Self::Memory(store) => store.night().await,
            Self::Embedded(store) => store.night().await,
            Self::Redis(store) => Box::pin(store.night()).await,
        }
    }

    async fn night_history(&self, limit: usize) -> Result<Vec<PastNight>> {
        match self {
            Self::Memory(store) => store.night_history(limit).await,
            Self::Embedded(store) => store.night_history(limit).await,
            Self::Redis(store) => Box::pin(store.night_history(limit)).await,
        }
    }

    async fn night_plan(&self, from: Option<Cursor>, limit: usize) -> Result<Plan> {
        match self {
            Self::Memory(store) => store.night_plan(from, limit).await,
            Self::Embedded(store) => store.night_plan(from, limit).await,
            Self::Redis(store) => Box::pin(store.night_plan(from, limit)).await,
        }
    }

    async fn next_batch(&self, limits: BatchLimits) -> Result<NextBatch> {
        match self {
            Self::Memory(store) => store.next_batch(limits).await,
            Self::Embedded(store) => store.next_batch(limits).await,
            Self::Redis(store) => Box::pin(store.next_batch(limits)).await,
        }
    }

    async fn acknowledge_batch(&self, batch: &Batch, keep: KeepOnline) -> Result<()> {
        match self {
            Self::Memory(store) => store.acknowledge_batch(batch, keep).await,
            Self::Embedded(store) => store.acknowledge_batch(batch, keep).await,
            Self::Redis(store) => Box::pin(store.acknowledge_batch(batch, keep)).await,
        }
    }

    async fn user(&self, user: &UserId) -> Result<Option<KnownUser>> {
        match self {
            Self::Memory(store) => store.user(user).await,
            Self::Embedded(store) => store.user(user).await,
            Self::Redis(store) => Box::pin(store.user(user)).await,
        }
    }

    async fn session(&self, session: &SessionId) -> Result<Option<Record>> {
        match self {
            Self::Memory(store) => store.session(session).await,
            Self::Embedded(store) => store.session(session).await,
            Self::Redis(store) => Box::pin(store.session(session)).await,
        }
    }

    async fn rooms(&self, from: Option<Cursor>, limit: usize) -> Result<Page<RoomCount>> {
        match self {
            Self::Memory(store) => store.rooms(from, limit).await,
            Self::Embedded(store) => store.rooms(from, limit).await,
            Self::Redis(store) => Box::pin(store.rooms(from, limit)).await,
        }
    }

    async fn room(&self, room: RoomId) -> Result<RoomCount> {
        match self {
            Self::Memory(store) => store.room(room).await,
            Self::Embedded(store) => store.room(room).await,
            Self::Redis(store) => Box::pin(store.room(room)).await,
        }
    }

    async fn room_members(
        &self,
        room: RoomId,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Member>> {
        match self {
            Self::Memory(store) => store.room_members(room, from, limit).await,
            Self::Embedded(store) => store.room_members(room, from, limit).await,
            Self::Redis(store) => Box::pin(store.room_members(room, from, limit)).await,
        }
    }

    async fn population(&self) -> Result<Option<Population>> {
        match self {
            Self::Memory(store) => store.population().await,
            Self::Embedded(store) => store.population().await,
            Self::Redis(store) => Box::pin(store.population()).await,
        }
    }

    async fn prove_writable(&self) -> Result<()> {
        match self {
            Self::Memory(store) => store.prove_writable().await,
            Self::Embedded(store) => store.prove_writable().await,
            Self::Redis(store) => Box::pin(store.prove_writable()).await,
        }
    }

    async fn close(&self) -> Result<()> {
        match self {
            Self::Memory(store) => store.close().await,
            Self::Embedded(store) => store.close().await,
            Self::Redis(store) => Box::pin(store.close()).await,
        }
    }
}
