//! Scripts on users' records: what every one of them is told, and what they may ask back.

use redis::Value;

use super::calendar::{Calendar, Today};
use super::call::{Call, Reply, Script};
use super::rooms::Exits;
use super::servers::Servers;
use super::stored::{
    read_record, record_key, room_json, session_json, study_time_json, style_name, text_json,
};
use super::{refusal, text_of, unreached};
use crate::config::FieldStyle;
use crate::domain::{Day, Record, RoomId, SessionId, StudyTime, UserId};
use crate::store::{Error, Result};

/// How often a script may ask back before we give up: others write to the record all the time.
const ROUNDS_MAX: usize = 8;
/// Calls in one pipeline at the most.
pub(super) const CALLS_MAX: usize = 256;

/// The users' records.
#[derive(Clone)]
pub(super) struct Records {
    pub(super) servers: Servers,
    pub(super) calendar: Calendar,
    pub(super) style: FieldStyle,
    pub(super) exits: Exits,
}

/// A script to run on a user's record.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) script: &'static Script,
    pub(super) user: UserId,
    /// The operation's own arguments.
    pub(super) arguments: Vec<Vec<u8>>,
}

/// What a script said.
pub(super) enum Told {
    /// It did its work; what it answered after `OK`.
    Done(Vec<Value>),
    /// There is no such session.
    Nobody,
    /// It wants this text read.
    Parse(Vec<u8>),
    /// The record was already written to with this day as the running one, or a later one.
    Stale(Day),
}

/// A stored text that was read for a script.
struct Read {
    text: Vec<u8>,
    record: Record,
}

impl Task {
    pub(super) fn new(script: &'static Script, user: &UserId, arguments: Vec<Vec<u8>>) -> Self {
        Self { script, user: user.clone(), arguments }
    }
}

impl Records {
    /// The call that runs the task.
    pub(super) fn call(&self, task: &Task, today: Today) -> Call {
        self.call_with(task, today, None, false)
    }

    fn call_with(&self, task: &Task, today: Today, read: Option<&Read>, is_sure: bool) -> Call {
        let call = Call::script(task.script, record_key(&task.user))
            .number(today.day.0)
            .number(today.swept.0)
            .arg(style_name(self.style))
            .arg(text_json(task.user.as_str()));
        let call = match read {
            Some(Read { text, record }) => call
                .arg(text.clone())
                .arg(room_json(record.room))
                .arg(record.session.as_ref().map_or_else(|| b"null".to_vec(), session_json))
                .arg(study_time_json(record.study_time.as_ref())),
            None => call.arg("").arg("").arg("").arg(""),
        };
        let call = task.arguments.iter().fold(call, |call, argument| call.arg(argument));
        call.arg(if is_sure { "sure" } else { "" })
    }

    /// Runs the task; answers what followed `OK`, or `None` if the script found nobody.
    pub(super) async fn run(&self, task: &Task) -> Result<Option<Vec<Value>>> {
        let mut today = self.calendar.today().await?;
        let mut read = None;
        let mut is_sure = false;
        for _ in 0..ROUNDS_MAX {
            let call = self.call_with(task, today, read.as_ref(), is_sure);
            match told(self.servers.one(call).await.map_err(unreached)?)? {
                Told::Done(values) => return Ok(Some(values)),
                Told::Nobody => return Ok(None),
                Told::Parse(text) => {
                    let record = read_record(&task.user, &text).map_err(Error::Unreadable)?;
                    read = Some(Read { text, record });
                }
                Told::Stale(day) => {
                    today = self.calendar.catch_up(Day(day.0.saturating_sub(1))).await?;
                    is_sure = true;
                }
            }
        }
        Err(Error::Failed("the record changes faster than it can be written".to_owned()))
    }

    /// Runs the tasks, each on its own, at most [`CALLS_MAX`] at once.
    pub(super) async fn run_each(&self, tasks: &[Task]) -> Result<Vec<Result<Vec<Value>>>> {
        let mut results = Vec::with_capacity(tasks.len());
        for tasks in tasks.chunks(CALLS_MAX) {
            let today = self.calendar.today().await?;
            let calls: Vec<_> = tasks.iter().map(|task| self.call(task, today)).collect();
            let replies = self.servers.each(&calls).await.map_err(unreached)?;
            for (task, reply) in tasks.iter().zip(replies) {
                results.push(self.finish(task, reply).await);
            }
        }
        Ok(results)
    }

    /// Takes the reply to a task that was sent, or runs it again if the script asked back.
    pub(super) async fn finish(&self, task: &Task, reply: Reply) -> Result<Vec<Value>> {
        match told(reply)? {
            Told::Done(values) => Ok(values),
            Told::Nobody => Ok(Vec::new()),
            Told::Parse(_) | Told::Stale(_) => Ok(self.run(task).await?.unwrap_or_default()),
        }
    }
}

/// Reads what a script on a record said.
pub(super) fn told(reply: Reply) -> Result<Told> {
    let Value::Array(values) = reply.map_err(refusal)? else { return Err(unexpected()) };
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

/// Reads a record that a script answered: room, session and study time, each as JSON.
pub(super) fn answered_record(user: &UserId, values: &[Value]) -> Result<Record> {
    let [room, session, study_time, ..] = values else { return Err(unexpected()) };
    Ok(Record {
        user: user.clone(),
        room: room_of(room)?,
        session: word_of(session, SessionId::parse)?,
        study_time: word_of(study_time, StudyTime::parse)?,
    })
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

fn json_of<T: serde::de::DeserializeOwned>(value: &Value) -> Result<Option<T>> {
    let Value::BulkString(bytes) = value else { return Err(unexpected()) };
    serde_json::from_slice(bytes).map_err(|_| unexpected())
}

/// An answer that no script of ours gives.
pub(super) fn unexpected() -> Error {
    Error::Failed("redis gave an answer that makes no sense".to_owned())
}
