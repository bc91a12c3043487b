//! What is said to the peers, byte for byte (contract §4).

use bytes::{BufMut, Bytes, BytesMut};

use crate::domain::json::{self, Charset};
use crate::domain::room::Command;
use crate::domain::{RoomId, UserId, UserTime};

/// Bytes of a short message, so that its buffer does not grow.
const MESSAGE_BYTES_USUAL: usize = 160;

/// To room: a member left.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    /// Who left.
    pub user: &'a UserId,
    /// Which room.
    pub room: RoomId,
}

/// To signaling: what room decided about a member.
#[derive(Debug, Clone, Copy)]
pub struct RoomCommand<'a> {
    /// What was decided.
    pub kind: Command,
    /// About whom.
    pub user: &'a UserId,
    /// In which room, as room gave it.
    pub room: Option<RoomId>,
}

/// To auth: study times of a closed day.
#[derive(Debug, Clone, Copy)]
pub struct ClosedTimes<'a> {
    /// Whose and how long.
    pub users: &'a [UserTime],
    /// By what a repeated frame is recognised, with `rollover.stamp`.
    pub stamp: Option<Stamp<'a>>,
}

/// Marks a frame to auth; the same when the frame is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp<'a> {
    /// The date of the closed day: `2026-11-20`.
    pub day: &'a str,
    /// The frame's id.
    pub batch: &'a str,
}

impl Left<'_> {
    /// `{"server":"state","user_id":…,"room_id":…}`. Room refuses any other member.
    pub fn to_json(self) -> Bytes {
        let mut out = BytesMut::with_capacity(MESSAGE_BYTES_USUAL);
        out.put_slice(br#"{"server":"state""#);
        put_user_and_room(&mut out, self.user, Some(self.room));
        out.put_u8(b'}');
        out.freeze()
    }
}

impl RoomCommand<'_> {
    /// `{"server":"state","type":…,"user_id":…,"room_id":…}`, and `alert_count` in an ALERT only:
    /// signaling refuses it elsewhere.
    pub fn to_json(self) -> Bytes {
        let mut out = BytesMut::with_capacity(MESSAGE_BYTES_USUAL);
        put_type(&mut out, self.kind.type_name());
        put_user_and_room(&mut out, self.user, self.room);
        match self.kind {
            Command::Alert { alert_count } => {
                out.put_slice(br#","alert_count":"#);
                match alert_count {
                    Some(count) => json::put_i64(&mut out, count),
                    None => out.put_slice(b"null"),
                }
            }
            Command::KickOut | Command::KickOutByAlert | Command::Delegate => {}
        }
        out.put_u8(b'}');
        out.freeze()
    }
}

impl ClosedTimes<'_> {
    /// `{"server":"state","type":"SCHEDULER","users":[…]}`, with a stamp
    /// `…,"day":"2026-11-20","batch":"…"}`. The same frame is the same bytes, whenever it is sent.
    pub fn to_json(self) -> Bytes {
        let mut out = BytesMut::with_capacity(MESSAGE_BYTES_USUAL + 64 * self.users.len());
        put_type(&mut out, "SCHEDULER");
        out.put_slice(br#","users":"#);
        json::put_user_times(&mut out, self.users);
        if let Some(stamp) = self.stamp {
            out.put_slice(br#","day":"#);
            json::put_str(&mut out, stamp.day, Charset::Ascii);
            out.put_slice(br#","batch":"#);
            json::put_str(&mut out, stamp.batch, Charset::Ascii);
        }
        out.put_u8(b'}');
        out.freeze()
    }

    /// Bytes of a frame without its entries and the commas between them.
    pub fn envelope_bytes(stamp: Option<Stamp<'_>>) -> usize {
        ClosedTimes { users: &[], stamp }.to_json().len()
    }
}

impl Stamp<'static> {
    /// As long as every stamp is: to reckon with before a frame is formed.
    pub const SAMPLE: Self = Self { day: "2026-11-20", batch: "0123456789abcdef" };
}

fn put_type(out: &mut BytesMut, name: &str) {
    out.put_slice(br#"{"server":"state","type":""#);
    out.put_slice(name.as_bytes());
    out.put_u8(b'"');
}

fn put_user_and_room(out: &mut BytesMut, user: &UserId, room: Option<RoomId>) {
    out.put_slice(br#","user_id":"#);
    json::put_str(out, user.as_str(), Charset::Ascii);
    out.put_slice(br#","room_id":"#);
    json::put_room(out, room);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::StudyTime;

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn command(kind: Command, room: Option<i64>) -> Bytes {
        RoomCommand { kind, user: &user("u1"), room: room.map(RoomId) }.to_json()
    }

    #[test]
    fn room_reads_what_it_always_read() {
        let left = Left { user: &user("u1"), room: RoomId(5) };
        assert_eq!(left.to_json(), r#"{"server":"state","user_id":"u1","room_id":5}"#);
        let left = Left { user: &user("가"), room: RoomId(i64::MAX) };
        let json = r#"{"server":"state","user_id":"\uAC00","room_id":9223372036854775807}"#;
        assert_eq!(left.to_json(), json);
    }

    #[test]
    fn signaling_reads_what_it_always_read() {
        let alert = Command::Alert { alert_count: Some(1) };
        let json =
            r#"{"server":"state","type":"ALERT","user_id":"u1","room_id":5,"alert_count":1}"#;
        assert_eq!(command(alert, Some(5)), json);
        let uncounted = Command::Alert { alert_count: None };
        let json =
            r#"{"server":"state","type":"ALERT","user_id":"u1","room_id":5,"alert_count":null}"#;
        assert_eq!(command(uncounted, Some(5)), json);
        let json = r#"{"server":"state","type":"KICK_OUT","user_id":"u1","room_id":null}"#;
        assert_eq!(command(Command::KickOut, None), json);
        let json = r#"{"server":"state","type":"KICK_OUT_BY_ALERT","user_id":"u1","room_id":5}"#;
        assert_eq!(command(Command::KickOutByAlert, Some(5)), json);
        let json = r#"{"server":"state","type":"DELEGATE","user_id":"u1","room_id":5}"#;
        assert_eq!(command(Command::Delegate, Some(5)), json);
    }

    #[test]
    fn auth_reads_what_it_always_read_and_a_stamp_at_the_end() {
        let users = [
            UserTime { user: user("u1"), study_time: StudyTime::parse("00:10:00").ok() },
            UserTime { user: user("u2"), study_time: None },
        ];
        let list = concat!(
            r#"{"server":"state","type":"SCHEDULER","users":["#,
            r#"{"user_id":"u1","study_time":"00:10:00"},{"user_id":"u2","study_time":null}]"#,
        );
        let plain = ClosedTimes { users: &users, stamp: None }.to_json();
        assert_eq!(plain, format!("{list}}}"));
        let stamped = ClosedTimes { users: &users, stamp: Some(Stamp::SAMPLE) }.to_json();
        let stamp = r#","day":"2026-11-20","batch":"0123456789abcdef"}"#;
        assert_eq!(stamped, format!("{list}{stamp}"));
    }

    #[test]
    fn a_frame_is_its_envelope_and_its_entries() {
        let users = [UserTime { user: user("가"), study_time: None }; 1];
        let entries = crate::store::night::entry_bytes(&users[0]);
        for stamp in [None, Some(Stamp::SAMPLE)] {
            let frame = ClosedTimes { users: &users, stamp }.to_json();
            assert_eq!(frame.len(), ClosedTimes::envelope_bytes(stamp) + entries);
        }
    }
}
