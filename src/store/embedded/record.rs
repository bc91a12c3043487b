//! What is written down of a change, as bytes: after-images, so that reading them twice is harmless.
//!
//! A record is a tag and its fields. Numbers are LEB128 (seven bits a byte, the lowest first);
//! a text is its length and its UTF-8; a list is its length and its items.

use crate::domain::{Day, RoomId, SessionId, StudyTime, UnixMillis, UserId, UserTime};
use crate::store::night::{Batch, ClosedBy, ClosedDay, Night, PastNight};
use crate::store::state::State;
use crate::store::state::entry::Entry;
use crate::store::state::sealed::SealedTimes;

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const NIGHT: u8 = 3;
const BATCH: u8 = 4;
/// Up to format 2, where there was one frame at a time.
const NO_BATCH: u8 = 5;
const END: u8 = 6;
/// Since format 2.
const PAST_NIGHT: u8 = 7;
/// Since format 3.
const BATCH_GONE: u8 = 8;

const BY_LAST: u8 = 0;
const BY_TIMEOUT: u8 = 1;
const BY_OPERATOR: u8 = 2;

const HAS_ROOM: u8 = 1;
const HAS_SESSION: u8 = 1 << 1;
const HAS_STUDY_TIME: u8 = 1 << 2;
const LIVE: u8 = 1 << 3;
const LISTED: u8 = 1 << 4;
const FRESH: u8 = 1 << 5;

/// The last record of a snapshot: the latest change of which it may show something. It may also
/// lack parts of what happened while it was written: only with the log up to here it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Number of that change.
    pub(super) position: u64,
}

/// Bytes with a right checksum that are no record of this format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

type Decoded<T> = std::result::Result<T, Malformed>;

/// Appends the record of an entry.
pub(super) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(PUT);
    out.push(
        flag(entry.room.is_some(), HAS_ROOM)
            | flag(entry.session.is_some(), HAS_SESSION)
            | flag(entry.study_time.is_some(), HAS_STUDY_TIME)
            | flag(entry.live, LIVE)
            | flag(entry.listed, LISTED)
            | flag(entry.fresh, FRESH),
    );
    put_text(out, entry.user.as_str());
    put_number(out, entry.day.0);
    if let Some(RoomId(room)) = entry.room {
        out.extend_from_slice(&room.to_le_bytes());
    }
    if let Some(session) = &entry.session {
        put_text(out, session.as_str());
    }
    if let Some(study_time) = &entry.study_time {
        put_text(out, study_time.as_str());
    }
    put_number(out, entry.closed.len() as u64);
    for (day, study_time) in &entry.closed {
        put_number(out, day.0);
        put_optional_time(out, study_time.as_ref());
    }
}

/// Appends the record of a user's removal.
pub(super) fn put_removal(out: &mut Vec<u8>, user: &UserId) {
    out.push(REMOVE);
    put_text(out, user.as_str());
}

/// Appends the record of where the night stands.
pub(super) fn put_night(out: &mut Vec<u8>, night: &Night) {
    out.push(NIGHT);
    put_number(out, night.day.0);
    put_optional_instant(out, night.listed_at);
    put_number(out, night.undelivered.len() as u64);
    for closed in &night.undelivered {
        put_closed_day(out, *closed);
    }
}

/// Appends the record of what is remembered of a night.
pub(super) fn put_past_night(out: &mut Vec<u8>, night: &PastNight) {
    out.push(PAST_NIGHT);
    put_closed_day(out, night.closed);
    out.push(match night.closed_by {
        ClosedBy::Last => BY_LAST,
        ClosedBy::Timeout => BY_TIMEOUT,
        ClosedBy::Operator => BY_OPERATOR,
    });
    put_number(out, night.users);
    put_number(out, night.frames);
    put_optional_instant(out, night.delivered_at);
}

/// Appends the record of a frame that was formed, behind those that are.
pub(super) fn put_batch(out: &mut Vec<u8>, batch: &Batch) {
    out.push(BATCH);
    put_text(out, &batch.id);
    put_closed_day(out, batch.closed);
    put_number(out, batch.users.len() as u64);
    for entry in &batch.users {
        put_text(out, entry.user.as_str());
        put_optional_time(out, entry.study_time.as_ref());
    }
}

/// Appends the record of a frame that is no more.
pub(super) fn put_batch_gone(out: &mut Vec<u8>, id: &str) {
    out.push(BATCH_GONE);
    put_text(out, id);
}

/// Appends the last record of a snapshot.
pub(super) fn put_end(out: &mut Vec<u8>, end: End) {
    out.push(END);
    put_number(out, end.position);
}

fn put_closed_day(out: &mut Vec<u8>, closed: ClosedDay) {
    put_number(out, closed.day.0);
    put_number(out, closed.closed_at.0);
}

fn put_optional_instant(out: &mut Vec<u8>, at: Option<UnixMillis>) {
    match at {
        Some(UnixMillis(at)) => {
            out.push(1);
            put_number(out, at);
        }
        None => out.push(0),
    }
}

fn put_optional_time(out: &mut Vec<u8>, study_time: Option<&StudyTime>) {
    match study_time {
        Some(study_time) => {
            out.push(1);
            put_text(out, study_time.as_str());
        }
        None => out.push(0),
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Brings `state` to what `records` say, one after the other; returns the end of the snapshot if
/// one of them is it. Nothing may follow an end.
pub(super) fn restore(state: &mut State, records: &[u8]) -> Decoded<Option<End>> {
    let mut cursor = Cursor { rest: records };
    while !cursor.rest.is_empty() {
        match cursor.byte()? {
            PUT => state.restore_entry(cursor.entry()?),
            REMOVE => state.restore_removal(&cursor.user()?),
            NIGHT => state.restore_night(&cursor.night()?),
            PAST_NIGHT => state.restore_past_night(cursor.past_night()?),
            BATCH => state.restore_batch(cursor.batch()?),
            BATCH_GONE => state.restore_batch_gone(cursor.text()?),
            NO_BATCH => state.restore_no_batch(),
            END => {
                let end = End { position: cursor.number()? };
                return if cursor.rest.is_empty() { Ok(Some(end)) } else { Err(Malformed) };
            }
            _ => return Err(Malformed),
        }
    }
    Ok(None)
}

/// Takes fields off the front of what is left.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn entry(&mut self) -> Decoded<Entry> {
        let flags = self.byte()?;
        let has = |bit: u8| flags & bit != 0;
        let user = self.user()?;
        let day = Day(self.number()?);
        let room = if has(HAS_ROOM) { Some(self.room()?) } else { None };
        let session = if has(HAS_SESSION) { Some(self.session()?) } else { None };
        let study_time = if has(HAS_STUDY_TIME) { Some(self.study_time()?) } else { None };
        let count = self.count()?;
        let mut closed = SealedTimes::default();
        for _ in 0..count {
            closed.push(Day(self.number()?), self.optional_time()?);
        }
        let (live, listed, fresh) = (has(LIVE), has(LISTED), has(FRESH));
        Ok(Entry { user, room, session, study_time, day, live, listed, fresh, closed, stamp: 0 })
    }

    fn night(&mut self) -> Decoded<Night> {
        let day = Day(self.number()?);
        let listed_at = self.optional_instant()?;
        let count = self.count()?;
        let mut undelivered = Vec::with_capacity(count);
        for _ in 0..count {
            undelivered.push(self.closed_day()?);
        }
        Ok(Night { day, listed_at, undelivered })
    }

    fn past_night(&mut self) -> Decoded<PastNight> {
        let closed = self.closed_day()?;
        let closed_by = match self.byte()? {
            BY_LAST => ClosedBy::Last,
            BY_TIMEOUT => ClosedBy::Timeout,
            BY_OPERATOR => ClosedBy::Operator,
            _ => return Err(Malformed),
        };
        let (users, frames) = (self.number()?, self.number()?);
        let delivered_at = self.optional_instant()?;
        let night = PastNight::new(closed, closed_by);
        Ok(PastNight { users, frames, delivered_at, ..night })
    }

    fn batch(&mut self) -> Decoded<Batch> {
        let id = self.text()?.to_owned();
        let closed = self.closed_day()?;
        let count = self.count()?;
        let mut users = Vec::with_capacity(count);
        for _ in 0..count {
            users.push(UserTime { user: self.user()?, study_time: self.optional_time()? });
        }
        Ok(Batch { id, closed, users })
    }

    fn closed_day(&mut self) -> Decoded<ClosedDay> {
        Ok(ClosedDay { day: Day(self.number()?), closed_at: UnixMillis(self.number()?) })
    }

    fn optional_instant(&mut self) -> Decoded<Option<UnixMillis>> {
        match self.byte()? {
            0 => Ok(None),
            1 => Ok(Some(UnixMillis(self.number()?))),
            _ => Err(Malformed),
        }
    }

    fn optional_time(&mut self) -> Decoded<Option<StudyTime>> {
        match self.byte()? {
            0 => Ok(None),
            1 => self.study_time().map(Some),
            _ => Err(Malformed),
        }
    }

    fn user(&mut self) -> Decoded<UserId> {
        UserId::parse(self.text()?).map_err(|_| Malformed)
    }

    fn session(&mut self) -> Decoded<SessionId> {
        SessionId::parse(self.text()?).map_err(|_| Malformed)
    }

    fn study_time(&mut self) -> Decoded<StudyTime> {
        StudyTime::parse(self.text()?).map_err(|_| Malformed)
    }

    fn room(&mut self) -> Decoded<RoomId> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(RoomId(i64::from_le_bytes(*bytes)))
    }

    fn text(&mut self) -> Decoded<&'a str> {
        let length = self.count()?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        std::str::from_utf8(bytes).map_err(|_| Malformed)
    }

    /// A length: of each item at least one byte must still be there.
    fn count(&mut self) -> Decoded<usize> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        if count > self.rest.len() { Err(Malformed) } else { Ok(count) }
    }

    fn number(&mut self) -> Decoded<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn byte(&mut self) -> Decoded<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Option<StudyTime>> {
        proptest::option::of(".{0,16}".prop_map(|text| StudyTime::parse(&text).unwrap()))
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let ids = (".{1,64}", proptest::option::of(".{1,64}"));
        let closed = proptest::collection::vec((any::<u64>().prop_map(Day), time()), 0..4);
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        (ids, any::<Option<i64>>(), time(), any::<u64>(), closed, flags).prop_map(
            |((user, session), room, study_time, day, closed, (live, listed, fresh))| Entry {
                user: UserId::parse(&user).unwrap(),
                live: live && session.is_some(),
                session: session.map(|session| SessionId::parse(&session).unwrap()),
                room: room.map(RoomId),
                study_time,
                day: Day(day),
                listed,
                fresh,
                closed: closed.into_iter().collect(),
                stamp: 0,
            },
        )
    }

    proptest! {
        #[test]
        fn an_entry_reads_back_as_it_was_written(entry in entry()) {
            let mut bytes = Vec::new();
            put_entry(&mut bytes, &entry);
            let mut state = State::default();
            prop_assert_eq!(restore(&mut state, &bytes), Ok(None));
            prop_assert_eq!(state.entry_at(0), Some(&entry));
        }

        #[test]
        fn no_bytes_whatever_make_the_reader_panic(
            bytes in proptest::collection::vec(any::<u8>(), 1..64),
        ) {
            let mut state = State::default();
            let restored = restore(&mut state, &bytes);
            prop_assert!(restored.is_err() || bytes.len() > state.user_count());
        }
    }

    #[test]
    fn the_night_and_its_frame_read_back_as_they_were_written() {
        let closed = ClosedDay { day: Day(3), closed_at: UnixMillis(u64::MAX) };
        let night = Night {
            day: Day(4),
            listed_at: Some(UnixMillis(1_800_000_000_000)),
            undelivered: vec![closed],
        };
        let user = UserId::parse("가").unwrap();
        let users = vec![UserTime { user, study_time: None }];
        let batch = Batch { id: Batch::new_id(), closed, users };
        let mut bytes = Vec::new();
        let past = |closed_by, delivered_at| PastNight {
            users: u64::MAX,
            delivered_at,
            ..PastNight::new(closed, closed_by)
        };
        put_night(&mut bytes, &night);
        let gone = Batch { id: Batch::new_id(), ..batch.clone() };
        put_batch(&mut bytes, &gone);
        put_batch(&mut bytes, &batch);
        put_batch(&mut bytes, &batch);
        put_batch_gone(&mut bytes, &gone.id);
        put_past_night(&mut bytes, &past(ClosedBy::Last, None));
        let end = End { position: 7 };
        put_end(&mut bytes, end);
        let mut state = State::default();
        assert_eq!(restore(&mut state, &bytes), Ok(Some(end)));
        assert_eq!(state.night(), night);
        assert!(state.outstanding_batches().eq([&batch]));
        assert_eq!(restore(&mut state, &[NO_BATCH]), Ok(None));
        assert!(state.outstanding_batches().next().is_none());
        assert_eq!(state.night_history(9), [past(ClosedBy::Last, None)]);
        for closed_by in ClosedBy::ALL {
            let past = past(closed_by, Some(UnixMillis(7)));
            bytes.clear();
            put_past_night(&mut bytes, &past);
            assert_eq!(restore(&mut state, &bytes), Ok(None));
            assert_eq!(state.night_history(9), [past]);
        }
    }
}
