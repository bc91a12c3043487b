//! Writes JSON into a buffer, by hand because it is on the way of every message.

use bytes::{BufMut, BytesMut};

use super::record::{Record, UserTime};
use super::words::{RoomId, StudyTime};

/// What becomes of characters beyond ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// `\uXXXX`: for the wire, where one generation of peers decodes byte by byte (contract §1).
    Ascii,
    /// As they are: for Redis, byte for byte what the replaced service wrote.
    Utf8,
}

/// Appends `text` as a JSON string, quotes included.
pub fn put_str(out: &mut BytesMut, text: &str, charset: Charset) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    if plain_bytes(text.as_bytes(), charset) == text.len() {
        out.put_slice(text.as_bytes());
    } else {
        put_escaped(out, text, charset);
    }
    out.put_u8(b'"');
}

/// How many of the first bytes stand for themselves in a JSON string. They are looked at eight at
/// a time: strings are most of every message, and most of them are short.
#[inline]
pub fn plain_bytes(bytes: &[u8], charset: Charset) -> usize {
    let mut rest = bytes;
    while let Some((word, more)) = rest.split_first_chunk() {
        let found = special_bytes(u64::from_le_bytes(*word), charset);
        if found != 0 {
            return bytes.len() - rest.len() + found.trailing_zeros() as usize / 8;
        }
        rest = more;
    }
    let plain = rest.iter().take_while(|byte| is_plain(**byte, charset)).count();
    bytes.len() - rest.len() + plain
}

/// The highest bit of the lowest byte that doesn't stand for itself; higher bits may be anything.
#[inline]
fn special_bytes(word: u64, charset: Charset) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let is_control = word.wrapping_sub(0x20 * ONES) & !word;
    let found = is_control | is_zero(word ^ (0x22 * ONES)) | is_zero(word ^ (0x5c * ONES));
    match charset {
        Charset::Ascii => (found | word) & HIGH,
        Charset::Utf8 => found & HIGH,
    }
}

fn is_plain(byte: u8, charset: Charset) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\' && (charset == Charset::Utf8 || byte.is_ascii())
}

fn put_escaped(out: &mut BytesMut, text: &str, charset: Charset) {
    let mut rest = text;
    while let Some(at) = rest.find(|c| needs_escape(c, charset)) {
        let (plain, tail) = rest.split_at(at);
        out.put_slice(plain.as_bytes());
        let mut chars = tail.chars();
        if let Some(c) = chars.next() {
            put_escape(out, c);
        }
        rest = chars.as_str();
    }
    out.put_slice(rest.as_bytes());
}

fn needs_escape(c: char, charset: Charset) -> bool {
    matches!(c, '"' | '\\' | '\0'..='\x1f') || (charset == Charset::Ascii && !c.is_ascii())
}

fn put_escape(out: &mut BytesMut, c: char) {
    match c {
        '"' => out.put_slice(b"\\\""),
        '\\' => out.put_slice(b"\\\\"),
        '\n' => out.put_slice(b"\\n"),
        '\r' => out.put_slice(b"\\r"),
        '\t' => out.put_slice(b"\\t"),
        '\x08' => out.put_slice(b"\\b"),
        '\x0c' => out.put_slice(b"\\f"),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                put_utf16_escape(out, *unit);
            }
        }
    }
}

fn put_utf16_escape(out: &mut BytesMut, unit: u16) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.put_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.put_u8(HEX[usize::from(unit >> shift & 0xf)]);
    }
}

/// Appends a JSON number.
pub fn put_i64(out: &mut BytesMut, number: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.put_u8(b'-');
    }
    out.put_slice(&digits[at..]);
}

/// Appends a number or null.
pub fn put_room(out: &mut BytesMut, room: Option<RoomId>) {
    match room {
        Some(RoomId(number)) => put_i64(out, number),
        None => out.put_slice(b"null"),
    }
}

/// Appends a string or null.
pub fn put_optional_str(out: &mut BytesMut, text: Option<&str>, charset: Charset) {
    match text {
        Some(text) => put_str(out, text, charset),
        None => out.put_slice(b"null"),
    }
}

/// Appends `{"userId":…,"roomId":…,"sessionId":…,"studyTime":…}`, always these four (contract §3).
pub fn put_record(out: &mut BytesMut, record: &Record, charset: Charset) {
    out.put_slice(b"{\"userId\":");
    put_str(out, record.user.as_str(), charset);
    out.put_slice(b",\"roomId\":");
    put_room(out, record.room);
    out.put_slice(b",\"sessionId\":");
    put_optional_str(out, record.session.as_ref().map(|session| session.as_str()), charset);
    out.put_slice(b",\"studyTime\":");
    put_optional_str(out, record.study_time.as_ref().map(StudyTime::as_str), charset);
    out.put_u8(b'}');
}

/// Appends `{"user_id":…,"study_time":…}`, for the wire.
pub fn put_user_time(out: &mut BytesMut, user: &str, study_time: Option<&str>) {
    out.put_slice(b"{\"user_id\":");
    put_str(out, user, Charset::Ascii);
    out.put_slice(b",\"study_time\":");
    put_optional_str(out, study_time, Charset::Ascii);
    out.put_u8(b'}');
}

/// Appends `[{"user_id":…,"study_time":…},…]`, for the wire.
pub fn put_user_times(out: &mut BytesMut, entries: &[UserTime]) {
    out.put_u8(b'[');
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        let study_time = entry.study_time.as_ref().map(StudyTime::as_str);
        put_user_time(out, entry.user.as_str(), study_time);
    }
    out.put_u8(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn the_wire_gets_pure_ascii_that_reads_back_the_same() {
        for text in ["", "u1", "가나", "😀\u{7f}", "a\"b\\c\n\r\t\u{8}\u{c}\u{1}", "\u{2028}"] {
            let json = written(|out| put_str(out, text, Charset::Ascii));
            assert!(json.is_ascii(), "{json}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn redis_gets_characters_as_they_are() {
        assert_eq!(written(|out| put_str(out, "가\u{1}", Charset::Utf8)), "\"가\\u0001\"");
        assert_eq!(written(|out| put_str(out, "가\u{7f}", Charset::Utf8)), "\"가\u{7f}\"");
    }

    #[test]
    fn the_first_byte_that_needs_an_escape_is_found_wherever_it_stands() {
        for charset in [Charset::Ascii, Charset::Utf8] {
            for byte in 0..=u8::MAX {
                for at in 0..20 {
                    let mut bytes = [b'a'; 20];
                    bytes[at] = byte;
                    let expected = if is_plain(byte, charset) { 20 } else { at };
                    assert_eq!(plain_bytes(&bytes, charset), expected, "{byte} at {at}");
                    // What follows and would be found too must not hide it.
                    bytes[at + 1..].fill(b'"');
                    let expected = if is_plain(byte, charset) { at + 1 } else { at };
                    assert_eq!(plain_bytes(&bytes, charset), expected, "{byte} at {at}");
                }
            }
        }
    }

    #[test]
    fn every_64_bit_number_is_written_in_full() {
        for number in [0, 7, -1, i64::MAX, i64::MIN, 1 << 53, (1 << 53) + 1] {
            assert_eq!(written(|out| put_i64(out, number)), number.to_string());
        }
    }
}
