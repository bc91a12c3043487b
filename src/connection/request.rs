//! From bytes to a request: one variant per `server`, everything checked before anything is done.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::auth;
use crate::domain::chat;
use crate::domain::room;
use crate::domain::scheduling;
use crate::domain::signaling;
use crate::domain::{InvalidWord, RoomId, SessionId, StudyTime, UserId, UserTime};

/// Arrays and objects that may be open at once (contract §8).
const DEPTH_MAX: usize = 128;
/// Bytes of a peer's own text that an error repeats.
const QUOTED_BYTES_MAX: usize = 40;

/// What a peer asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `"server":"chat"`
    Chat(chat::Request),
    /// `"server":"signaling"`
    Signaling(signaling::Request),
    /// `"server":"signaling_scheduling"`
    Scheduling(scheduling::Request),
    /// `"server":"auth"`
    Auth(auth::Request),
    /// `"server":"room"`
    Room(room::Request),
}

/// What is wrong with a message; all of it is CHAT-003, the text becomes `detail`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A frame without payload.
    #[error("empty message")]
    Empty,
    /// Not UTF-8.
    #[error("not UTF-8 after {0} bytes")]
    NotUtf8(usize),
    /// Not JSON, or something after the object.
    #[error("not a JSON object: {0}")]
    NotJson(#[from] serde_json::Error),
    /// JSON of another kind.
    #[error("not a JSON object but {0}")]
    NotObject(&'static str),
    /// Too deeply nested.
    #[error("nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// A member that has to be there is not.
    #[error("missing field `{0}`")]
    Missing(&'static str),
    /// A member of the wrong kind.
    #[error("field `{field}`: expected {expected}, found {found}")]
    WrongKind {
        /// Which member.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A text that is no id or study time.
    #[error("field `{field}` {reason}")]
    Invalid {
        /// Which member.
        field: &'static str,
        /// Why not.
        reason: InvalidWord,
    },
    /// Something wrong with an entry of `users`.
    #[error("entry {at} of `users`: {reason}")]
    Entry {
        /// Which entry, from 0.
        at: usize,
        /// What is wrong with it.
        reason: Box<Self>,
    },
    /// A `server` that is none.
    #[error("unknown server `{0}`")]
    UnknownServer(String),
    /// A `type` that this `server` does not have.
    #[error("unknown type `{kind}` of server `{server}`")]
    UnknownType {
        /// The service that speaks.
        server: &'static str,
        /// The type.
        kind: String,
    },
}

impl Request {
    /// Decodes one payload (contract §2, §3).
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        if payload.is_empty() {
            return Err(Error::Empty);
        }
        let text =
            std::str::from_utf8(payload).map_err(|error| Error::NotUtf8(error.valid_up_to()))?;
        check_depth(payload)?;
        check_is_object(text)?;
        let mut json = serde_json::Deserializer::from_str(text);
        let members = Members::deserialize(&mut json)?;
        json.end()?;
        members.into_request()
    }
}

/// The members that mean something, of whatever kind: which of them are needed, and as what, only
/// `server` and `type` tell, and those may come last.
#[derive(Debug, Default)]
struct Members<'a> {
    server: Member<'a>,
    kind: Member<'a>,
    user_id: Member<'a>,
    session: Member<'a>,
    room_id: Member<'a>,
    study_time: Member<'a>,
    alert_count: Member<'a>,
    users: Option<&'a RawValue>,
}

/// A member's value as far as it matters.
#[derive(Debug, Default)]
enum Member<'a> {
    #[default]
    Missing,
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
    OtherNumber,
    Boolean,
    Array,
    Object,
}

impl<'a> Members<'a> {
    fn into_request(self) -> Result<Request, Error> {
        let server = self.server.text("server")?;
        match &*server {
            "chat" => self.chat().map(Request::Chat),
            "signaling" => self.signaling().map(Request::Signaling),
            "signaling_scheduling" => self.scheduling().map(Request::Scheduling),
            "auth" => self.auth().map(Request::Auth),
            "room" => self.room().map(Request::Room),
            unknown => Err(Error::UnknownServer(quoted(unknown))),
        }
    }

    fn chat(self) -> Result<chat::Request, Error> {
        match &*self.kind.text("type")? {
            "SUBSCRIBE" => Ok(chat::Request::Subscribe {
                user: self.user_id.user()?,
                room: self.room_id.room_or_null()?,
                session: self.session.session()?,
            }),
            "UNSUBSCRIBE" | "DISCONNECT" => {
                Ok(chat::Request::Unsubscribe { session: self.session.session()? })
            }
            kind if chat::IGNORED_TYPES.contains(&kind) => Ok(chat::Request::Ignored),
            unknown => Err(unknown_type("chat", unknown)),
        }
    }

    fn signaling(self) -> Result<signaling::Request, Error> {
        match &*self.kind.text("type")? {
            "STUDY_TIME_FROM_TCP" => {
                Ok(signaling::Request::StudyTimeFrom { user: self.user_id.user()? })
            }
            "STUDY_TIME_TO_TCP" => Ok(signaling::Request::StudyTimeTo {
                user: self.user_id.user()?,
                study_time: self.study_time.recorded_study_time()?,
            }),
            unknown => Err(unknown_type("signaling", unknown)),
        }
    }

    fn scheduling(self) -> Result<scheduling::Request, Error> {
        let last = match &*self.kind.text("type")? {
            "SCHEDULER" => scheduling::Last::No,
            "SCHEDULER_LAST" => scheduling::Last::Yes,
            unknown => return Err(unknown_type("signaling_scheduling", unknown)),
        };
        let users = self.users.ok_or(Error::Missing("users"))?;
        Ok(scheduling::Request { last, users: user_times(users)? })
    }

    fn auth(self) -> Result<auth::Request, Error> {
        match &*self.kind.text("type")? {
            "STUDY_TIME_FROM_TCP" => {
                Ok(auth::Request::StudyTimeFrom { user: self.user_id.user()? })
            }
            unknown => Err(unknown_type("auth", unknown)),
        }
    }

    fn room(self) -> Result<room::Request, Error> {
        let kind = self.kind.text("type")?;
        let command = match &*kind {
            "ALERT" => room::Command::Alert { alert_count: self.alert_count.count_or_null()? },
            "KICK_OUT" => room::Command::KickOut,
            "KICK_OUT_BY_ALERT" => room::Command::KickOutByAlert,
            "DELEGATE" => room::Command::Delegate,
            unknown => return Err(unknown_type("room", unknown)),
        };
        let user = self.user_id.user()?;
        if matches!(self.room_id, Member::Missing) {
            return Err(Error::Missing("room_id"));
        }
        Ok(room::Request { command, user, room: self.room_id.room_or_null()? })
    }
}

impl<'a> Member<'a> {
    fn text(&self, field: &'static str) -> Result<Cow<'a, str>, Error> {
        let Self::Text(text) = self else { return Err(self.wrong_kind(field, "a string")) };
        Ok(text.clone())
    }

    fn user(&self) -> Result<UserId, Error> {
        let text = self.text("user_id")?;
        UserId::parse(&text).map_err(|reason| Error::Invalid { field: "user_id", reason })
    }

    fn session(&self) -> Result<SessionId, Error> {
        let text = self.text("session")?;
        SessionId::parse(&text).map_err(|reason| Error::Invalid { field: "session", reason })
    }

    /// A study time on its own: null and the empty text are refused (contract §8).
    fn recorded_study_time(&self) -> Result<StudyTime, Error> {
        let field = "study_time";
        let text = self.text(field)?;
        if text.is_empty() {
            return Err(Error::Invalid { field, reason: InvalidWord::Empty });
        }
        StudyTime::parse(&text).map_err(|reason| Error::Invalid { field, reason })
    }

    /// A study time in a list, where null has a meaning.
    fn listed_study_time(&self) -> Result<Option<StudyTime>, Error> {
        let field = "study_time";
        if let Self::Null = self {
            return Ok(None);
        }
        let Self::Text(text) = self else {
            return Err(self.wrong_kind(field, "a string or null"));
        };
        StudyTime::parse(text).map(Some).map_err(|reason| Error::Invalid { field, reason })
    }

    /// A room; a decimal string is taken for the number and a blank one for null, as Jackson does.
    fn room_or_null(&self) -> Result<Option<RoomId>, Error> {
        let wrong = || self.wrong_kind("room_id", "a 64-bit integer or null");
        match self {
            Self::Missing | Self::Null => Ok(None),
            Self::Integer(number) => Ok(Some(RoomId(*number))),
            Self::Text(text) => match text.trim_matches([' ', '\t', '\n', '\r']) {
                "" => Ok(None),
                digits => digits.parse().map(|number| Some(RoomId(number))).map_err(|_| wrong()),
            },
            Self::OtherNumber | Self::Boolean | Self::Array | Self::Object => Err(wrong()),
        }
    }

    fn count_or_null(&self) -> Result<Option<i64>, Error> {
        match self {
            Self::Missing | Self::Null => Ok(None),
            Self::Integer(number) => Ok(Some(*number)),
            Self::Text(_) | Self::OtherNumber | Self::Boolean | Self::Array | Self::Object => {
                Err(self.wrong_kind("alert_count", "a 64-bit integer or null"))
            }
        }
    }

    fn wrong_kind(&self, field: &'static str, expected: &'static str) -> Error {
        let found = match self {
            Self::Missing => return Error::Missing(field),
            Self::Null => "null",
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::OtherNumber => "a number that is no 64-bit integer",
            Self::Boolean => "a boolean",
            Self::Array => "an array",
            Self::Object => "an object",
        };
        Error::WrongKind { field, expected, found }
    }
}

/// The entries of a `users` list.
fn user_times(users: &RawValue) -> Result<Vec<UserTime>, Error> {
    if let Some(found) = kind_of(users.get()).filter(|kind| *kind != "an array") {
        return Err(Error::WrongKind { field: "users", expected: "an array", found });
    }
    let entries: Vec<&RawValue> = serde_json::from_str(users.get())?;
    let entry = |(at, entry)| {
        user_time(entry).map_err(|reason| Error::Entry { at, reason: Box::new(reason) })
    };
    entries.into_iter().enumerate().map(entry).collect()
}

fn user_time(entry: &RawValue) -> Result<UserTime, Error> {
    check_is_object(entry.get())?;
    let members: Members<'_> = serde_json::from_str(entry.get())?;
    Ok(UserTime {
        user: members.user_id.user()?,
        study_time: members.study_time.listed_study_time()?,
    })
}

/// The JSON parser would say the same and repeat the value, which is nobody's business in a log.
fn check_is_object(json: &str) -> Result<(), Error> {
    match kind_of(json) {
        Some("an object") | None => Ok(()),
        Some(other) => Err(Error::NotObject(other)),
    }
}

/// What the first character says the value is; `None` if it is no JSON at all.
fn kind_of(json: &str) -> Option<&'static str> {
    match json.trim_start_matches([' ', '\t', '\n', '\r']).as_bytes().first()? {
        b'{' => Some("an object"),
        b'[' => Some("an array"),
        b'"' => Some("a string"),
        b't' | b'f' => Some("a boolean"),
        b'n' => Some("null"),
        b'-' | b'0'..=b'9' => Some("a number"),
        _ => None,
    }
}

/// The JSON parser skips unknown members without counting, so the depth is counted here first.
fn check_depth(payload: &[u8]) -> Result<(), Error> {
    let opens = |byte: &u8| matches!(byte, b'[' | b'{');
    // Almost every message passes on this count alone, which the compiler makes a fast loop.
    if payload.iter().filter(|byte| opens(byte)).count() <= DEPTH_MAX {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in payload {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(Error::TooDeep);
        }
    }
    Ok(())
}

fn unknown_type(server: &'static str, kind: &str) -> Error {
    Error::UnknownType { server, kind: quoted(kind) }
}

fn quoted(text: &str) -> String {
    text[..text.floor_char_boundary(QUOTED_BYTES_MAX)].to_owned()
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: de::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        // Of a member given twice the last one counts.
        while let Some(name) = map.next_key()? {
            match name {
                Name::Server => members.server = map.next_value()?,
                Name::Type => members.kind = map.next_value()?,
                Name::UserId => members.user_id = map.next_value()?,
                Name::Session => members.session = map.next_value()?,
                Name::RoomId => members.room_id = map.next_value()?,
                Name::StudyTime => members.study_time = map.next_value()?,
                Name::AlertCount => members.alert_count = map.next_value()?,
                Name::Users => members.users = Some(map.next_value()?),
                Name::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members)
    }
}

enum Name {
    Server,
    Type,
    UserId,
    Session,
    RoomId,
    StudyTime,
    AlertCount,
    Users,
    Unknown,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: de::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
        Ok(match name {
            "server" => Name::Server,
            "type" => Name::Type,
            "user_id" => Name::UserId,
            "session" => Name::Session,
            "room_id" => Name::RoomId,
            "study_time" => Name::StudyTime,
            "alert_count" => Name::AlertCount,
            "users" => Name::Users,
            _ => Name::Unknown,
        })
    }
}

impl<'de> Deserialize<'de> for Member<'de> {
    fn deserialize<D: de::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(MemberVisitor)
    }
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Member<'de>, E> {
        Ok(Member::Null)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Member<'de>, E> {
        Ok(Member::Boolean)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Member<'de>, E> {
        Ok(Member::Integer(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Member<'de>, E> {
        Ok(i64::try_from(number).map_or(Member::OtherNumber, Member::Integer))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Member<'de>, E> {
        Ok(Member::OtherNumber)
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Member<'de>, E> {
        Ok(Member::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Member<'de>, E> {
        Ok(Member::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Member<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes and shows what came out: the request, or the error as the peer reads it.
    fn check(payload: &str, expected: &str) {
        let found = match Request::decode(payload.as_bytes()) {
            Ok(request) => format!("{request:?}"),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{payload}\n  gave {found}\n  not  {expected}");
    }

    fn check_room(room_id: &str, expected: &str) {
        let payload =
            format!(r#"{{"server":"room","type":"DELEGATE","user_id":"u","room_id":{room_id}}}"#);
        check(&payload, expected);
    }

    #[test]
    fn server_and_type_may_come_last_and_the_last_of_two_members_counts() {
        check(
            r#"{"user_id":7,"user_id":"u1","type":"STUDY_TIME_FROM_TCP","server":"x","server":"auth"}"#,
            r#"Auth(StudyTimeFrom { user: UserId("u1") })"#,
        );
    }

    #[test]
    fn members_may_be_escaped_and_unknown_ones_are_ignored() {
        check(
            r#" {"s\u0065rver":"chat","type":"DISCONNECT","session":"\uac00","x":[{"y":null}]} "#,
            r#"Chat(Unsubscribe { session: SessionId("가") })"#,
        );
    }

    #[test]
    fn a_room_is_a_64_bit_integer_however_jackson_lets_it_be_written() {
        check_room("9223372036854775807", "room: Some(RoomId(9223372036854775807))");
        check_room("-9223372036854775808", "room: Some(RoomId(-9223372036854775808))");
        check_room(r#"" 5 ""#, "room: Some(RoomId(5))");
        check_room(r#""""#, "room: None");
        check_room("null", "room: None");
        let expected = "field `room_id`: expected a 64-bit integer or null, found";
        for wrong in ["9223372036854775808", "5.0", "1e3", "true", "[]", "{}", r#""5.0""#] {
            check_room(wrong, expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("", "empty message");
        check("?", "not a JSON object: expected value");
        check(" []", "not a JSON object but an array");
        check(r#""hunter2""#, "not a JSON object but a string");
        check(r#"{"server":"chat"} x"#, "not a JSON object: trailing characters");
        check("{}", "missing field `server`");
        check(r#"{"server":1}"#, "field `server`: expected a string, found an integer");
        check(r#"{"server":"Chat"}"#, "unknown server `Chat`");
        check(r#"{"server":"auth","type":"X"}"#, "unknown type `X` of server `auth`");
        check(r#"{"server":"chat","type":"UNSUBSCRIBE"}"#, "missing field `session`");
        check(
            r#"{"server":"chat","type":"UNSUBSCRIBE","session":""}"#,
            "field `session` must not be empty",
        );
        let listing = |users: &str| {
            format!(r#"{{"server":"signaling_scheduling","type":"SCHEDULER","users":{users}}}"#)
        };
        check(&listing("null"), "field `users`: expected an array, found null");
        check(&listing(r#"["hunter2"]"#), "entry 0 of `users`: not a JSON object but a string");
        check(
            &listing(r#"[{"user_id":"u","study_time":null},{"user_id":"u"}]"#),
            "entry 1 of `users`: missing field `study_time`",
        );
    }

    #[test]
    fn nesting_is_counted_outside_of_texts_only() {
        let nested = |depth: usize, inside: &str| {
            let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
            format!(r#"{{"server":"chat","type":"SEND","x":{open}{inside}{close}}}"#)
        };
        check(&nested(128, ""), "Ignored");
        check(&nested(129, ""), "nested deeper than 128");
        check(&nested(2, &format!("\"{}\"", r#"\"["#.repeat(200))), "Ignored");
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_refused() {
        let error = Request::decode(b"{\"server\":\"\xff\"}").unwrap_err();
        assert_eq!(error.to_string(), "not UTF-8 after 11 bytes");
    }
}
