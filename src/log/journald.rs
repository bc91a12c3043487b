//! systemd's journal, spoken to natively: a line's fields become fields of the journal, by which
//! `journalctl` finds them.
//!
//! A line comes here as the JSON that standard error would get, so that it can still go there when
//! the journal can't be reached; the libraries for this protocol send from whoever logs, and lose
//! what can't be sent.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use serde_json::{Map, Value};

/// Under which name `journalctl -t` finds the lines.
const IDENTIFIER: &str = "stated";
/// Bytes of one value at the most, so that a record fits in a datagram.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// What `journalctl` shows otherwise, or who searches asks for.
const OF_EVERY_LINE: [&str; 6] =
    ["message", "timestamp", "level", "target", "filename", "line_number"];
/// The journal refuses longer names.
const NAME_BYTES_MAX: usize = 64;

/// The journal's socket.
#[derive(Debug)]
pub(super) struct Journal {
    /// Not connected, as a new journal has a new socket at the same place.
    socket: UnixDatagram,
    path: PathBuf,
    record: Vec<u8>,
}

impl Journal {
    /// The journal that listens at `path`, now or later.
    pub(super) fn at(path: PathBuf) -> io::Result<Self> {
        Ok(Self { socket: UnixDatagram::unbound()?, path, record: Vec::new() })
    }

    /// Sends one line, an object in JSON; waits while the journal has more to do than it can.
    pub(super) fn send(&mut self, line: &[u8]) -> io::Result<()> {
        let fields: Map<String, Value> = serde_json::from_slice(line)?;
        self.record.clear();
        put(&mut self.record, "SYSLOG_IDENTIFIER", IDENTIFIER);
        for (name, value) in &fields {
            match (name.as_str(), value) {
                ("level", Value::String(level)) => {
                    put(&mut self.record, "PRIORITY", priority(level));
                }
                ("message", Value::String(text)) => {
                    put(&mut self.record, "MESSAGE", &with_fields(text, &fields));
                }
                (_, Value::String(text)) => put(&mut self.record, &journal_name(name), text),
                (_, other) => put(&mut self.record, &journal_name(name), &other.to_string()),
            }
        }
        self.socket.send_to(&self.record, &self.path).map(drop)
    }
}

/// The message, and after it the fields that it doesn't name: `journalctl` shows nothing else of a
/// record unless asked.
fn with_fields(message: &str, fields: &Map<String, Value>) -> String {
    let mut whole = message.to_owned();
    for (name, value) in fields {
        let text = value.as_str();
        let is_said = text.is_some_and(|text| message.contains(text));
        if is_said || OF_EVERY_LINE.contains(&name.as_str()) {
            continue;
        }
        let plain = text.filter(|text| text.chars().all(is_plain));
        let shown = plain.map_or_else(|| value.to_string(), str::to_owned);
        whole.extend([" ", name, "=", &shown]);
    }
    whole
}

/// Whether it may stand in a line without quotes.
fn is_plain(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && c != '"'
}

/// As syslog counts: 3 is an error, 7 is for those who build it.
fn priority(level: &str) -> &'static str {
    match level {
        "ERROR" => "3",
        "WARN" => "4",
        "INFO" => "6",
        _ => "7",
    }
}

/// `user.id` is `USER_ID`. The journal takes capitals, digits and `_`, and keeps names that begin
/// with `_` to itself.
fn journal_name(field: &str) -> String {
    let known = match field {
        "filename" => "CODE_FILE",
        "line_number" => "CODE_LINE",
        other => other,
    };
    let capitals = known.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    });
    let is_first = |c: &char| c.is_ascii_uppercase();
    capitals.skip_while(|c| !is_first(c)).take(NAME_BYTES_MAX).collect()
}

/// Appends a field. A value of several lines is preceded by its length.
fn put(record: &mut Vec<u8>, name: &str, value: &str) {
    let value = value.get(..value.floor_char_boundary(VALUE_BYTES_MAX)).unwrap_or_default();
    record.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        record.push(b'\n');
        record.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        record.push(b'=');
    }
    record.extend_from_slice(value.as_bytes());
    record.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, fields: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        Journal::at(path).unwrap().send(line.as_bytes()).unwrap();
        let mut record = vec![0; 1 << 20];
        let length = socket.recv(&mut record).unwrap();
        let mut found = String::from_utf8_lossy(&record[..length]).into_owned();
        for field in fields {
            let at = found.find(field).unwrap_or_else(|| panic!("no {field:?} in {found:?}"));
            found.replace_range(at..at + field.len(), "");
        }
        assert_eq!(found, "");
    }

    #[test]
    fn every_field_of_a_line_is_a_field_of_the_journal() {
        check(
            r#"{"timestamp":"2026-11-20T18:00:00Z","level":"WARN","message":"late","user.id":"u1",
                "code":"CHAT-023","held_back":7,"_odd-name":true,"target":"stated::connection",
                "filename":"src/a.rs","line_number":3}"#,
            &[
                "SYSLOG_IDENTIFIER=stated\n",
                "TIMESTAMP=2026-11-20T18:00:00Z\n",
                "PRIORITY=4\n",
                "MESSAGE=late _odd-name=true code=CHAT-023 held_back=7 user.id=u1\n",
                "USER_ID=u1\n",
                "CODE=CHAT-023\n",
                "HELD_BACK=7\n",
                "ODD_NAME=true\n",
                "TARGET=stated::connection\n",
                "CODE_FILE=src/a.rs\n",
                "CODE_LINE=3\n",
            ],
        );
    }

    #[test]
    fn a_message_says_what_its_fields_say_but_not_twice() {
        check(
            r#"{"message":"chat answered CHAT-023","code":"CHAT-023","user.id":"a \"b\n","passed":true}"#,
            &[
                "SYSLOG_IDENTIFIER=stated\n",
                "MESSAGE=chat answered CHAT-023 passed=true user.id=\"a \\\"b\\n\"\n",
                "CODE=CHAT-023\n",
                "PASSED=true\n",
                "USER_ID\n\x05\0\0\0\0\0\0\0a \"b\n\n",
            ],
        );
    }

    #[test]
    fn a_value_of_several_lines_makes_no_field_of_its_own() {
        let length = "\x0e\0\0\0\0\0\0\0";
        let message = format!("MESSAGE\n{length}a\nPRIORITY=0\nb\n");
        check(r#"{"message":"a\nPRIORITY=0\nb"}"#, &["SYSLOG_IDENTIFIER=stated\n", &message]);
    }

    #[test]
    fn a_value_without_end_is_cut_so_that_the_record_fits() {
        let line = format!(r#"{{"message":"{}"}}"#, "가".repeat(100_000));
        let kept = format!("MESSAGE={}\n", "가".repeat(VALUE_BYTES_MAX / 3));
        check(&line, &["SYSLOG_IDENTIFIER=stated\n", &kept]);
    }

    #[test]
    fn every_level_has_its_priority() {
        for (level, priority) in
            [("ERROR", 3), ("WARN", 4), ("INFO", 6), ("DEBUG", 7), ("TRACE", 7)]
        {
            let line = format!(r#"{{"level":"{level}"}}"#);
            let priority = format!("PRIORITY={priority}\n");
            check(&line, &["SYSLOG_IDENTIFIER=stated\n", &priority]);
        }
    }
}
