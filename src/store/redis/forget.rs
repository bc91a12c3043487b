//! What becomes of records once auth has their sealed times.

use redis::Value;

use super::call::Call;
use super::frame::keep_name;
use super::records::{Records, Task, noted_sessions};
use super::rooms::Seat;
use super::stored::{field_names, read_record, record_key, session_key};
use super::{text_of, unreached};
use crate::crash::{self, Point};
use crate::domain::{Day, Record, SessionId, UserId, UserTime};
use crate::store::night::Batch;
use crate::store::{Error, KeepOnline, Result};

impl Records {
    /// Forgets what auth has. Whoever finds the frame acknowledged may do this again.
    pub(super) async fn finish_batch(&self, batch: &Batch, keep: KeepOnline) -> Result<()> {
        let (records, ()) =
            tokio::try_join!(self.records_of(&batch.users), self.count_batch(batch))?;
        crash::point(Point::BatchCounted);
        let sessions: Vec<_> = records
            .iter()
            .map(|record| record.as_ref().and_then(|record| record.session.clone()))
            .collect();
        let owners = self.owners_of(&sessions).await?;
        let day = batch.closed.day.0.to_string();
        let tasks: Vec<_> = batch
            .users
            .iter()
            .zip(sessions.iter().zip(owners))
            .map(|(entry, (session, owner))| {
                let is_live = owner.as_deref() == Some(entry.user.as_str());
                Task::new("forget", &entry.user).with(|words| {
                    let words = words.with(&day).with_study_time(entry.study_time.as_ref());
                    let words = words.with_session(session.as_ref());
                    words.with(if is_live { "live" } else { "gone" }).with(keep_name(keep))
                })
            })
            .collect();
        let results = self.run_each(&tasks).await?;
        let (mut leftover, mut seats) = (Vec::new(), Vec::new());
        for ((entry, result), record) in batch.users.iter().zip(results).zip(records) {
            match result {
                Ok(sessions) => {
                    leftover.extend(noted_sessions(&sessions).map(|old| (entry.user.clone(), old)));
                    // If the record stays, nobody leaves: those are put back who are live.
                    seats.extend(record.filter(|_| !sessions.is_empty()).and_then(|record| {
                        Some(Seat { room: record.room?, session: record.session? })
                    }));
                }
                Err(Error::Unreadable(_)) => {
                    self.forget_unread(&entry.user, batch.closed.day).await?
                }
                Err(error @ (Error::Away(_) | Error::Slow(_) | Error::Failed(_))) => {
                    return Err(error);
                }
            }
        }
        crash::point(Point::TimesForgotten);
        self.remove_indexes(&leftover).await?;
        crash::point(Point::IndexesRemoved);
        seats.into_iter().for_each(|seat| self.exits.add(seat));
        self.forget_batch(&batch.id).await
    }

    /// Somebody made the record unreadable after its time was collected. Auth has the time, and
    /// the rest of the record is not ours to touch.
    async fn forget_unread(&self, user: &UserId, day: Day) -> Result<()> {
        let call = Call::command("HDEL", record_key(user)).arg(format!("sealed:{}", day.0));
        // A key of another type has no such field.
        drop(self.servers.one(call).await.map_err(unreached)?);
        Ok(())
    }

    /// Each user's record as it is stored; none if it can't be read.
    async fn records_of(&self, users: &[UserTime]) -> Result<Vec<Option<Record>>> {
        let [own, other] = field_names(self.style);
        let calls = users
            .iter()
            .map(|entry| Call::command("HMGET", record_key(&entry.user)).arg(own).arg(other))
            .collect();
        let replies = self.servers.each(calls).await.map_err(unreached)?;
        let records = users.iter().zip(replies).map(|(entry, reply)| {
            let Ok(Value::Array(values)) = reply else { return None };
            let text = values.iter().find_map(text_of)?;
            read_record(&entry.user, text.as_bytes()).ok()
        });
        Ok(records.collect())
    }

    /// Whom the index of each session leads to.
    async fn owners_of(&self, sessions: &[Option<SessionId>]) -> Result<Vec<Option<String>>> {
        let calls = sessions
            .iter()
            .flatten()
            .map(|session| Call::command("GET", session_key(session)))
            .collect();
        let replies = self.servers.each(calls).await.map_err(unreached)?;
        let mut owners = replies.into_iter().map(|reply| reply.ok().as_ref().and_then(text_of));
        Ok(sessions.iter().map(|session| session.as_ref().and_then(|_| owners.next()?)).collect())
    }
}
