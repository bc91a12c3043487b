//! The state, behind one port: whole sentences of the domain, each atomic, each safe to repeat.
//!
//! There is no get and no put. What a handler wants done to a user is one operation here, and it
//! is wholly done or not at all, also when several daemons share the store.

mod any;
pub mod embedded;
pub mod lookup;
pub mod memory;
pub mod night;
pub mod observed;
pub mod redis;
pub mod state;
pub mod upkeep;

use std::future::Future;
use std::time::Duration;

pub use any::Store;
pub use lookup::{Cursor, KnownUser, Member, Page, Population, RoomCount};
pub use night::{Batch, BatchLimits, NextBatch, Night, PastNight, Plan};
pub use observed::Observed;

use crate::domain::{Day, Record, RoomId, SessionId, StudyTime, UnixMillis, UserId, UserTime};

/// Why an operation of the store was not done, or is not known to be done. The texts go to peers
/// as `detail` (contract §6): they name the part that failed and never a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store can't be reached; nothing was done.
    #[error("the store is away: {0}")]
    Away(String),
    /// The store did not answer in time; whether the operation was done is unknown.
    #[error("the store did not answer within {0:?}")]
    Slow(Duration),
    /// What is stored for this user can't be read. It is never overwritten.
    #[error("the stored record of the user can't be read: {0}")]
    Unreadable(String),
    /// The store refused the operation or failed in it.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Result of an operation.
pub type Result<T> = std::result::Result<T, Error>;

/// The port. Three adapters stand behind it ([`memory`], [`embedded`], [`redis`]), and one battery
/// of tests that all of them pass.
///
/// An operation is done when its future is ready: then its effect is as durable as the store
/// makes anything. Each may be repeated after an error whose outcome is unknown.
pub trait StateStore: Send + Sync {
    /// Whether operations take effect in the order in which their futures are first polled. Where
    /// not, whoever needs an order waits for one operation before it starts the next.
    fn in_call_order(&self) -> bool;

    /// These will be asked about next: a store in memory looks at all of them at once, so that none of
    /// the operations waits for memory alone. Nothing comes of it but time.
    fn look_ahead<'a>(&self, keys: impl Iterator<Item = Key<'a>>) {
        let _elsewhere = keys;
    }

    /// The user is now in `room` with `session` (contract §3, SUBSCRIBE). The study time is kept.
    /// The session resolves to this user, the user's previous one to nobody.
    fn open_session(
        &self,
        user: &UserId,
        room: Option<RoomId>,
        session: &SessionId,
    ) -> impl Future<Output = Result<Record>> + Send;

    /// The session resolves to nobody from now on (UNSUBSCRIBE, DISCONNECT). The record stays as
    /// it is and is returned; `None` if the session already resolved to nobody. A session that was
    /// replaced by a newer one never touches it.
    fn close_session(
        &self,
        session: &SessionId,
    ) -> impl Future<Output = Result<Option<Record>>> + Send;

    /// The running day's study time; `None` if nothing is recorded (STUDY_TIME_FROM_TCP).
    fn study_time(&self, user: &UserId) -> impl Future<Output = Result<Option<StudyTime>>> + Send;

    /// Records a study time (STUDY_TIME_TO_TCP), making the record if there is none. It belongs to
    /// the running day; if tonight's listing named the user already, to the next one (§5.1).
    fn record_study_time(
        &self,
        user: &UserId,
        study_time: &StudyTime,
    ) -> impl Future<Output = Result<Record>> + Send;

    /// Records a nightly listing (SCHEDULER): each entry is the running day's last word on its
    /// user. `None` as a study time makes the record and leaves a stored time as it is; of a user
    /// listed twice the last entry counts. If an earlier night was left open for longer than
    /// `last_timeout` it is closed first, so that no night overwrites another (§5.4).
    fn list_study_times(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Records the last listing and closes the day (SCHEDULER_LAST, §5.1). When it returns, the
    /// decision is durable and no study time of the closed day is read any more, by any daemon.
    /// A listed record that can't be read keeps nobody else's day open: the day is closed, and then
    /// [`Error::Unreadable`] names the user. After any other error it is open or its state unknown.
    fn close_day(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> impl Future<Output = Result<Day>> + Send;

    /// Closes a night whose latest listing is older than `last_timeout` (§5.4); returns the day it
    /// closed, or `None` if there was nothing to close.
    fn close_overdue_day(
        &self,
        at: UnixMillis,
        last_timeout: Duration,
    ) -> impl Future<Output = Result<Option<Day>>> + Send;

    /// Closes the running day because an operator wants it, as SCHEDULER_LAST without users does;
    /// returns the day. The night that was listing, if any, is over with it.
    fn close_day_by_hand(&self, at: UnixMillis) -> impl Future<Output = Result<Day>> + Send;

    /// Where the night stands.
    fn night(&self) -> impl Future<Output = Result<Night>> + Send;

    /// The latest nights, the newest first, at most `limit` and [`night::NIGHTS_KEPT`] of them.
    /// Frames and users count once, also if a frame had to be sent again or the daemon died over it.
    fn night_history(&self, limit: usize) -> impl Future<Output = Result<Vec<PastNight>>> + Send;

    /// What a close would tell auth if the day ended now, without what is undelivered of closed
    /// days. Changes nothing. A page looks at a bounded number of records, so it may be empty and
    /// not the last; it names `limit` users, [`night::PLAN_USERS_MAX`] at the most, and with Redis a
    /// few more.
    fn night_plan(
        &self,
        from: Option<Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Plan>> + Send;

    /// The frame to deliver next: the one that was formed and not acknowledged, else a new one of
    /// the oldest closed day. It is durable when it is returned, so that whoever asks again, after
    /// whatever restart, gets the same frame; another one only if that has become too long for the
    /// limits, which would otherwise hold up the night for ever.
    fn next_batch(&self, limits: BatchLimits) -> impl Future<Output = Result<NextBatch>> + Send;

    /// Auth has the frame: forgets its study times, and the records of users who are gone (§5.3).
    /// Repeating it, or naming a frame that is not the outstanding one, changes nothing.
    fn acknowledge_batch(
        &self,
        batch: &Batch,
        keep: KeepOnline,
    ) -> impl Future<Output = Result<()>> + Send;

    /// The user's record as it reads today, and whether its session is live; `None` if there is no
    /// record.
    fn user(&self, user: &UserId) -> impl Future<Output = Result<Option<KnownUser>>> + Send;

    /// The record of the user to whom the session resolves; `None` if it resolves to nobody.
    fn session(&self, session: &SessionId) -> impl Future<Output = Result<Option<Record>>> + Send;

    /// The rooms with a live session, `limit` of them or a few more, and at most
    /// [`lookup::PAGE_ITEMS_MAX`] or a few more. What is told of rooms may run ahead of what is
    /// durable, and between daemons lag behind what is done by milliseconds.
    fn rooms(
        &self,
        from: Option<Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<RoomCount>>> + Send;

    /// How many live sessions are in the room.
    fn room(&self, room: RoomId) -> impl Future<Output = Result<RoomCount>> + Send;

    /// The live sessions in the room, in pages as those of [`StateStore::rooms`]. A session that
    /// comes back while the pages are turned may be on two of them.
    fn room_members(
        &self,
        room: RoomId,
        from: Option<Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<Member>>> + Send;

    /// How many there are of everything; `None` if nobody has counted yet.
    fn population(&self) -> impl Future<Output = Result<Option<Population>>> + Send;

    /// Makes a change that means nothing, on the way that changes take, and waits for it as a
    /// request does. It fails if the store takes no changes, and leaves no record behind.
    fn prove_writable(&self) -> impl Future<Output = Result<()>> + Send;

    /// Makes what is still in memory durable and lets go of the store. Nothing may follow.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

/// Of so many keys at the most [`StateStore::look_ahead`] takes notice.
pub const AHEAD_MAX: usize = 32;

/// What an operation looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// A user's record.
    User(&'a UserId),
    /// Whose a session is.
    Session(&'a SessionId),
}

/// What becomes of the record of a user who is online when the closed day is acknowledged
/// (`rollover.keep_online`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepOnline {
    /// It stays, with the new day's study time.
    Yes,
    /// It goes with its session index, unless the new day has written to it.
    No,
}
