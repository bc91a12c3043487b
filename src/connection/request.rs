//! From bytes to a request: one variant per `server`, everything checked before anything is done.

use super::members::{Members, parsed_members};
use super::scan;
use crate::domain::auth;
use crate::domain::chat;
use crate::domain::room;
use crate::domain::scheduling;
use crate::domain::signaling;
use crate::domain::{InvalidWord, Server};

/// Arrays and objects that may be open at once (contract §8).
pub(super) const DEPTH_MAX: usize = 128;
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
    /// A string whose escapes stand for no text.
    #[error("field `{0}`: an escape in the string stands for no character")]
    BrokenText(&'static str),
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
        if let Some(members) = scan::members(text) {
            return members.into_request();
        }
        decode_slowly(text)
    }
}

impl Request {
    /// The service for which it speaks.
    pub fn server(&self) -> Server {
        match self {
            Self::Chat(_) => Server::Chat,
            Self::Signaling(_) => Server::Signaling,
            Self::Scheduling(_) => Server::Scheduling,
            Self::Auth(_) => Server::Auth,
            Self::Room(_) => Server::Room,
        }
    }
}

/// The way of every message that does not look as peers write it, open to all others too.
pub(super) fn decode_slowly(text: &str) -> Result<Request, Error> {
    check_depth(text.as_bytes())?;
    parsed_members(text)?.into_request()
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
        Ok(scheduling::Request { last, users: self.users.user_times()? })
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
        self.room_id.check_given("room_id")?;
        Ok(room::Request { command, user, room: self.room_id.room_or_null()? })
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
        check(r#"{"server":1}"#, "field `server`: expected a string, found a number");
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
    fn members_that_the_type_does_not_have_are_not_looked_into() {
        let odd = [r#""\ud800""#, "1e400", "[[]]", "null", r#"{"x":1}"#];
        for odd in odd {
            let payload = format!(
                r#"{{"session":{odd},"users":{odd},"server":"auth","user_id":{odd},
                    "type":"STUDY_TIME_FROM_TCP","user_id":"u1"}}"#
            );
            check(&payload, r#"StudyTimeFrom { user: UserId("u1") }"#);
        }
        check(
            r#"{"server":"auth","type":"STUDY_TIME_FROM_TCP","user_id":"\ud800"}"#,
            "field `user_id`: an escape in the string stands for no character",
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
