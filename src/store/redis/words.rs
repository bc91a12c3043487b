//! Arguments of a script, put together once, and sent as often as it takes.

use bytes::BytesMut;
use redis::Cmd;

use crate::domain::json::{self, Charset};
use crate::domain::{RoomId, SessionId, StudyTime};

/// Room for what an operation on a record takes, without growing.
const BYTES: usize = 112;
const WORDS: usize = 6;

/// Arguments, one behind the other.
#[derive(Clone, Default)]
pub(super) struct Words {
    bytes: BytesMut,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Words {
    /// Those that begin with the given one, with room for an operation on a record.
    pub(super) fn of(first: &str) -> Self {
        let (bytes, ends) = (BytesMut::with_capacity(BYTES), Vec::with_capacity(WORDS));
        Self { bytes, ends }.with(first)
    }

    pub(super) fn push(&mut self, word: &[u8]) {
        self.bytes.extend_from_slice(word);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn with(mut self, word: impl AsRef<[u8]>) -> Self {
        self.push(word.as_ref());
        self
    }

    /// Adds a text as JSON.
    pub(super) fn with_text(self, text: &str) -> Self {
        self.written(|out| json::put_str(out, text, Charset::Utf8))
    }

    /// Adds a session, or null, as JSON.
    pub(super) fn with_session(self, session: Option<&SessionId>) -> Self {
        let session = session.map(SessionId::as_str);
        self.written(|out| json::put_optional_str(out, session, Charset::Utf8))
    }

    /// Adds a room, or null, as JSON.
    pub(super) fn with_room(self, room: Option<RoomId>) -> Self {
        self.written(|out| json::put_room(out, room))
    }

    /// Adds a study time, or null, as JSON.
    pub(super) fn with_study_time(self, study_time: Option<&StudyTime>) -> Self {
        let study_time = study_time.map(StudyTime::as_str);
        self.written(|out| json::put_optional_str(out, study_time, Charset::Utf8))
    }

    /// Adds others.
    pub(super) fn with_all(mut self, words: &Self) -> Self {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&words.bytes);
        self.ends.extend(words.ends.iter().map(|end| before + end));
        self
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// How long they are together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Makes them the command's next arguments.
    pub(super) fn put(&self, cmd: &mut Cmd) {
        let mut begin = 0;
        for end in &self.ends {
            cmd.arg(self.bytes.get(begin..*end).unwrap_or_default());
            begin = *end;
        }
    }

    fn written(mut self, write: impl FnOnce(&mut BytesMut)) -> Self {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
        self
    }
}
