//! The way of a message in pieces and as a whole, each as something that can be done any number of
//! times with the same input.

mod exchange;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use stated::connection::frame::{Decoder, Framing};
use stated::connection::request::Request;
use stated::domain::{Record, Reply, RoomId, SessionId, StudyTime, UserId, UserTime, scheduling};
use stated::store::StateStore;
use stated::store::memory::MemoryStore;

use exchange::exchange;

const SUBSCRIBE: &str =
    r#"{"server":"chat","type":"SUBSCRIBE","user_id":"user-1","room_id":42,"session":"sess-1"}"#;
const UNSUBSCRIBE: &str = r#"{"server":"chat","type":"UNSUBSCRIBE","session":"sess-1"}"#;
const ENTER: &str = r#"{"server":"signaling","type":"STUDY_TIME_FROM_TCP","user_id":"user-2"}"#;
const LEAVE: &str = r#"{"server":"signaling","type":"STUDY_TIME_TO_TCP","user_id":"user-2","study_time":"01:23:45"}"#;
/// Its user's name is in Korean, escaped as some peers do it.
const ESCAPED: &str =
    r#"{"server":"signaling","type":"STUDY_TIME_FROM_TCP","user_id":"\uae40\uc9c0\uc218"}"#;
/// Only the JSON parser reads a member's name with an escape in it.
const UNUSUAL: &str =
    r#"{"s\u0065rver":"signaling","type":"STUDY_TIME_FROM_TCP","user_id":"user-2"}"#;
/// Users in a SCHEDULER message.
const LISTED: usize = 25;
/// Requests under way on the connection.
const IN_FLIGHT: usize = 16;

/// Something that is done so many times.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What is done at once each time.
    pub(crate) at_once: usize,
    pub(crate) run: Box<dyn FnMut(u64)>,
}

/// All of them, in the order of a message's way.
pub(crate) fn all() -> Vec<Case> {
    let schedule = schedule();
    vec![
        case("frame", find_frame()),
        case("decode/subscribe", decode(SUBSCRIBE)),
        case("decode/study-time-from", decode(ENTER)),
        case("decode/escaped", decode(ESCAPED)),
        case("decode/unusual", decode(UNUSUAL)),
        case("decode/schedule-25", decode(&schedule)),
        case("store/presence", presence()),
        case("store/study-time", study_time()),
        case("store/record-study-time", record_study_time()),
        case("encode/record", encode(Reply::Record(record()))),
        case("encode/schedule-25", encode(listing())),
        requests("request/presence", &[SUBSCRIBE, UNSUBSCRIBE], IN_FLIGHT),
        requests("request/study-time-from", &[ENTER], IN_FLIGHT),
        requests("request/study-time-to", &[LEAVE], IN_FLIGHT),
        requests("request/alone", &[ENTER], 1),
    ]
}

fn case(name: &'static str, mut once: impl FnMut() + 'static) -> Case {
    Case { name, at_once: 1, run: Box::new(move |times| (0..times).for_each(|_| once())) }
}

fn requests(name: &'static str, messages: &[&str], in_flight: usize) -> Case {
    Case { at_once: in_flight, ..case(name, exchange(messages, in_flight)) }
}

fn find_frame() -> impl FnMut() {
    let mut framed = BytesMut::new();
    Framing::Length4.put(SUBSCRIBE.as_bytes(), &mut framed).unwrap();
    let mut decoder = Decoder::new(Framing::Length4, 1 << 20);
    let mut buffer = BytesMut::with_capacity(4096);
    move || {
        buffer.extend_from_slice(&framed);
        let found = decoder.find(&buffer).unwrap().unwrap();
        decoder.consume(&mut buffer, found);
    }
}

fn decode(message: &str) -> impl FnMut() + use<> {
    let payload = message.as_bytes().to_vec();
    move || {
        std::hint::black_box(Request::decode(std::hint::black_box(&payload))).unwrap();
    }
}

fn user() -> UserId {
    UserId::parse("user-1").unwrap()
}

fn session() -> SessionId {
    SessionId::parse("sess-1").unwrap()
}

fn time() -> StudyTime {
    StudyTime::parse("01:23:45").unwrap()
}

fn record() -> Record {
    let (room, session, study_time) = (Some(RoomId(42)), Some(session()), Some(time()));
    Record { user: user(), room, session, study_time }
}

fn presence() -> impl FnMut() {
    let (store, user, session) = (MemoryStore::default(), user(), session());
    move || {
        let opened = store.open_session(&user, Some(RoomId(42)), &session);
        std::hint::black_box(opened.now_or_never().unwrap().unwrap());
        std::hint::black_box(store.close_session(&session).now_or_never().unwrap().unwrap());
    }
}

fn study_time() -> impl FnMut() {
    let (store, user) = (MemoryStore::default(), user());
    store.record_study_time(&user, &time()).now_or_never().unwrap().unwrap();
    move || {
        std::hint::black_box(store.study_time(&user).now_or_never().unwrap().unwrap());
    }
}

fn record_study_time() -> impl FnMut() {
    let (store, user, time) = (MemoryStore::default(), user(), time());
    move || {
        let recorded = store.record_study_time(&user, &time);
        std::hint::black_box(recorded.now_or_never().unwrap().unwrap());
    }
}

fn encode(reply: Reply) -> impl FnMut() {
    let mut out = BytesMut::with_capacity(64 * 1024);
    move || {
        out.clear();
        Framing::Length4.put_with(&mut out, |out| reply.put(out)).unwrap();
        std::hint::black_box(&out);
    }
}

fn listed() -> impl Iterator<Item = String> {
    (0..LISTED).map(|number| format!("user-{number}"))
}

fn schedule() -> String {
    let entry = |user| format!(r#"{{"user_id":"{user}","study_time":"01:23:45"}}"#);
    let users = listed().map(entry).collect::<Vec<_>>().join(",");
    format!(r#"{{"server":"signaling_scheduling","type":"SCHEDULER","users":[{users}]}}"#)
}

fn listing() -> Reply {
    let entry =
        |user: String| UserTime { user: UserId::parse(&user).unwrap(), study_time: Some(time()) };
    Reply::Listing { last: scheduling::Last::No, users: listed().map(entry).collect() }
}
