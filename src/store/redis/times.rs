//! Study times of one user.

use redis::Value;

use super::call::{Call, RECORD_STUDY_TIME};
use super::records::{Records, Task, answered_record};
use super::stored::{field_names, read_record, record_key, study_time_json};
use super::{new_operation, refusal, text_of, unreached};
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
        let day = values.get(2).and_then(text_of).and_then(|day| day.parse().ok()).map(Day);
        let is_closed = day.unwrap_or(today.swept) < today.day;
        Ok(if is_closed { None } else { record.study_time })
    }

    pub(super) async fn record_study_time(
        &self,
        user: &UserId,
        study_time: &StudyTime,
    ) -> Result<Record> {
        let arguments = vec![study_time_json(Some(study_time)), new_operation().into_bytes()];
        let task = Task::new(&RECORD_STUDY_TIME, user, arguments);
        let values = self.run(&task).await?.unwrap_or_default();
        answered_record(user, &values)
    }
}
