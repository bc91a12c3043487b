//! Operations on users' records: what every one of them is told, and what they may ask back.

use std::sync::Arc;

use redis::Value;

use super::calendar::{Calendar, Today};
use super::call::{Call, Night, Reply};
use super::owners::Owners;
use super::rooms::Exits;
use super::script::RECORDS;
use super::servers::Servers;
use super::stored::{read_record, record_key, session_key};
use super::words::Words;
use super::{refusal, text_of, unreached};
use crate::config::FieldStyle;
use crate::domain::{Day, Record, RoomId, SessionId, UserId};
use crate::store::{Error, Result};

/// How often a script may ask back before we give up: others write to the record all the time.
const ROUNDS_MAX: usize = 8;
/// Calls of one operation on their way at once.
pub(super) const CALLS_MAX: usize = 256;

/// The users' records.
#[derive(Clone)]
pub(super) struct Records {
    pub(super) servers: Servers,
    pub(super) calendar: Calendar,
    pub(super) style: FieldStyle,
    pub(super) exits: Exits,
    /// Whose the sessions are that were opened here.
    pub(super) owners: Arc<Owners>,
}

/// What is to be done to a user's record.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) user: UserId,
    /// The operation's name as the script knows it, the user as JSON, and what the operation takes.
    words: Words,
    /// The key of the session's index, if that is to be changed in the same step.
    index: Option<String>,
}

/// What a script said.
pub(super) enum Told {
    /// It did its work; what it answered.
    Done(Vec<Value>),
    /// There is no such session.
    Nobody,
    /// The session's index leads to somebody else, or to nobody.
    Elsewhere,
    /// It wants this text read.
    Parse(Vec<u8>),
    /// The record was already written to with this day as the running one, or a later one.
    Stale(Day),
}

impl Task {
    /// The operation of that name.
    pub(super) fn new(name: &'static str, user: &UserId) -> Self {
        let words = Words::of(name).with_text(user.as_str());
        Self { user: user.clone(), words, index: None }
    }

    /// On the session's index too, which lies in the record's server.
    pub(super) fn with_index_of(self, session: &SessionId) -> Self {
        Self { index: Some(session_key(session)), ..self }
    }

    /// With what it takes.
    pub(super) fn with(self, words: impl FnOnce(Words) -> Words) -> Self {
        Self { words: words(self.words), ..self }
    }
}

impl Records {
    /// The call that does the task.
    pub(super) fn call(&self, task: &Task, today: Today) -> Call {
        self.call_with(task, task.words.clone(), today)
    }

    fn call_with(&self, task: &Task, words: Words, today: Today) -> Call {
        let Today { day, swept } = today;
        let night = Night { day, swept, style: self.style };
        let call = Call::part(&RECORDS, Some(night), record_key(&task.user), words);
        call.beside(task.index.clone())
    }

    /// Does the task; answers what was said, or `None` if the script found nobody.
    pub(super) async fn run(&self, task: &Task) -> Result<Option<Vec<Value>>> {
        match self.see_through(task, None).await? {
            Told::Done(values) => Ok(Some(values)),
            Told::Nobody | Told::Elsewhere => Ok(None),
            Told::Parse(_) | Told::Stale(_) => Err(unexpected()),
        }
    }

    /// Does the task, with `first` as the reply to its first call if that was made already.
    pub(super) async fn see_through(&self, task: &Task, mut first: Option<Reply>) -> Result<Told> {
        // Asked for when a call is made: what the first reply says was done is not for the day to undo.
        let mut today = None;
        let mut read: Option<Words> = None;
        let mut is_sure = false;
        for _ in 0..ROUNDS_MAX {
            let words = match (is_sure, &read) {
                (false, None) => task.words.clone(),
                (true, None) => Words::of("sure").with_all(&task.words),
                (false, Some(read)) => read.clone().with_all(&task.words),
                (true, Some(read)) => Words::of("sure").with_all(read).with_all(&task.words),
            };
            let reply = match first.take() {
                Some(reply) => reply,
                None => {
                    let now = match today {
                        Some(now) => now,
                        None => *today.insert(self.calendar.today().await?),
                    };
                    let call = self.call_with(task, words, now);
                    self.servers.one(call).await.map_err(unreached)?
                }
            };
            match told(reply)? {
                told @ (Told::Done(_) | Told::Nobody | Told::Elsewhere) => return Ok(told),
                Told::Parse(text) => {
                    let record = read_record(&task.user, &text).map_err(Error::Unreadable)?;
                    let words = Words::of("read").with(&text).with_room(record.room);
                    let words = words.with_session(record.session.as_ref());
                    read = Some(words.with_study_time(record.study_time.as_ref()));
                }
                Told::Stale(day) => {
                    let newer = self.calendar.catch_up(Day(day.0.saturating_sub(1)));
                    today = Some(Box::pin(newer).await?);
                    is_sure = true;
                }
            }
        }
        Err(Error::Failed("the record changes faster than it can be written".to_owned()))
    }

    /// Does the tasks, each on its own, at most [`CALLS_MAX`] at once.
    pub(super) async fn run_each(&self, tasks: &[Task]) -> Result<Vec<Result<Vec<Value>>>> {
        let mut results = Vec::with_capacity(tasks.len());
        for tasks in tasks.chunks(CALLS_MAX) {
            let today = self.calendar.today().await?;
            let calls = tasks.iter().map(|task| self.call(task, today)).collect();
            let replies = self.servers.each(calls).await.map_err(unreached)?;
            for (task, reply) in tasks.iter().zip(replies) {
                results.push(self.finish(task, reply).await);
            }
        }
        Ok(results)
    }

    /// Takes the reply to a task that was sent, or does it again if the script asked back.
    pub(super) async fn finish(&self, task: &Task, reply: Reply) -> Result<Vec<Value>> {
        match self.see_through(task, Some(reply)).await? {
            Told::Done(values) => Ok(values),
            Told::Nobody | Told::Elsewhere => Ok(Vec::new()),
            Told::Parse(_) | Told::Stale(_) => Err(unexpected()),
        }
    }
}

/// Reads what a script on a record said: the record as it reads today, or a list.
pub(super) fn told(reply: Reply) -> Result<Told> {
    let said = reply.map_err(refusal)?;
    if let Value::BulkString(_) = said {
        return Ok(Told::Done(vec![said]));
    }
    let Value::Array(values) = said else { return Err(unexpected()) };
    let mut values = values.into_iter();
    let word = values.next().as_ref().and_then(text_of);
    match word.as_deref() {
        Some("OK") => Ok(Told::Done(values.collect())),
        Some("NOBODY") => Ok(Told::Nobody),
        Some("ELSEWHERE") => Ok(Told::Elsewhere),
        // It was repeated, and somebody else has changed the record since the first time.
        Some("PAST") => Err(Error::Failed(
            "it was done, but what it came to was overtaken before it was heard".to_owned(),
        )),
        Some("PARSE") => match values.next() {
            Some(Value::BulkString(text)) => Ok(Told::Parse(text)),
            _ => Err(unexpected()),
        },
        Some("STALE") => {
            let day = values.next().as_ref().and_then(text_of).and_then(|day| day.parse().ok());
            day.map(|day| Told::Stale(Day(day))).ok_or_else(unexpected)
        }
        _ => Err(unexpected()),
    }
}

/// Whether a script did what it was asked for.
pub(super) fn is_done(reply: &Reply) -> bool {
    match reply {
        Ok(Value::BulkString(_)) => true,
        Ok(Value::Array(values)) => {
            matches!(values.first(), Some(Value::BulkString(word)) if word == b"OK")
        }
        Ok(_) | Err(_) => false,
    }
}

/// Reads the record that a script answered.
pub(super) fn answered_record(user: &UserId, values: &[Value]) -> Result<Record> {
    let Some(Value::BulkString(text)) = values.first() else { return Err(unexpected()) };
    read_record(user, text).map_err(|_| unexpected())
}

/// Reads a room or null as JSON.
pub(super) fn room_of(value: &Value) -> Result<Option<RoomId>> {
    Ok(json_of::<i64>(value)?.map(RoomId))
}

/// Reads a word or null as JSON.
pub(super) fn word_of<T, E>(
    value: &Value,
    parse: impl Fn(&str) -> std::result::Result<T, E>,
) -> Result<Option<T>> {
    let text = json_of::<String>(value)?;
    text.map(|text| parse(&text).map_err(|_| unexpected())).transpose()
}

/// The sessions that a script names as replaced. A note that is none of ours names none.
pub(super) fn noted_sessions(values: &[Value]) -> impl Iterator<Item = SessionId> {
    values.iter().filter_map(|value| word_of(value, SessionId::parse).ok().flatten())
}

fn json_of<T: serde::de::DeserializeOwned>(value: &Value) -> Result<Option<T>> {
    let Value::BulkString(bytes) = value else { return Err(unexpected()) };
    serde_json::from_slice(bytes).map_err(|_| unexpected())
}

/// An answer that no script of ours gives.
pub(super) fn unexpected() -> Error {
    Error::Failed("redis gave an answer that makes no sense".to_owned())
}
