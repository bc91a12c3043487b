//! The record as it is stored: keys, JSON written and read, leniently where other programs write.

use bytes::BytesMut;
use redis::Value;
use serde_json::{Map, Value as Json};

use crate::config::FieldStyle;
use crate::domain::json::{self, Charset};
use crate::domain::{Record, RoomId, SessionId, StudyTime, UserId};

/// What the keys of all records begin with.
pub(super) const RECORD_PREFIX: &str = "realTimeData:";
/// What the keys of all session indexes begin with.
pub(super) const INDEX_PREFIX: &str = "sessionIdIndex:";
/// What matches the keys of all rooms' sets.
pub(super) const ROOM_PATTERN: &str = "chat:room:*:sessions";
/// The running day and the closed ones.
pub(super) const NIGHT_KEY: &str = "stated:night";
/// The outstanding frame.
pub(super) const BATCH_KEY: &str = "stated:night:batch";
/// Who delivers.
pub(super) const LOCK_KEY: &str = "stated:night:lock";

/// What was counted last.
pub(super) const POPULATION_KEY: &str = "stated:population";
/// Who looks everything through.
pub(super) const SCRUB_LOCK_KEY: &str = "stated:scrub:lock";
/// What is written to see whether anything can be written; on a cluster, with a number behind it.
pub(super) const CANARY_KEY: &str = "stated:canary";

/// The key of a user's record.
pub(super) fn record_key(user: &UserId) -> String {
    [RECORD_PREFIX, user.as_str()].concat()
}

/// The key that leads from a session to its user.
pub(super) fn session_key(session: &SessionId) -> String {
    [INDEX_PREFIX, session.as_str()].concat()
}

/// The key of the set of a room's sessions.
pub(super) fn room_key(room: RoomId) -> String {
    format!("chat:room:{}:sessions", room.0)
}

/// The room whose set has this key.
pub(super) fn room_of_key(key: &str) -> Option<RoomId> {
    let digits = key.strip_prefix("chat:room:")?.strip_suffix(":sessions")?;
    // Only as we would write it: `+7` and `07` are somebody else's.
    let room = RoomId(digits.parse().ok()?);
    (room_key(room) == key).then_some(room)
}

/// The name of the record's field that is written, and the other that is read if it is missing.
pub(super) fn field_names(style: FieldStyle) -> [&'static str; 2] {
    match style {
        FieldStyle::Plain => ["data", "\"data\""],
        FieldStyle::Spring => ["\"data\"", "data"],
    }
}

/// The style's name, as the scripts know it.
pub(super) fn style_name(style: FieldStyle) -> &'static str {
    match style {
        FieldStyle::Plain => "plain",
        FieldStyle::Spring => "spring",
    }
}

/// A session as JSON.
pub(super) fn session_json(session: &SessionId) -> BytesMut {
    let mut out = BytesMut::with_capacity(64);
    json::put_str(&mut out, session.as_str(), Charset::Utf8);
    out
}

/// A number that is stored as text.
pub(super) fn number_of(value: &Value) -> Option<u64> {
    let Value::BulkString(digits) = value else { return None };
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads a stored record of any program: members may be missing (null) and others may be there.
/// The key, not the record, says whose it is. The error says what is wrong, not what is stored.
pub(super) fn read_record(user: &UserId, text: &[u8]) -> Result<Record, String> {
    if let Some(record) = read_plain(user, text) {
        return Ok(record);
    }
    let members: Map<String, Json> =
        serde_json::from_slice(text).map_err(|_| "it is not a JSON object".to_owned())?;
    read_text(&members, "userId")?;
    let session = read_text(&members, "sessionId")?.filter(|session| !session.is_empty());
    let study_time = read_text(&members, "studyTime")?;
    Ok(Record {
        user: user.clone(),
        room: read_room(&members)?,
        session: parsed("sessionId", session, SessionId::parse)?,
        study_time: parsed("studyTime", study_time, StudyTime::parse)?,
    })
}

/// Reads a record exactly as we write it, in which nothing is escaped: nearly every one is so.
fn read_plain(user: &UserId, text: &[u8]) -> Option<Record> {
    let rest = text.strip_prefix(b"{\"userId\":")?;
    let (_, rest) = plain_text(rest)?;
    let rest = rest.strip_prefix(b",\"roomId\":")?;
    let digits = rest.iter().take_while(|byte| **byte != b',').count();
    let (room, rest) = rest.split_at(digits);
    let (session, rest) = plain_text(rest.strip_prefix(b",\"sessionId\":")?)?;
    let (study_time, rest) = plain_text(rest.strip_prefix(b",\"studyTime\":")?)?;
    if rest != b"}" {
        return None;
    }
    Some(Record {
        user: user.clone(),
        room: plain_room(room)?,
        session: session.map(SessionId::parse).transpose().ok()?,
        study_time: study_time.map(StudyTime::parse).transpose().ok()?,
    })
}

/// A text in quotes, or null, and what follows it.
fn plain_text(json: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let Some(text) = json.strip_prefix(b"\"") else {
        return Some((None, json.strip_prefix(b"null")?));
    };
    let (text, rest) = text.split_at(json::plain_bytes(text, Charset::Utf8));
    Some((Some(std::str::from_utf8(text).ok()?), rest.strip_prefix(b"\"")?))
}

/// A number as we write it, or null.
fn plain_room(json: &[u8]) -> Option<Option<RoomId>> {
    if json == b"null" {
        return Some(None);
    }
    let digits = json.strip_prefix(b"-").unwrap_or(json);
    let is_plain =
        json == b"0" || digits.first().is_some_and(|digit| (b'1'..=b'9').contains(digit));
    let number = std::str::from_utf8(json).ok()?.parse().ok()?;
    is_plain.then_some(Some(RoomId(number)))
}

fn read_text<'a>(members: &'a Map<String, Json>, name: &str) -> Result<Option<&'a str>, String> {
    match members.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => {
            Err(format!("its `{name}` is no string"))
        }
    }
}

fn parsed<T, E: std::fmt::Display>(
    name: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, String> {
    text.map(parse).transpose().map_err(|error| format!("its `{name}` {error}"))
}

fn read_room(members: &Map<String, Json>) -> Result<Option<RoomId>, String> {
    let number = match members.get("roomId") {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Number(number)) => number.as_i64(),
        Some(Json::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Json::String(text)) => text.trim().parse().ok(),
        Some(Json::Bool(_) | Json::Array(_) | Json::Object(_)) => None,
    };
    number.map(|number| Some(RoomId(number))).ok_or_else(|| "its `roomId` is no number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<String, String> {
        let user = UserId::parse("u1").unwrap();
        let record = read_record(&user, text.as_bytes())?;
        let mut out = BytesMut::new();
        json::put_record(&mut out, &record, Charset::Utf8);
        Ok(String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn a_record_may_lack_members_and_have_others() {
        let nulls = r#"{"userId":"u1","roomId":null,"sessionId":null,"studyTime":null}"#;
        assert_eq!(check("{}").unwrap(), nulls);
        assert_eq!(check(r#"{"extra":[1],"roomId":""}"#).unwrap(), nulls);
    }

    #[test]
    fn a_room_keeps_64_bits_as_number_and_as_text() {
        for room in ["9223372036854775807", "\"9223372036854775807\""] {
            let read = check(&format!(r#"{{"roomId":{room}}}"#)).unwrap();
            assert!(read.contains(r#""roomId":9223372036854775807,"#), "{read}");
        }
    }

    #[test]
    fn what_is_no_record_is_told_apart() {
        for text in
            ["", "[]", "null", "{", r#"{"roomId":1.5}"#, r#"{"roomId":9223372036854775808}"#]
        {
            assert!(check(text).is_err(), "{text}");
        }
        assert_eq!(check(r#"{"sessionId":7}"#).unwrap_err(), "its `sessionId` is no string");
    }
}
