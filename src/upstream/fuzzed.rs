//! What a called peer may answer, for fuzzers.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::call::REPLY_BYTES_MAX;
use super::reply::{OwnerReply, Reply, is_error};
use crate::connection::frame::{Decoder, Framing};
use crate::domain::{self, StudyTime, UserId};

/// A framing, then what came in. An error is what a JSON library of its own takes for one, and what
/// is made of a reply can be said to a peer.
pub(crate) fn peer_reply(data: &[u8]) {
    let [framing, stream @ ..] = data else { return };
    let framing = Framing::ALL[usize::from(*framing) % Framing::ALL.len()];
    let mut buffer = BytesMut::from(stream);
    let mut decoder = Decoder::new(framing, REPLY_BYTES_MAX);
    if let Ok(Some(found)) = decoder.find(&buffer) {
        let payload = buffer.split_to(found.consumed).freeze();
        check(payload.slice(found.start..found.end));
    }
    check(Bytes::copy_from_slice(stream));
}

fn check(payload: Bytes) {
    let value: Result<Value, _> = serde_json::from_slice(&payload);
    if let Ok(value) = &value {
        assert_eq!(is_error(&payload), value.get("error").is_some(), "{value}");
    }
    let owner = OwnerReply::read(&Reply(payload));
    let (Ok(user), Ok(study_time)) = (UserId::parse("u1"), StudyTime::parse("1")) else { return };
    let mut said = BytesMut::new();
    domain::Reply::StudyTimeWithOwner { user, study_time, owner }.put(&mut said);
    assert!(said.is_ascii());
    let read = serde_json::from_slice::<Value>(&said);
    assert!(read.is_ok_and(|read| read["user_id"] == "u1"), "{said:?}");
}
