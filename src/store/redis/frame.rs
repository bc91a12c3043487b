//! The outstanding frame as it is stored: formed before it is sent, kept until all of it is done.

use redis::Value;

use super::call::Call;
use super::records::{Records, unexpected};
use super::script::{ACKNOWLEDGE_BATCH, FORGET_BATCH, FORM_BATCH};
use super::stored::BATCH_KEY;
use super::{pairs_of, text_of};
use crate::domain::{Day, StudyTime, UnixMillis, UserId, UserTime};
use crate::store::night::{Batch, ClosedDay};
use crate::store::{KeepOnline, Result};

/// A frame, and whether auth has it.
pub(super) struct StoredBatch {
    pub(super) batch: Batch,
    /// What becomes of users who are online, once auth has acknowledged.
    pub(super) acknowledged: Option<KeepOnline>,
}

impl Records {
    pub(super) async fn outstanding_batch(&self) -> Result<Option<StoredBatch>> {
        let call = Call::command("HGETALL", BATCH_KEY);
        let value = self.servers.own(call).await?;
        read_batch(&value)
    }

    /// Makes the frame the outstanding one, unless there is one already: then that one.
    pub(super) async fn form_batch(&self, batch: &Batch) -> Result<StoredBatch> {
        let users: Vec<_> = batch
            .users
            .iter()
            .map(|entry| (entry.user.as_str(), entry.study_time.as_ref().map(StudyTime::as_str)))
            .collect();
        let users = serde_json::to_vec(&users).map_err(|_| unexpected())?;
        let call = Call::script(&FORM_BATCH, BATCH_KEY)
            .arg("id")
            .arg(batch.id.as_str())
            .arg("day")
            .number(batch.closed.day.0)
            .arg("closed_at")
            .number(batch.closed.closed_at.0)
            .arg("users")
            .arg(users);
        let value = self.servers.own(call).await?;
        read_batch(&value)?.ok_or_else(unexpected)
    }

    /// Notes that auth has the frame; answers whether it is the outstanding one.
    pub(super) async fn mark_acknowledged(&self, id: &str, keep: KeepOnline) -> Result<bool> {
        let call = Call::script(&ACKNOWLEDGE_BATCH, BATCH_KEY).arg(id).arg(keep_name(keep));
        let value = self.servers.own(call).await?;
        Ok(text_of(&value).as_deref() == Some("1"))
    }

    /// The frame is done with.
    pub(super) async fn forget_batch(&self, id: &str) -> Result<()> {
        let call = Call::script(&FORGET_BATCH, BATCH_KEY).arg(id);
        self.servers.own(call).await?;
        Ok(())
    }
}

/// What the scripts call it.
pub(super) fn keep_name(keep: KeepOnline) -> &'static str {
    match keep {
        KeepOnline::Yes => "keep",
        KeepOnline::No => "remove",
    }
}

pub(super) fn read_batch(value: &Value) -> Result<Option<StoredBatch>> {
    let mut id = None;
    let mut day = None;
    let mut closed_at = None;
    let mut users = None;
    let mut acknowledged = None;
    for (field, value) in pairs_of(value) {
        match field.as_str() {
            "id" => id = Some(value),
            "day" => day = value.parse().ok().map(Day),
            "closed_at" => closed_at = value.parse().ok().map(UnixMillis),
            "users" => users = Some(read_users(&value)?),
            "acknowledged" if value == keep_name(KeepOnline::No) => {
                acknowledged = Some(KeepOnline::No);
            }
            "acknowledged" => acknowledged = Some(KeepOnline::Yes),
            _ => {}
        }
    }
    let Some(id) = id else { return Ok(None) };
    let (Some(day), Some(closed_at), Some(users)) = (day, closed_at, users) else {
        return Err(unexpected());
    };
    let batch = Batch { id, closed: ClosedDay { day, closed_at }, users };
    Ok(Some(StoredBatch { batch, acknowledged }))
}

fn read_users(text: &str) -> Result<Vec<UserTime>> {
    let users: Vec<(String, Option<String>)> =
        serde_json::from_str(text).map_err(|_| unexpected())?;
    users
        .into_iter()
        .map(|(user, study_time)| {
            let user = UserId::parse(&user).map_err(|_| unexpected())?;
            let study_time = study_time.map(|time| StudyTime::parse(&time)).transpose();
            Ok(UserTime { user, study_time: study_time.map_err(|_| unexpected())? })
        })
        .collect()
}
