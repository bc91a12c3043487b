//! How records and sessions stand, read without a script and without touching anything.

use redis::Value;

use super::calendar::Today;
use super::call::{Call, Reply};
use super::records::{CALLS_MAX, Records, unexpected};
use super::stored::{field_names, number_of, read_record, record_key, session_json, session_key};
use super::{refusal, unreached};
use crate::config::FieldStyle;
use crate::domain::{Day, Record, SessionId, UserId};
use crate::store::{Error, Result};

/// Bytes before the session in a record's note of who closed it: an operation's id and a colon.
const CLOSED_BY_BYTES: usize = 17;

/// A user's record, read.
pub(super) struct Read {
    /// The record as it reads today.
    pub(super) record: Record,
    /// The session in it, unless it was closed.
    pub(super) open: Option<SessionId>,
}

/// Where a session leads.
pub(super) enum Standing {
    /// There is no index: it resolves to nobody.
    Nobody,
    /// To this record, and it is the record's live session.
    Live(Record),
    /// The index leads to a user whose record does not have it as its live session.
    Leftover(UserId),
    /// The index or the record behind it can't be read.
    Unreadable(String),
}

/// Where an index leads.
pub(super) enum Owner {
    Nobody,
    User(UserId),
    Unreadable(String),
}

impl Records {
    /// Each user's record, or why it can't be read.
    pub(super) async fn read_each(&self, users: &[UserId]) -> Result<Vec<Result<Option<Read>>>> {
        let [own, other] = field_names(self.style);
        let today = self.calendar.today().await?;
        let call = |user: &UserId| {
            Call::command("HMGET", record_key(user)).arg(own).arg(other).arg("day").arg("closed")
        };
        let replies = self.ask_each(users.iter().map(call).collect()).await?;
        Ok(users.iter().zip(replies).map(|(user, reply)| read(user, reply, today)).collect())
    }

    /// Where each session leads.
    pub(super) async fn standing_of_each(&self, sessions: &[SessionId]) -> Result<Vec<Standing>> {
        let owners = self.owner_of_each(sessions).await?;
        let users = owners.iter().filter_map(|owner| match owner {
            Owner::User(user) => Some(user.clone()),
            Owner::Nobody | Owner::Unreadable(_) => None,
        });
        let mut reads = self.read_each(&users.collect::<Vec<_>>()).await?.into_iter();
        let standings = sessions.iter().zip(owners).map(|(session, owner)| match owner {
            Owner::Nobody => Standing::Nobody,
            Owner::Unreadable(why) => Standing::Unreadable(why),
            Owner::User(user) => standing(session, user, reads.next()),
        });
        Ok(standings.collect())
    }

    /// Where the index of each session leads.
    pub(super) async fn owner_of_each(&self, sessions: &[SessionId]) -> Result<Vec<Owner>> {
        let call = |session: &SessionId| Call::command("GET", session_key(session));
        let replies = self.ask_each(sessions.iter().map(call).collect()).await?;
        Ok(replies.into_iter().map(owner).collect())
    }

    /// Makes the calls in any order, at most [`CALLS_MAX`] at once.
    pub(super) async fn ask_each(&self, mut calls: Vec<Call>) -> Result<Vec<Reply>> {
        let mut replies = Vec::with_capacity(calls.len());
        while !calls.is_empty() {
            let later = calls.split_off(calls.len().min(CALLS_MAX));
            replies.extend(self.servers.each(calls).await.map_err(unreached)?);
            calls = later;
        }
        Ok(replies)
    }
}

fn read(user: &UserId, reply: Reply, today: Today) -> Result<Option<Read>> {
    let Value::Array(values) = reply.map_err(refusal)? else { return Ok(None) };
    let [own, other, day, closed] = values.as_slice() else { return Ok(None) };
    let ((Value::BulkString(text), _) | (_, Value::BulkString(text))) = (own, other) else {
        return Ok(None);
    };
    let mut record = read_record(user, text).map_err(Error::Unreadable)?;
    let day = number_of(day).map_or(today.swept, Day);
    if day < today.day {
        record.study_time = None;
    }
    let open = open_session_of(&record, closed);
    Ok(Some(Read { record, open }))
}

/// The record's session, unless it was closed, given the note of who closed which.
fn open_session_of(record: &Record, closed: &Value) -> Option<SessionId> {
    let closed = if let Value::BulkString(closed) = closed { closed.as_slice() } else { &[] };
    let closed = closed.get(CLOSED_BY_BYTES..).unwrap_or_default();
    record.session.clone().filter(|session| closed.is_empty() || session_json(session) != closed)
}

/// Asks for what [`is_held`] looks at.
pub(super) fn hold_call(user: &UserId, style: FieldStyle) -> Call {
    let [own, other] = field_names(style);
    Call::command("HMGET", record_key(user)).arg(own).arg(other).arg("closed")
}

/// Whether the record names the session, and has not closed it.
pub(super) fn is_held(user: &UserId, session: &SessionId, reply: Reply) -> Result<bool> {
    let Value::Array(values) = reply.map_err(refusal)? else { return Err(unexpected()) };
    let [own, other, closed] = values.as_slice() else { return Err(unexpected()) };
    let ((Value::BulkString(text), _) | (_, Value::BulkString(text))) = (own, other) else {
        return Ok(false);
    };
    let record = read_record(user, text).map_err(Error::Unreadable)?;
    Ok(open_session_of(&record, closed).as_ref() == Some(session))
}

fn owner(reply: Reply) -> Owner {
    match reply {
        Ok(Value::BulkString(id)) => {
            let user = std::str::from_utf8(&id).ok().and_then(|id| UserId::parse(id).ok());
            user.map_or_else(
                || Owner::Unreadable("its index names no user".to_owned()),
                Owner::User,
            )
        }
        Ok(_) => Owner::Nobody,
        Err(error) => Owner::Unreadable(refusal(error).to_string()),
    }
}

fn standing(session: &SessionId, user: UserId, read: Option<Result<Option<Read>>>) -> Standing {
    match read {
        Some(Ok(Some(Read { record, open }))) if open.as_ref() == Some(session) => {
            Standing::Live(record)
        }
        Some(Ok(_)) => Standing::Leftover(user),
        Some(Err(error)) => Standing::Unreadable(error.to_string()),
        None => Standing::Unreadable("its record was not asked for".to_owned()),
    }
}
