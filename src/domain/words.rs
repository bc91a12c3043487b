//! The words of the domain: ids, study times, days. Parsed once at the edge, right by construction.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use compact_str::CompactString;

use crate::clock;

/// The longest user or session id, in bytes of UTF-8 (contract §2).
pub const ID_BYTES_MAX: usize = 256;
/// The longest study time, in bytes of UTF-8 (contract §2).
pub const STUDY_TIME_BYTES_MAX: usize = 64;

/// Why a text is not one of the domain's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWord {
    /// An id with no characters.
    #[error("must not be empty")]
    Empty,
    /// More bytes than the word may have.
    #[error("is {found} bytes long, at most {max} are allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
}

fn check_length(text: &str, max: usize) -> Result<(), InvalidWord> {
    match text.len() {
        found if found > max => Err(InvalidWord::TooLong { found, max }),
        _ => Ok(()),
    }
}

fn check_id(text: &str) -> Result<(), InvalidWord> {
    if text.is_empty() { Err(InvalidWord::Empty) } else { check_length(text, ID_BYTES_MAX) }
}

/// A user of the fleet: 1 to 256 bytes of any text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(CompactString);

/// A socket session of a user: 1 to 256 bytes of any text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(CompactString);

/// A day's study time as signaling measures it: opaque text of at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StudyTime(CompactString);

impl UserId {
    /// Takes `text` for a user's id.
    pub fn parse(text: &str) -> Result<Self, InvalidWord> {
        check_id(text).map(|()| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SessionId {
    /// Takes `text` for a session's id.
    pub fn parse(text: &str) -> Result<Self, InvalidWord> {
        check_id(text).map(|()| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl StudyTime {
    /// Takes `text` for a study time; the text itself is signaling's business.
    pub fn parse(text: &str) -> Result<Self, InvalidWord> {
        check_length(text, STUDY_TIME_BYTES_MAX).map(|()| Self(text.into()))
    }

    /// The study time as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A study room. All 64 bits count: never a double on any path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub i64);

/// A study day, counted from 1 by the store; closing the day makes it the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(pub u64);

impl Day {
    /// The day a store starts with.
    pub const FIRST: Self = Self(1);

    /// The day after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// An instant of the wall clock, in milliseconds since the Unix epoch. It is kept across restarts
/// and shared between daemons, which a monotonic clock can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixMillis(pub u64);

impl From<SystemTime> for UnixMillis {
    /// Times before 1970 read as 0.
    fn from(at: SystemTime) -> Self {
        let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

impl UnixMillis {
    /// The wall clock now; a clock set before 1970 reads as 0.
    pub fn now() -> Self {
        clock::now().into()
    }

    /// How long ago `earlier` was; zero if the clock went backwards meanwhile.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_1_to_256_bytes() {
        assert_eq!(UserId::parse(""), Err(InvalidWord::Empty));
        assert!(SessionId::parse(&"x".repeat(256)).is_ok());
        let too_long = "가".repeat(86);
        assert_eq!(UserId::parse(&too_long), Err(InvalidWord::TooLong { found: 258, max: 256 }));
    }

    #[test]
    fn a_study_time_has_at_most_64_bytes_and_may_be_empty() {
        assert!(StudyTime::parse("").is_ok());
        assert!(StudyTime::parse(&"0".repeat(64)).is_ok());
        assert!(StudyTime::parse(&"0".repeat(65)).is_err());
    }
}
