//! What is said to the daemon: frames that are ready but for the digits of their ids.

use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;
use clap::ValueEnum;

use crate::connection::frame::{Framing, PayloadTooLong};

/// Users in one `SCHEDULER` message, as signaling sends it.
pub(super) const LISTED_USERS: u64 = 25;
/// Spreads consecutive steps over the users: a prime, so that every user has its turn.
const STRIDE: u64 = 2_654_435_761;

/// A user enters a room.
const SUBSCRIBE: &str = r#"{"server":"chat","type":"SUBSCRIBE","user_id":"bench-p########","room_id":7,"session":"bench-s########"}"#;
/// What the names of those begin with who enter, whose time is recorded, and who are listed.
pub(super) const ENTERING: &str = "bench-p";
pub(super) const RECORDED: &str = "bench-t";
pub(super) const LISTED: &str = "bench-l";

/// Which messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mix {
    /// SUBSCRIBE and UNSUBSCRIBE in turn
    Presence,
    /// `STUDY_TIME_FROM_TCP`
    Reads,
    /// `STUDY_TIME_TO_TCP`, of users without a room
    StudyTime,
    /// SCHEDULER with 25 users each
    Schedule,
    /// Of 100 messages 40 presence, 40 reads, 19 study times and 1 schedule
    Mixed,
}

/// The frames of every kind of message, shared by all connections.
#[derive(Debug)]
pub(super) struct Frames {
    subscribe: Frame,
    unsubscribe: Frame,
    read: Frame,
    record: Frame,
    schedule: Option<Frame>,
}

/// One message for one or a few users, again and again, for users in the order of their numbers.
#[derive(Debug)]
pub(super) struct Filling {
    frame: Frame,
    /// Users of each message.
    pub(super) users_each: u64,
}

/// A frame, and where its digits are.
#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    slots: Vec<Range<usize>>,
}

/// A message, whatever it is written in. Users and sessions are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// The user enters a room with a session of the same number.
    Enter(u64),
    /// The session ends.
    Leave(u64),
    /// The user's study time is asked for.
    Read(u64),
    /// A user's study time, made of the step.
    Record { user: u64, step: u64 },
    /// The study times of [`LISTED_USERS`], made of the step.
    Schedule { step: u64 },
}

/// What one connection says, one message after the other. Its users are its own, so that no other
/// connection ends their sessions.
#[derive(Debug)]
pub(super) struct Script {
    frames: Arc<Frames>,
    mix: Mix,
    step: u64,
    connection: u64,
    connections: u64,
    own_users: u64,
}

impl Mix {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Reads => "reads",
            Self::StudyTime => "study-time",
            Self::Schedule => "schedule",
            Self::Mixed => "mixed",
        }
    }
}

impl Frames {
    /// All that `mix` needs, in this framing.
    pub(super) fn new(framing: Framing, mix: Mix) -> Result<Self, PayloadTooLong> {
        let frame = |payload: &str| Frame::new(framing, payload);
        let schedule = match mix {
            Mix::Schedule | Mix::Mixed => Some(frame(&schedule(LISTED))?),
            Mix::Presence | Mix::Reads | Mix::StudyTime => None,
        };
        Ok(Self {
            subscribe: frame(SUBSCRIBE)?,
            unsubscribe: frame(
                r#"{"server":"chat","type":"UNSUBSCRIBE","user_id":"","room_id":null,"session":"bench-s########"}"#,
            )?,
            read: frame(
                r#"{"server":"signaling","type":"STUDY_TIME_FROM_TCP","user_id":"bench-t########"}"#,
            )?,
            record: frame(
                r#"{"server":"signaling","type":"STUDY_TIME_TO_TCP","user_id":"bench-t########","study_time":"02:##:##"}"#,
            )?,
            schedule,
        })
    }
}

impl Filling {
    /// Users enter a room.
    pub(super) fn entering() -> Result<Self, PayloadTooLong> {
        Ok(Self { frame: Frame::new(Framing::Length4, SUBSCRIBE)?, users_each: 1 })
    }

    /// Users whose names begin so are listed with a study time.
    pub(super) fn listing(name: &str) -> Result<Self, PayloadTooLong> {
        let frame = Frame::new(Framing::Length4, &schedule(name))?;
        Ok(Self { frame, users_each: LISTED_USERS })
    }

    /// Appends the message for the users from this one on.
    pub(super) fn put(&self, first: u64, out: &mut BytesMut) {
        if self.users_each == 1 {
            self.frame.put(out, |_| first);
        } else {
            self.frame.put(out, |slot| user_and_time(first + slot / 3, first, slot % 3));
        }
    }
}

fn schedule(name: &str) -> String {
    let user = format!(r#"{{"user_id":"{name}########","study_time":"02:##:##"}}"#);
    let users = vec![user; LISTED_USERS as usize].join(",");
    format!(r#"{{"server":"signaling_scheduling","type":"SCHEDULER","users":[{users}]}}"#)
}

impl Frame {
    /// A run of `#` becomes a number of that many digits.
    fn new(framing: Framing, payload: &str) -> Result<Self, PayloadTooLong> {
        let mut bytes = BytesMut::new();
        let mut start = 0;
        framing.put_with(&mut bytes, |out| {
            start = out.len();
            out.extend_from_slice(payload.as_bytes());
        })?;
        let mut slots: Vec<Range<usize>> = Vec::new();
        for (at, _) in payload.match_indices('#') {
            let at = start + at;
            match slots.last_mut() {
                Some(slot) if slot.end == at => slot.end += 1,
                Some(_) | None => slots.push(at..at + 1),
            }
        }
        Ok(Self { bytes: bytes.to_vec(), slots })
    }

    /// Appends the frame, with `number` of the slot's position in each slot.
    fn put(&self, out: &mut BytesMut, number: impl Fn(u64) -> u64) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        for (slot, position) in self.slots.iter().zip(0..) {
            let mut rest = number(position);
            for digit in frame[slot.clone()].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
    }
}

impl Script {
    /// For one of so many connections, which share `users` out; each has at least one.
    pub(super) fn new(
        frames: Arc<Frames>,
        mix: Mix,
        connection: usize,
        connections: usize,
        users: u64,
    ) -> Self {
        let (connection, connections) = (connection as u64, connections as u64);
        let own_users = (users / connections).max(1);
        Self { frames, mix, step: 0, connection, connections, own_users }
    }

    /// Appends the next message.
    pub(super) fn put_next(&mut self, out: &mut BytesMut) {
        match self.next() {
            Said::Enter(user) => self.frames.subscribe.put(out, |_| user),
            Said::Leave(user) => self.frames.unsubscribe.put(out, |_| user),
            Said::Read(user) => self.frames.read.put(out, |_| user),
            Said::Record { user, step } => {
                self.frames.record.put(out, |slot| user_and_time(user, step, slot));
            }
            Said::Schedule { step } => {
                let Some(schedule) = &self.frames.schedule else { return };
                let user = |slot| self.listed(step, slot / 3);
                schedule.put(out, |slot| user_and_time(user(slot), step, slot % 3));
            }
        }
    }

    /// The next message.
    pub(super) fn next(&mut self) -> Said {
        let step = self.step;
        self.step += 1;
        match self.mix {
            Mix::Presence => self.presence(step / 2, step % 2),
            Mix::Reads => Said::Read(self.user(step)),
            Mix::StudyTime => Said::Record { user: self.user(step), step },
            Mix::Schedule => Said::Schedule { step },
            Mix::Mixed if step % 100 == 99 => Said::Schedule { step: step / 100 },
            Mix::Mixed => match step % 5 {
                0 => self.presence(step / 5, 0),
                2 => self.presence(step / 5, 1),
                4 => Said::Record { user: self.user(step / 5), step: step / 5 },
                _ => Said::Read(self.user(step / 5)),
            },
        }
    }

    /// The first and second half of a visit.
    fn presence(&self, visit: u64, half: u64) -> Said {
        let user = self.user(visit);
        if half == 0 { Said::Enter(user) } else { Said::Leave(user) }
    }

    /// One of the users of a schedule.
    pub(super) fn listed(&self, step: u64, position: u64) -> u64 {
        self.user(step * LISTED_USERS + position)
    }

    fn user(&self, turn: u64) -> u64 {
        self.connection + turn.wrapping_mul(STRIDE) % self.own_users * self.connections
    }
}

/// The number in the user's slot, in the minutes' and in the seconds'.
fn user_and_time(user: u64, step: u64, slot: u64) -> u64 {
    match slot {
        0 => user,
        1 => step / 60 % 60,
        _ => step % 60,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::frame::Decoder;
    use crate::connection::request::Request;

    fn said(mix: Mix, connections: usize, messages: usize) -> Vec<String> {
        let frames = Arc::new(Frames::new(Framing::Crlf, mix).unwrap());
        let mut script = Script::new(frames, mix, 1, connections, 1000);
        let mut out = BytesMut::new();
        (0..messages).for_each(|_| script.put_next(&mut out));
        let mut decoder = Decoder::new(Framing::Crlf, 4096);
        let mut said = Vec::new();
        while let Some(found) = decoder.find(&out).unwrap() {
            said.push(String::from_utf8(out[found.start..found.end].to_vec()).unwrap());
            decoder.consume(&mut out, found);
        }
        said
    }

    #[test]
    fn everything_that_is_said_is_a_request() {
        for mix in Mix::value_variants() {
            for message in said(*mix, 3, 500) {
                Request::decode(message.as_bytes()).expect(&message);
            }
        }
    }

    #[test]
    fn the_mixed_load_is_what_its_description_says() {
        let said = said(Mix::Mixed, 3, 1000);
        let count = |kind: &str| said.iter().filter(|message| message.contains(kind)).count();
        assert_eq!(count("\"SUBSCRIBE"), 200);
        assert_eq!(count("\"UNSUBSCRIBE"), 200);
        assert_eq!(count("STUDY_TIME_FROM_TCP"), 400);
        assert_eq!(count("STUDY_TIME_TO_TCP"), 190);
        assert_eq!(count("SCHEDULER"), 10);
    }

    #[test]
    fn a_session_is_closed_by_the_connection_that_opened_it_and_every_user_has_a_turn() {
        let said = said(Mix::Presence, 10, 200);
        let mut sessions = Vec::new();
        for visit in said.chunks(2) {
            let session = visit[0].split("bench-s").nth(1).unwrap();
            assert_eq!(visit[1].split("bench-s").nth(1), Some(session));
            assert!(session.starts_with("00000") && session.ends_with("1\"}"), "{session}");
            sessions.push(session);
        }
        sessions.sort_unstable();
        sessions.dedup();
        assert_eq!(sessions.len(), 100);
    }
}
