//! The members of a message: kept as they stand, looked into when the message needs them.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::request::Error;
use crate::domain::{InvalidWord, RoomId, SessionId, StudyTime, UserId, UserTime};

/// What JSON takes for blank.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// The members that mean something, not looked into: which of them are needed, and as what, only
/// `server` and `type` tell, and those may come last.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) server: Member<'a>,
    pub(super) kind: Member<'a>,
    pub(super) user_id: Member<'a>,
    pub(super) session: Member<'a>,
    pub(super) room_id: Member<'a>,
    pub(super) study_time: Member<'a>,
    pub(super) alert_count: Member<'a>,
    pub(super) users: Member<'a>,
}

/// A member's value as it stands in the message, if it does.
#[derive(Debug, Default)]
pub(super) struct Member<'a>(Option<&'a RawValue>);

/// The kinds of JSON values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Text,
    Number,
    Boolean,
    Array,
    Object,
}

impl<'a> Member<'a> {
    pub(super) fn value(&self, field: &'static str) -> Result<&'a str, Error> {
        self.0.map(RawValue::get).ok_or(Error::Missing(field))
    }

    pub(super) fn text(&self, field: &'static str) -> Result<Cow<'a, str>, Error> {
        let json = self.value(field)?;
        match Kind::of(json) {
            Some(Kind::Text) => text_of(json, field),
            _ => Err(wrong_kind(field, "a string", json)),
        }
    }

    pub(super) fn user(&self) -> Result<UserId, Error> {
        let text = self.text("user_id")?;
        UserId::parse(&text).map_err(|reason| Error::Invalid { field: "user_id", reason })
    }

    pub(super) fn session(&self) -> Result<SessionId, Error> {
        let text = self.text("session")?;
        SessionId::parse(&text).map_err(|reason| Error::Invalid { field: "session", reason })
    }

    /// A study time on its own: null and the empty text are refused (contract §8).
    pub(super) fn recorded_study_time(&self) -> Result<StudyTime, Error> {
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
        let json = self.value(field)?;
        match Kind::of(json) {
            Some(Kind::Null) => Ok(None),
            Some(Kind::Text) => StudyTime::parse(&text_of(json, field)?)
                .map(Some)
                .map_err(|reason| Error::Invalid { field, reason }),
            _ => Err(wrong_kind(field, "a string or null", json)),
        }
    }

    /// A room; a decimal string is taken for the number and a blank one for null, as Jackson does.
    pub(super) fn room_or_null(&self) -> Result<Option<RoomId>, Error> {
        let field = "room_id";
        let Some(json) = self.0.map(RawValue::get) else { return Ok(None) };
        let digits = match Kind::of(json) {
            Some(Kind::Null) => return Ok(None),
            Some(Kind::Text) => text_of(json, field)?,
            _ => Cow::Borrowed(json),
        };
        match digits.trim_matches(BLANKS) {
            "" => Ok(None),
            digits => digits
                .parse()
                .map(|number| Some(RoomId(number)))
                .map_err(|_| wrong_kind(field, "a 64-bit integer or null", json)),
        }
    }

    pub(super) fn count_or_null(&self) -> Result<Option<i64>, Error> {
        let Some(json) = self.0.map(RawValue::get) else { return Ok(None) };
        if Kind::of(json) == Some(Kind::Null) {
            return Ok(None);
        }
        let number = json.parse().map(Some);
        number.map_err(|_| wrong_kind("alert_count", "a 64-bit integer or null", json))
    }

    pub(super) fn user_times(&self) -> Result<Vec<UserTime>, Error> {
        let json = self.value("users")?;
        if Kind::of(json) != Some(Kind::Array) {
            return Err(wrong_kind("users", "an array", json));
        }
        let entries: Vec<&RawValue> = serde_json::from_str(json)?;
        let entry = |(at, entry): (_, &RawValue)| {
            user_time(entry.get()).map_err(|reason| Error::Entry { at, reason: Box::new(reason) })
        };
        entries.into_iter().enumerate().map(entry).collect()
    }
}

fn user_time(json: &str) -> Result<UserTime, Error> {
    check_is_object(json)?;
    let members: Members<'_> = serde_json::from_str(json)?;
    Ok(UserTime {
        user: members.user_id.user()?,
        study_time: members.study_time.listed_study_time()?,
    })
}

/// The text that a JSON string stands for; borrowed if there is nothing to unescape.
fn text_of<'a>(json: &'a str, field: &'static str) -> Result<Cow<'a, str>, Error> {
    match json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => Ok(Cow::Borrowed(text)),
        _ => serde_json::from_str(json).map(Cow::Owned).map_err(|_| Error::BrokenText(field)),
    }
}

fn wrong_kind(field: &'static str, expected: &'static str, json: &str) -> Error {
    let found = match Kind::of(json) {
        Some(Kind::Number) if json.parse::<i64>().is_err() => "a number that is no 64-bit integer",
        kind => kind.map_or("no value", Kind::name),
    };
    Error::WrongKind { field, expected, found }
}

impl Kind {
    /// The kind that the first character tells; `None` if it begins no value.
    fn of(json: &str) -> Option<Self> {
        match json.as_bytes().first()? {
            b'{' => Some(Self::Object),
            b'[' => Some(Self::Array),
            b'"' => Some(Self::Text),
            b't' | b'f' => Some(Self::Boolean),
            b'n' => Some(Self::Null),
            b'-' | b'0'..=b'9' => Some(Self::Number),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// The JSON parser would say the same and repeat the value, which is nobody's business in a log.
pub(super) fn check_is_object(json: &str) -> Result<(), Error> {
    match Kind::of(json.trim_start_matches(BLANKS)) {
        Some(Kind::Object) | None => Ok(()),
        Some(other) => Err(Error::NotObject(other.name())),
    }
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
                Name::Server => members.server = Member(Some(map.next_value()?)),
                Name::Type => members.kind = Member(Some(map.next_value()?)),
                Name::UserId => members.user_id = Member(Some(map.next_value()?)),
                Name::Session => members.session = Member(Some(map.next_value()?)),
                Name::RoomId => members.room_id = Member(Some(map.next_value()?)),
                Name::StudyTime => members.study_time = Member(Some(map.next_value()?)),
                Name::AlertCount => members.alert_count = Member(Some(map.next_value()?)),
                Name::Users => members.users = Member(Some(map.next_value()?)),
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
