//! Operations on users' records: what every one of them is told, and what they may ask back.

use redis::Value;

use super::calendar::{Calendar, Today};
use super::call::{Call, Night, Reply};
use super::rooms::Exits;
use super::script::RECORDS;
use super::servers::Servers;
use super::stored::{read_record, record_key};
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
}

/// What is to be done to a user's record.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) user: UserId,
    /// The operation's name as the script knows it, the user as JSON, and what the operation takes.
    words: Words,
}

/// What a script said.
pub(super) enum Told {
    /// It did its work; what it answered.
    Done(Vec<Value>),
    /// There is no such session.
    Nobody,
    /// It wants this text read.
    Parse(Vec<u8>),
    /// The record was already written to with this day as the running one, or a later one.
    Stale(Day),
}

impl Task {
    /// The operation of that name.
    pub(super) fn new(name: &'static str, user: &UserId) -> Self {
        let words = Words::of(name).with_text(user.as_str());
        Self { user: user.clone(), words }
    }

    /// With what it takes.
    pub(super) fn with(self, words: impl FnOnce(Words) -> Words) -> Self {
        Self { words: words(self.words), ..self }
    }
}

impl Records {
    /// The call that does the task.
    pub(super) fn call(&self, task: &Task, today: Today) -> Call {
        self.call_with(&task.user, task.words.clone(), today)
    }

    fn call_with(&self, user: &UserId, words: Words, today: Today) -> Call {
        let Today { day, swept } = today;
        let night = Night { day, swept, style: self.style };
        Call::part(&RECORDS, Some(night), record_key(user), words)
    }

    /// Does the task; answers what was said, or `None` if the script found nobody.
    pub(super) async fn run(&self, task: &Task) -> Result<Option<Vec<Value>>> {
        let mut today = self.calendar.today().await?;
        let mut read: Option<Words> = None;
        let mut is_sure = false;
        for _ in 0..ROUNDS_MAX {
            let words = match (is_sure, &read) {
                (false, None) => task.words.clone(),
                (true, None) => Words::of("sure").with_all(&task.words),
                (false, Some(read)) => read.clone().with_all(&task.words),
                (true, Some(read)) => Words::of("sure").with_all(read).with_all(&task.words),
            };
            let call = self.call_with(&task.user, words, today);
            match told(self.servers.one(call).await.map_err(unreached)?)? {
                Told::Done(values) => return Ok(Some(values)),
                Told::Nobody => return Ok(None),
                Told::Parse(text) => {
                    let record = read_record(&task.user, &text).map_err(Error::Unreadable)?;
                    let words = Words::of("read").with(&text).with_room(record.room);
                    let words = words.with_session(record.session.as_ref());
                    read = Some(words.with_study_time(record.study_time.as_ref()));
                }
                Told::Stale(day) => {
                    today = self.calendar.catch_up(Day(day.0.saturating_sub(1))).await?;
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
        match told(reply)? {
            Told::Done(values) => Ok(values),
            Told::Nobody => Ok(Vec::new()),
            Told::Parse(_) | Told::Stale(_) => Ok(self.run(task).await?.unwrap_or_default()),
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
