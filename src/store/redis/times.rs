//! Study times of one user.

use redis::Value;

use super::call::Call;
use super::records::{Records, Task, answered_record};
use super::stored::{field_names, number_of, read_record, record_key};
use super::{new_operation, refusal, unreached};
use crate::domain::{Day, Record, StudyTime, UserId};
use crate::store::{Error, Result};

impl Records {
    pub(super) async fn study_time(&self, user: &UserId) -> Result<Option<StudyTime>> {
        let today = self.calendar.today().await?;
        let [own, other] = field_names(self.style);
        let call = Call::command("HMGET", record_key(user)).arg(own).arg(other).arg("day");
        let reply = self.servers.one(call).await.map_err(unreached)?.map_err(refusal)?;
        let Value::Array(values) = reply else { return Ok(None) };
        let text = values
            .iter()
            .take(2)
            .find_map(|value| if let Value::BulkString(text) = value { Some(text) } else { None });
        let Some(text) = text else { return Ok(None) };
        let record = read_record(user, text).map_err(Error::Unreadable)?;
        let day = values.get(2).and_then(number_of).map_or(today.swept, Day);
        let is_closed = day < today.day;
        Ok(if is_closed { None } else { record.study_time })
    }

    pub(super) async fn record_study_time(
        &self,
        user: &UserId,
        study_time: &StudyTime,
    ) -> Result<Record> {
        let task = Task::new("record", user)
            .with(|words| words.with_study_time(Some(study_time)).with(new_operation()));
        let values = self.run(&task).await?.unwrap_or_default();
        answered_record(user, &values)
    }
}
