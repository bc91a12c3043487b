//! What a peer may send, for fuzzers: frames, messages, and the answers made of them.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::{BufMut, BytesMut};
use serde_json::Value;

use super::frame::{Decoder, Framing};
use super::members::{Member, parsed_members, parsed_user_times};
use super::request::{self, Request};
use super::route::{self, Answer, Asked, put_answer};
use crate::domain::{Record, Reply, RoomId, SessionId, UserId};
use crate::domain::{auth, chat, room, signaling};
use crate::metrics::requests::Kind;
use crate::upstream::OwnerReply;

/// What a decoder makes of a stream: frames, and whether it broke after them.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    frames: Vec<Vec<u8>>,
    broken: bool,
    /// What is left of a stream that did not break.
    rest: Vec<u8>,
}

/// A framing, a limit, a seed for where to split, then the stream. However it is split, the same
/// frames come out, and they are those of a decoder too simple to be wrong.
pub(crate) fn frames(data: &[u8]) {
    let [framing, max, seed, stream @ ..] = data else { return };
    let framing = Framing::ALL[usize::from(*framing) % Framing::ALL.len()];
    let max = usize::from(*max) + 1;
    let expected = simply(framing, max, stream);
    for piece in [stream.len().max(1), 1, 2 + usize::from(*seed) % 13] {
        assert_eq!(heard(framing, max, stream.chunks(piece)), expected, "in pieces of {piece}");
    }
    let mut splitter = usize::from(*seed);
    let mut left = stream;
    let pieces = std::iter::from_fn(|| {
        splitter = splitter.wrapping_mul(0x2d) + 7;
        let (piece, rest) = left.split_at_checked(1 + splitter % 29).unwrap_or((left, &[]));
        left = rest;
        (!piece.is_empty()).then_some(piece)
    });
    assert_eq!(heard(framing, max, pieces), expected, "in pieces of any size");
}

fn heard<'a>(framing: Framing, max: usize, pieces: impl Iterator<Item = &'a [u8]>) -> Heard {
    let mut decoder = Decoder::new(framing, max);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.put_slice(piece);
        loop {
            match decoder.find(&buffer) {
                Ok(Some(found)) => {
                    frames.push(buffer[found.start..found.end].to_vec());
                    decoder.consume(&mut buffer, found);
                }
                Ok(None) => break,
                Err(_) => return Heard { frames, broken: true, rest: Vec::new() },
            }
        }
        assert!(buffer.len() <= max + 4 + piece.len(), "more is kept than a frame may have");
    }
    Heard { frames, broken: false, rest: buffer.to_vec() }
}

/// What a stream begins with.
enum Step<'a> {
    /// A frame: its payload, and its bytes with all that delimits it.
    Frame(&'a [u8], usize),
    Broken,
    More,
}

/// The whole stream at once, with nothing remembered.
fn simply(framing: Framing, max: usize, stream: &[u8]) -> Heard {
    let (mut frames, mut rest) = (Vec::new(), stream);
    loop {
        let step = match framing {
            Framing::Length4 => prefixed(4, max, rest),
            Framing::Length2 => prefixed(2, max, rest),
            Framing::Length1 => prefixed(1, max, rest),
            Framing::Crlf | Framing::Lf => line(framing, max, rest),
        };
        match step {
            Step::Frame(payload, consumed) => {
                frames.push(payload.to_vec());
                rest = &rest[consumed..];
            }
            Step::Broken => return Heard { frames, broken: true, rest: Vec::new() },
            Step::More => return Heard { frames, broken: false, rest: rest.to_vec() },
        }
    }
}

fn prefixed(prefix: usize, max: usize, stream: &[u8]) -> Step<'_> {
    let Some((length, rest)) = stream.split_at_checked(prefix) else { return Step::More };
    let length = length.iter().fold(0, |length, byte| length * 256 + usize::from(*byte));
    match rest.get(..length) {
        _ if length > max => Step::Broken,
        Some(payload) => Step::Frame(payload, prefix + length),
        None => Step::More,
    }
}

fn line(framing: Framing, max: usize, stream: &[u8]) -> Step<'_> {
    let ends = (0..stream.len()).filter(|at| stream[*at] == b'\n');
    let mut lines = ends.filter_map(|at| match (stream[..at].strip_suffix(b"\r"), framing) {
        (Some(payload), _) => Some((payload, at + 1)),
        (None, Framing::Lf) => Some((&stream[..at], at + 1)),
        (None, Framing::Crlf | Framing::Length4 | Framing::Length2 | Framing::Length1) => None,
    });
    match lines.next() {
        Some((payload, _)) if payload.len() > max => Step::Broken,
        Some((payload, consumed)) => Step::Frame(payload, consumed),
        None if stream.len() > max + 1 => Step::Broken,
        None => Step::More,
    }
}

/// A payload. The quick scanner and the JSON parser say the same of it, and what is accepted is what
/// a JSON library of its own reads there.
pub(crate) fn message(payload: &[u8]) {
    let decoded = Request::decode(payload);
    let Ok(text) = std::str::from_utf8(payload) else {
        assert!(decoded.is_err());
        return;
    };
    if payload.is_empty() {
        return;
    }
    let parsed = request::decode_slowly(text);
    assert_eq!(shown(&decoded), shown(&parsed), "{text}");
    check_users(text);
    if let (Ok(request), Ok(value)) = (&decoded, serde_json::from_str(text)) {
        check_content(request, &value);
    }
}

fn shown(decoded: &Result<Request, request::Error>) -> String {
    let mut shown = String::new();
    let written = match decoded {
        Ok(request) => write!(shown, "{request:?}"),
        Err(error) => write!(shown, "{error}"),
    };
    assert!(written.is_ok());
    shown
}

/// An array of users is taken the same way by both.
fn check_users(text: &str) {
    let Ok(members) = parsed_members(text) else { return };
    let Member::Json(json) = members.users else { return };
    if !json.starts_with('[') {
        return;
    }
    let quickly = members.users.user_times().map_err(|error| error.to_string());
    let slowly = parsed_user_times(json).map_err(|error| error.to_string());
    assert_eq!(quickly, slowly, "{json}");
}

/// Of a member given twice the library, too, takes the last.
fn check_content(request: &Request, value: &Value) {
    let is = |name: &str, text: &str| assert_eq!(value[name].as_str(), Some(text), "{value}");
    let is_room = |room: Option<RoomId>| match (&value["room_id"], room) {
        (number @ Value::Number(_), Some(RoomId(room))) => assert_eq!(integer(number), Some(room)),
        (Value::String(text), Some(RoomId(room))) => assert_eq!(text.trim().parse(), Ok(room)),
        (Value::String(text), None) => assert_eq!(text.trim(), ""),
        (found, room) => assert!(found.is_null() && room.is_none(), "{value}"),
    };
    match request {
        Request::Chat(chat::Request::Subscribe { user, room, session }) => {
            is("user_id", user.as_str());
            is("session", session.as_str());
            is_room(*room);
        }
        Request::Chat(chat::Request::Unsubscribe { session }) => is("session", session.as_str()),
        Request::Chat(chat::Request::Ignored) => is("server", "chat"),
        Request::Signaling(signaling::Request::StudyTimeTo { user, study_time }) => {
            is("user_id", user.as_str());
            is("study_time", study_time.as_str());
        }
        Request::Signaling(signaling::Request::StudyTimeFrom { user })
        | Request::Auth(auth::Request::StudyTimeFrom { user }) => is("user_id", user.as_str()),
        Request::Scheduling(request) => {
            let users = value["users"].as_array().map(Vec::as_slice).unwrap_or_default();
            assert_eq!(users.len(), request.users.len());
            for (found, entry) in users.iter().zip(&request.users) {
                assert_eq!(found["user_id"].as_str(), Some(entry.user.as_str()));
                let time = entry.study_time.as_ref().map(|time| time.as_str());
                assert_eq!(found["study_time"].as_str(), time);
            }
        }
        Request::Room(room::Request { command, user, room }) => {
            is("user_id", user.as_str());
            is_room(*room);
            if let room::Command::Alert { alert_count } = command {
                assert_eq!(integer(&value["alert_count"]), *alert_count);
            }
        }
    }
}

/// The library takes `-0` for a number with a fraction, since its sign would be lost.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().filter(|number| *number == 0.0).map(|_| 0))
}

/// A payload whose content is said back, in every framing: one frame, of ASCII, that reads the same.
pub(crate) fn answer(payload: &[u8]) {
    let decoded = Request::decode(payload);
    let kind = decoded.as_ref().map_or(Kind::Invalid, Kind::of);
    let asked = Asked { peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), kind };
    let answer = decoded.map(reply).map_err(route::Error::from);
    for framing in Framing::ALL {
        let mut out = BytesMut::new();
        if put_answer(&answer, asked, framing, &mut out).is_err() {
            assert!(out.is_empty() && framing == Framing::Length1, "{framing:?}");
            continue;
        }
        let found = Decoder::new(framing, usize::MAX - 8).find(&out);
        let Ok(Some(found)) = found else { panic!("{framing:?}: {found:?} in {out:?}") };
        assert_eq!(found.consumed, out.len(), "one frame");
        check_said(&answer, &out[found.start..found.end]);
    }
}

/// The richest reply there is to such a request.
fn reply(request: Request) -> Reply {
    let record = |user: UserId, room, session: Option<SessionId>| {
        Reply::Record(Record { user, room, session, study_time: None })
    };
    match request {
        Request::Chat(chat::Request::Subscribe { user, room, session }) => {
            record(user, room, Some(session))
        }
        Request::Chat(chat::Request::Unsubscribe { session: _ } | chat::Request::Ignored) => {
            Reply::Empty
        }
        Request::Signaling(signaling::Request::StudyTimeTo { user, study_time }) => {
            let owner = OwnerReply::Change { user: user.clone(), room: Some(RoomId(i64::MIN)) };
            Reply::StudyTimeWithOwner { user, study_time, owner }
        }
        Request::Signaling(signaling::Request::StudyTimeFrom { user })
        | Request::Auth(auth::Request::StudyTimeFrom { user }) => {
            Reply::StudyTime { user, study_time: None }
        }
        Request::Scheduling(request) => Reply::Listing { last: request.last, users: request.users },
        Request::Room(room::Request { user, room, .. }) => record(user, room, None),
    }
}

fn check_said(answer: &Answer, said: &[u8]) {
    assert!(said.is_ascii(), "{said:?}");
    if matches!(answer, Ok(Reply::Empty)) {
        return assert!(said.is_empty());
    }
    let value: Value = match serde_json::from_slice(said) {
        Ok(value) => value,
        Err(error) => panic!("{error} in {said:?}"),
    };
    if value.get("error").is_some() {
        return;
    }
    match answer {
        Ok(Reply::Record(record)) => assert_eq!(value["userId"], record.user.as_str()),
        Ok(Reply::StudyTime { user, .. } | Reply::StudyTimeWithOwner { user, .. }) => {
            assert_eq!(value["user_id"], user.as_str());
        }
        Ok(Reply::Listing { users, .. }) => {
            let said = value["users"].as_array().map(Vec::as_slice).unwrap_or_default();
            assert!(
                said.iter()
                    .map(|entry| &entry["user_id"])
                    .eq(users.iter().map(|u| u.user.as_str()))
            );
        }
        Ok(Reply::Empty) | Err(_) => panic!("{answer:?} became {value}"),
    }
}
