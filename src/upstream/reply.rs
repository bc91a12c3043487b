//! What a peer's reply says, as far as the daemon cares.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::domain::{RoomId, UserId};

/// The payload of a reply that is not an error object: a success, whatever it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply(pub Bytes);

/// What the room service said about the room's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerReply {
    /// Nothing changed, or nothing is known to have.
    Keep,
    /// The one who left owned the room; now this user does.
    Change {
        /// The new owner.
        user: UserId,
        /// The room.
        room: Option<RoomId>,
    },
}

/// Whether `payload` is a JSON object with a member `error`, whatever its value (contract §8).
pub(super) fn is_error(payload: &[u8]) -> bool {
    serde_json::from_slice::<ErrorMember>(payload).is_ok_and(|member| member.found)
}

impl OwnerReply {
    /// Reads `{"type":"CHANGE","user_id":"u2","room_id":5}`; whatever is anything else is `Keep`.
    pub(super) fn read(reply: &Reply) -> Self {
        Self::read_change(reply).unwrap_or(Self::Keep)
    }

    fn read_change(reply: &Reply) -> Option<Self> {
        let object: Map<String, Value> = serde_json::from_slice(&reply.0).ok()?;
        if object.get("type")? != "CHANGE" {
            return None;
        }
        let user = UserId::parse(object.get("user_id")?.as_str()?).ok()?;
        let room = match object.get("room_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(RoomId(text.parse().ok()?)),
            Some(number) => Some(RoomId(number.as_i64()?)),
        };
        Some(Self::Change { user, room })
    }
}

/// Looks for the member without building anything.
struct ErrorMember {
    found: bool,
}

impl<'de> Deserialize<'de> for ErrorMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ErrorMemberVisitor)
    }
}

struct ErrorMemberVisitor;

impl<'de> Visitor<'de> for ErrorMemberVisitor {
    type Value = ErrorMember;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ErrorMember, A::Error> {
        let mut found = false;
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            found |= name == "error";
            map.next_value::<IgnoredAny>()?;
        }
        Ok(ErrorMember { found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_object_is_any_object_with_a_member_error() {
        let errors = [
            r#"{"error":{"code":"CHAT-001"}}"#,
            r#" {"a":[1,{"b":2}], "error" : null} "#,
            r#"{"error":1,"error":2}"#,
            r#"{"\u0065rror":"x"}"#,
        ];
        for payload in errors {
            assert!(is_error(payload.as_bytes()), "{payload}");
        }
        let successes = [
            "",
            "SUCCESS",
            "null",
            "error",
            r#""error""#,
            r#"["error"]"#,
            r#"[{"error":1}]"#,
            r#"{"type" : "KEEP"}"#,
            r#"{"inner":{"error":1}}"#,
            r#"{"Error":1}"#,
            r#"{"error":"#,
            "\u{0}\u{1}",
        ];
        for payload in successes {
            assert!(!is_error(payload.as_bytes()), "{payload}");
        }
    }

    #[test]
    fn an_error_object_is_recognised_however_deep_or_odd_its_inside() {
        let deep = format!(r#"{{"error":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
        assert!(is_error(deep.as_bytes()));
        assert!(is_error(b"{\"error\":\"\xed\x95\"}"));
    }

    #[test]
    fn only_a_change_that_names_a_user_changes_the_owner() {
        let read = |json: &str| OwnerReply::read(&Reply(Bytes::copy_from_slice(json.as_bytes())));
        let change = |user: &str, room: Option<i64>| OwnerReply::Change {
            user: UserId::parse(user).unwrap(),
            room: room.map(RoomId),
        };
        let json = r#"{"type":"CHANGE","user_id":"u2","room_id":9223372036854775807}"#;
        assert_eq!(read(json), change("u2", Some(i64::MAX)));
        let json = r#"{"room_id":"5","user_id":"가","type" : "CHANGE","more":1}"#;
        assert_eq!(read(json), change("가", Some(5)));
        assert_eq!(read(r#"{"type":"CHANGE","user_id":"u2"}"#), change("u2", None));
        let keeps = [
            r#"{"type" : "KEEP"}"#,
            r#"{"type":"CHANGE","user_id":""}"#,
            r#"{"type":"CHANGE","user_id":7}"#,
            r#"{"type":"CHANGE","user_id":"u2","room_id":1e30}"#,
            r#"{"type":"CHANGE","room_id":5}"#,
            "SUCCESS",
            "",
        ];
        for json in keeps {
            assert_eq!(read(json), OwnerReply::Keep, "{json}");
        }
    }
}
