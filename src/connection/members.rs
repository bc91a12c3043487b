//! The members of a message: kept as they stand, looked into when the message needs them.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::request::Error;
use super::scan;
use crate::domain::{InvalidWord, RoomId, SessionId, StudyTime, UserId, UserTime};

/// Bytes of an entry of `users`, at the least, and so many entries for which room is made at once.
const ENTRY_BYTES: usize = 32;
const ENTRIES_EXPECTED_MAX: usize = 64;

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

/// A member's value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Member<'a> {
    /// There is no such member.
    #[default]
    Missing,
    /// A string without escapes: what stands between its quotes.
    Plain(&'a str),
    /// Any value, as it stands in the message.
    Json(&'a str),
}

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

impl<'a> Members<'a> {
    /// Their names on the wire.
    #[cfg(test)]
    pub(super) const NAMES: [&'static str; 8] =
        ["server", "type", "user_id", "session", "room_id", "study_time", "alert_count", "users"];

    /// The place for the member of this name; `None` if the name means nothing.
    pub(super) fn find(&mut self, name: &str) -> Option<&mut Member<'a>> {
        Some(match name {
            "server" => &mut self.server,
            "type" => &mut self.kind,
            "user_id" => &mut self.user_id,
            "session" => &mut self.session,
            "room_id" => &mut self.room_id,
            "study_time" => &mut self.study_time,
            "alert_count" => &mut self.alert_count,
            "users" => &mut self.users,
            _ => return None,
        })
    }
}

impl<'a> Member<'a> {
    /// What kind of value there is, and the value, a text without its quotes if it has no escapes.
    fn given(&self) -> Option<(Option<Kind>, &'a str)> {
        match *self {
            Self::Missing => None,
            Self::Plain(text) => Some((Some(Kind::Text), text)),
            Self::Json(json) => Some((Kind::of(json), json)),
        }
    }

    pub(super) fn check_given(&self, field: &'static str) -> Result<(), Error> {
        self.given().map(|_| ()).ok_or(Error::Missing(field))
    }

    pub(super) fn text(&self, field: &'static str) -> Result<Cow<'a, str>, Error> {
        match *self {
            Self::Plain(text) => Ok(Cow::Borrowed(text)),
            Self::Json(json) if Kind::of(json) == Some(Kind::Text) => text_of(json, field),
            Self::Json(json) => Err(wrong_kind(field, "a string", Kind::of(json), json)),
            Self::Missing => Err(Error::Missing(field)),
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
        if let Self::Json(json) = *self {
            match Kind::of(json) {
                Some(Kind::Null) => return Ok(None),
                Some(Kind::Text) => {}
                kind => return Err(wrong_kind(field, "a string or null", kind, json)),
            }
        }
        StudyTime::parse(&self.text(field)?)
            .map(Some)
            .map_err(|reason| Error::Invalid { field, reason })
    }

    /// A room; a decimal string is taken for the number and a blank one for null, as Jackson does.
    pub(super) fn room_or_null(&self) -> Result<Option<RoomId>, Error> {
        let field = "room_id";
        let (digits, kind, json) = match *self {
            Self::Missing => return Ok(None),
            Self::Plain(text) => (Cow::Borrowed(text), Some(Kind::Text), text),
            Self::Json(json) => match Kind::of(json) {
                Some(Kind::Null) => return Ok(None),
                Some(Kind::Text) => (text_of(json, field)?, Some(Kind::Text), json),
                kind => (Cow::Borrowed(json), kind, json),
            },
        };
        match digits.trim_matches(BLANKS) {
            "" => Ok(None),
            digits => digits
                .parse()
                .map(|number| Some(RoomId(number)))
                .map_err(|_| wrong_kind(field, "a 64-bit integer or null", kind, json)),
        }
    }

    pub(super) fn count_or_null(&self) -> Result<Option<i64>, Error> {
        let Some((kind, json)) = self.given() else { return Ok(None) };
        match kind {
            Some(Kind::Null) => Ok(None),
            Some(Kind::Number) if let Ok(count) = json.parse() => Ok(Some(count)),
            kind => Err(wrong_kind("alert_count", "a 64-bit integer or null", kind, json)),
        }
    }

    pub(super) fn user_times(&self) -> Result<Vec<UserTime>, Error> {
        let (kind, json) = self.given().ok_or(Error::Missing("users"))?;
        if kind != Some(Kind::Array) {
            return Err(wrong_kind("users", "an array", kind, json));
        }
        let mut objects = scan::Objects::new(json);
        // Most entries are longer, so that the list hardly ever grows; and what is no list of entries
        // makes little room.
        let mut entries = Vec::with_capacity((json.len() / ENTRY_BYTES).min(ENTRIES_EXPECTED_MAX));
        loop {
            match objects.next() {
                scan::Next::Object(members) => entries.push(members.user_time(entries.len())?),
                scan::Next::End => return Ok(entries),
                scan::Next::Unclear => return parsed_user_times(json),
            }
        }
    }
}

impl Members<'_> {
    /// As the entry `at` of a list.
    fn user_time(&self, at: usize) -> Result<UserTime, Error> {
        let parts = || {
            Ok(UserTime {
                user: self.user_id.user()?,
                study_time: self.study_time.listed_study_time()?,
            })
        };
        parts().map_err(|reason| Error::Entry { at, reason: Box::new(reason) })
    }
}

pub(super) fn parsed_user_times(json: &str) -> Result<Vec<UserTime>, Error> {
    let entries: Vec<&RawValue> = serde_json::from_str(json)?;
    let entry = |(at, entry): (usize, &RawValue)| {
        let members = parsed_members(entry.get());
        let members = members.map_err(|reason| Error::Entry { at, reason: Box::new(reason) })?;
        members.user_time(at)
    };
    entries.into_iter().enumerate().map(entry).collect()
}

/// The members of a message that is not as peers write it, or what is wrong with it.
pub(super) fn parsed_members(json: &str) -> Result<Members<'_>, Error> {
    check_is_object(json)?;
    let mut parser = serde_json::Deserializer::from_str(json);
    let members = Members::deserialize(&mut parser)?;
    parser.end()?;
    Ok(members)
}

/// The text that a JSON string stands for; borrowed if there is nothing to unescape.
fn text_of<'a>(json: &'a str, field: &'static str) -> Result<Cow<'a, str>, Error> {
    match json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) {
        Some(text) if !text.contains('\\') => Ok(Cow::Borrowed(text)),
        _ => serde_json::from_str(json).map(Cow::Owned).map_err(|_| Error::BrokenText(field)),
    }
}

fn wrong_kind(
    field: &'static str,
    expected: &'static str,
    kind: Option<Kind>,
    json: &str,
) -> Error {
    let found = match kind {
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
fn check_is_object(json: &str) -> Result<(), Error> {
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
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            match members.find(&name) {
                Some(member) => *member = Member::Json(map.next_value::<&RawValue>()?.get()),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(members)
    }
}
