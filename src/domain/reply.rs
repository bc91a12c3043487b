//! What peers are answered, and how it is written: pure ASCII (contract §1, §3).

use bytes::{BufMut, BytesMut};

use super::json::{Charset, put_record, put_room, put_str, put_user_time, put_user_times};
use super::scheduling::Last;
use super::{Record, StudyTime, UserId, UserTime};
use crate::upstream::OwnerReply;

/// The answer to a request that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to say: an empty payload.
    Empty,
    /// The record.
    Record(Record),
    /// `{"user_id":…,"study_time":…}`
    StudyTime {
        /// Whose.
        user: UserId,
        /// The study time; null if nothing is recorded.
        study_time: Option<StudyTime>,
    },
    /// The same and who owns the room now (contract §4, `with_owner`).
    StudyTimeWithOwner {
        /// Who left.
        user: UserId,
        /// The study time as it was stored.
        study_time: StudyTime,
        /// What the room service said.
        owner: OwnerReply,
    },
    /// The request's `server`, `type` and `users` again.
    Listing {
        /// Which of the two types.
        last: Last,
        /// All entries as they came.
        users: Vec<UserTime>,
    },
}

impl Reply {
    /// Appends the payload.
    pub fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Empty => {}
            Self::Record(record) => put_record(out, record, Charset::Ascii),
            Self::StudyTime { user, study_time } => {
                put_user_time(out, user.as_str(), study_time.as_ref().map(StudyTime::as_str));
            }
            Self::StudyTimeWithOwner { user, study_time, owner } => {
                put_with_owner(out, user, study_time, owner);
            }
            Self::Listing { last, users } => {
                out.put_slice(b"{\"server\":\"signaling_scheduling\",\"type\":\"");
                out.put_slice(last.type_name().as_bytes());
                out.put_slice(b"\",\"users\":");
                put_user_times(out, users);
                out.put_u8(b'}');
            }
        }
    }
}

/// Signaling reads `type` and `userId` by Java's names, the others by the wire's.
fn put_with_owner(out: &mut BytesMut, user: &UserId, study_time: &StudyTime, owner: &OwnerReply) {
    out.put_slice(b"{\"user_id\":");
    put_str(out, user.as_str(), Charset::Ascii);
    out.put_slice(b",\"study_time\":");
    put_str(out, study_time.as_str(), Charset::Ascii);
    match owner {
        OwnerReply::Keep => out.put_slice(b",\"type\":\"KEEP\"}"),
        OwnerReply::Change { user, room } => {
            out.put_slice(b",\"type\":\"CHANGE\",\"userId\":");
            put_str(out, user.as_str(), Charset::Ascii);
            out.put_slice(b",\"room_id\":");
            put_room(out, *room);
            out.put_u8(b'}');
        }
    }
}
