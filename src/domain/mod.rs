//! What messages mean. Knows no socket and no database.

pub mod json;
mod record;
mod words;

pub use record::{Record, UserTime};
pub use words::{
    Day, ID_BYTES_MAX, InvalidWord, RoomId, STUDY_TIME_BYTES_MAX, SessionId, StudyTime, UnixMillis,
    UserId,
};
