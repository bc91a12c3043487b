//! What operators look up: who is where, in pages that a program can turn.

use std::fmt;

use crate::domain::{Record, RoomId, SessionId, UnixMillis, UserId};

/// The most items a page aims at; whoever asks for more gets these.
pub const PAGE_ITEMS_MAX: usize = 1000;

/// A user with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownUser {
    /// The record as it reads today.
    pub record: Record,
    /// Whether its session resolves to the user.
    pub is_live: bool,
}

/// A room and how many live sessions are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomCount {
    /// Which room.
    pub room: RoomId,
    /// Live sessions in it.
    pub sessions: u64,
}

/// A live session in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The session.
    pub session: SessionId,
    /// To whom it resolves.
    pub user: UserId,
}

/// How many there are of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Population {
    /// Users with a record.
    pub users: u64,
    /// Sessions that resolve to a user.
    pub sessions_live: u64,
    /// Rooms with a live session.
    pub rooms: u64,
    /// When it was so: now, or when they were last counted one by one.
    pub as_of: UnixMillis,
}

/// Some items of many.
///
/// What is there while all pages are turned is on one of them at least, whatever comes and goes
/// meanwhile. A page may be short of its limit, even empty, and still not be the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in no order that means anything.
    pub items: Vec<T>,
    /// What to ask for next; `None` if this was the last page.
    pub next: Option<Cursor>,
}

/// Where a page begins. What its numbers say is the store's own business, and they are good for as
/// long as the store that gave them out is open: others lead anywhere, and do no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub(super) [u64; 3]);

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no cursor: three numbers with dots between them")]
pub struct InvalidCursor;

impl Cursor {
    /// Takes for a cursor a text that one was written as.
    pub fn parse(text: &str) -> Result<Self, InvalidCursor> {
        let mut numbers = [0; 3];
        let mut words = text.split('.');
        for number in &mut numbers {
            let word = words.next().ok_or(InvalidCursor)?;
            *number = word.parse().map_err(|_| InvalidCursor)?;
        }
        words.next().is_none().then_some(Self(numbers)).ok_or(InvalidCursor)
    }
}

/// Digits and dots: it needs no quoting anywhere.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third] = self.0;
        write!(f, "{first}.{second}.{third}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_being_a_text_and_no_other_text_is_one() {
        let cursor = Cursor([0, 7, u64::MAX]);
        assert_eq!(cursor.to_string(), "0.7.18446744073709551615");
        assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        for text in ["", ".", "1", "1.2", "1.2.x", "1.2.3.4", "-1.2.3", "1.2.18446744073709551616"]
        {
            assert_eq!(Cursor::parse(text), Err(InvalidCursor), "{text}");
        }
    }
}
