//! The words of the night: where it stands, and the frames that are delivered to auth.

use std::time::Duration;

use bytes::BytesMut;

use super::Page;
use crate::domain::json;
use crate::domain::{Day, UnixMillis, UserTime};

/// How many closed days are remembered.
pub const NIGHTS_KEPT: usize = 30;
/// How many users a page of the plan names at the most.
pub const PLAN_USERS_MAX: usize = 1000;

/// Where the night stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Night {
    /// The running day.
    pub day: Day,
    /// When the latest SCHEDULER frame of a night came whose SCHEDULER_LAST has not come yet.
    pub listed_at: Option<UnixMillis>,
    /// Closed days that are not wholly delivered, the oldest first.
    pub undelivered: Vec<ClosedDay>,
}

/// A day that was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedDay {
    /// Which day.
    pub day: Day,
    /// When it was closed.
    pub closed_at: UnixMillis,
}

/// Why a day was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// SCHEDULER_LAST came.
    Last,
    /// None came in time (`rollover.last_timeout`).
    Timeout,
    /// An operator said so.
    Operator,
}

/// What is remembered of a closed day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastNight {
    /// Which day, and when it was closed.
    pub closed: ClosedDay,
    /// Why.
    pub closed_by: ClosedBy,
    /// Users in frames that auth acknowledged.
    pub users: u64,
    /// Frames that auth acknowledged.
    pub frames: u64,
    /// When nothing of the day was left to tell; `None` while there is.
    pub delivered_at: Option<UnixMillis>,
    /// Whether the store was found to have lost what it knew while the day was running: then users
    /// who studied may be missing in it. It happens to no store of our own.
    pub is_set_back: bool,
}

/// What a close would tell auth now, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The running day, which would be closed.
    pub day: Day,
    /// Users with the study time that would be told, `None` for none.
    pub users: Page<UserTime>,
}

/// A frame's worth of sealed study times of one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Unique to the frame, the same when it is sent again (`batch` on the wire with
    /// `rollover.stamp`). 16 lower-case hex digits.
    pub id: String,
    /// The day the study times belong to.
    pub closed: ClosedDay,
    /// The users and their times; never empty, no user twice.
    pub users: Vec<UserTime>,
}

/// What a frame may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Users in one frame (`rollover.batch_users`), at least 1.
    pub users_max: usize,
    /// Bytes of all entries and the commas between them, on the wire: the gateway's
    /// `max_frame_bytes` less the envelope.
    pub entries_bytes_max: usize,
    /// How long the frame may be under way to auth. Whoever asks keeps to it: among several daemons
    /// nobody else sends the frame for so long.
    pub call_max: Duration,
}

/// Answer to the question what to deliver next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextBatch {
    /// This frame, and no other before it is acknowledged.
    Send(Batch),
    /// Everything that was closed is delivered.
    Nothing,
    /// Something is undelivered and another daemon is at it.
    Elsewhere,
    /// What is left undelivered can't be sent: each of these many entries alone is longer than a
    /// frame may be. They stay sealed.
    TooLong {
        /// Users whose entry does not fit, at least 1.
        users: usize,
    },
}

impl ClosedBy {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Last, Self::Timeout, Self::Operator];

    /// Its name on pages, in figures and in Redis.
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Timeout => "timeout",
            Self::Operator => "operator",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

impl PastNight {
    /// A day that was closed just now.
    pub fn new(closed: ClosedDay, closed_by: ClosedBy) -> Self {
        Self { closed, closed_by, users: 0, frames: 0, delivered_at: None, is_set_back: false }
    }
}

impl Batch {
    /// Whether the frame keeps to the limits, which may have been others when it was formed.
    pub fn fits(&self, limits: BatchLimits) -> bool {
        let mut filler = BatchFiller::new(limits);
        self.users.iter().all(|entry| filler.offer(entry.clone()) == Offer::Taken)
    }

    /// A new id for a frame.
    pub fn new_id() -> String {
        format!("{:016x}", fastrand::u64(..))
    }
}

/// Bytes of one entry on the wire, without a comma.
pub fn entry_bytes(entry: &UserTime) -> usize {
    let mut out = BytesMut::with_capacity(128);
    let study_time = entry.study_time.as_ref().map(|time| time.as_str());
    json::put_user_time(&mut out, entry.user.as_str(), study_time);
    out.len()
}

/// Fills a frame entry by entry, up to its limits.
#[derive(Debug)]
pub struct BatchFiller {
    limits: BatchLimits,
    bytes: usize,
    users: Vec<UserTime>,
}

/// What became of an entry offered to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is in.
    Taken,
    /// The frame is full: the entry belongs to the next one.
    Full,
    /// It would not fit an empty frame either.
    TooLong,
}

impl BatchFiller {
    /// An empty frame.
    pub fn new(limits: BatchLimits) -> Self {
        Self { limits, bytes: 0, users: Vec::new() }
    }

    /// Puts `entry` into the frame if it still fits.
    pub fn offer(&mut self, entry: UserTime) -> Offer {
        let bytes = entry_bytes(&entry);
        if bytes > self.limits.entries_bytes_max {
            return Offer::TooLong;
        }
        let comma = usize::from(!self.users.is_empty());
        if self.is_full() || self.bytes + comma + bytes > self.limits.entries_bytes_max {
            return Offer::Full;
        }
        self.bytes += comma + bytes;
        self.users.push(entry);
        Offer::Taken
    }

    /// Whether no further user may enter, however short.
    pub fn is_full(&self) -> bool {
        self.users.len() >= self.limits.users_max.max(1)
    }

    /// The frame's entries, or `None` if it is empty.
    pub fn finish(self) -> Option<Vec<UserTime>> {
        if self.users.is_empty() { None } else { Some(self.users) }
    }
}
