//! The record as it is stored: keys, JSON written and read, leniently where other programs write.

use bytes::BytesMut;
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
    format!("{RECORD_PREFIX}{user}")
}

/// The key that leads from a session to its user.
pub(super) fn session_key(session: &SessionId) -> String {
    format!("{INDEX_PREFIX}{session}")
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

/// A text as JSON.
pub(super) fn text_json(text: &str) -> Vec<u8> {
    written(|out| json::put_str(out, text, Charset::Utf8))
}

/// A room or null as JSON.
pub(super) fn room_json(room: Option<RoomId>) -> Vec<u8> {
    written(|out| json::put_room(out, room))
}

/// A session as JSON.
pub(super) fn session_json(session: &SessionId) -> Vec<u8> {
    text_json(session.as_str())
}

/// A study time or null as JSON.
pub(super) fn study_time_json(study_time: Option<&StudyTime>) -> Vec<u8> {
    written(|out| {
        json::put_optional_str(out, study_time.map(StudyTime::as_str), Charset::Utf8);
    })
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::with_capacity(64);
    write(&mut out);
    out.to_vec()
}

/// Reads a stored record of any program: members may be missing (null) and others may be there.
/// The key, not the record, says whose it is. The error says what is wrong, not what is stored.
pub(super) fn read_record(user: &UserId, text: &[u8]) -> Result<Record, String> {
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
