//! The record of a user, as the fleet reads it in replies and in Redis.

use super::words::{RoomId, SessionId, StudyTime, UserId};

/// The stored state of a user (contract §3), as it reads today: a study time of a day that was
/// closed is no longer in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose state it is.
    pub user: UserId,
    /// The room the user was last in; kept after the session is gone.
    pub room: Option<RoomId>,
    /// The last session; kept after it is gone.
    pub session: Option<SessionId>,
    /// The running day's study time.
    pub study_time: Option<StudyTime>,
}

/// One entry of a `users` list: in SCHEDULER frames and in what is delivered to auth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserTime {
    /// Whose study time it is.
    pub user: UserId,
    /// The study time; `None` is JSON's null.
    pub study_time: Option<StudyTime>,
}
