//! What may lie in Redis under our keys, for fuzzers: other programs write there too.

use bytes::BytesMut;
use redis::Value;

use super::frame::read_batch;
use super::history::read_history;
use super::night::read_night;
use super::records::{Told, answered_record, told};
use super::stored::{read_record, room_of_key};
use crate::domain::UserId;
use crate::domain::json::{Charset, put_record};
use crate::store::Cursor;

/// A record's text, then, behind a line's end, fields and values in turn. What is read of a record
/// reads the same once it is written.
pub(crate) fn stored(data: &[u8]) {
    let (text, fields) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[][..]),
    };
    check_record(text);
    let values: Vec<_> = fields
        .split(|byte| *byte == b'\n')
        .map(|field| Value::BulkString(field.to_vec()))
        .collect();
    let hash = Value::Array(values.clone());
    let night = read_night(&hash).night;
    assert!(night.undelivered.is_sorted_by_key(|closed| closed.day));
    assert!(read_history(&hash).len() <= values.len());
    drop(read_batch(&hash));
    if let Ok(Told::Done(values)) = told(Ok(hash))
        && let Ok(user) = UserId::parse("u1")
    {
        drop(answered_record(&user, &values));
    }
    if let Ok(text) = std::str::from_utf8(text) {
        room_of_key(text);
        if let Ok(cursor) = Cursor::parse(text) {
            assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }
    }
}

fn check_record(text: &[u8]) {
    let Ok(user) = UserId::parse("u1") else { return };
    let Ok(record) = read_record(&user, text) else { return };
    let mut written = BytesMut::new();
    put_record(&mut written, &record, Charset::Utf8);
    assert_eq!(read_record(&user, &written), Ok(record));
}
