//! The night as it is stored, and closing a day: one write, whatever the number of users.

use std::time::Duration;

use redis::Value;

use super::call::Call;
use super::format::{self, FORMAT_FIELD};
use super::records::{Records, Task, unexpected};
use super::script::{BEGIN_LISTING, CLOSE_DAY, CLOSE_OVERDUE_DAY, Script};
use super::stored::NIGHT_KEY;
use super::{midway, new_operation, pairs_of, text_of};
use crate::crash::{self, Point};
use crate::domain::{Day, UnixMillis, UserTime};
use crate::store::night::{ClosedBy, ClosedDay, NIGHTS_KEPT, Night};
use crate::store::state::last_of_each_user;
use crate::store::{Error, Result};

/// The night's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredNight {
    pub(super) night: Night,
    /// The first day that is not wholly sealed, if any day was ever closed.
    pub(super) swept: Option<Day>,
    /// The mark of the format, if there is one.
    format: Option<String>,
}

/// Why a day may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Somebody says so.
    By(ClosedBy),
    /// Its latest listing is older than that.
    Overdue(Duration),
}

/// Reads the night's hash. What is not ours or can't be read is passed over.
pub(super) fn read_night(value: &Value) -> StoredNight {
    let mut night = Night { day: Day::FIRST, listed_at: None, undelivered: Vec::new() };
    let (mut swept, mut format) = (None, None);
    for (field, value) in pairs_of(value) {
        if field == FORMAT_FIELD {
            format = Some(value);
            continue;
        }
        let Ok(number) = value.parse::<u64>() else { continue };
        match field.as_str() {
            "day" => night.day = Day(number),
            "swept" => swept = Some(Day(number)),
            "listed_at" => night.listed_at = Some(UnixMillis(number)),
            _ => {
                let day = field.strip_prefix("closed:").and_then(|day| day.parse().ok());
                let closed_at = UnixMillis(number);
                night.undelivered.extend(day.map(|day| ClosedDay { day: Day(day), closed_at }));
            }
        }
    }
    night.undelivered.sort_by_key(|closed| closed.day);
    StoredNight { night, swept, format }
}

impl Records {
    pub(super) async fn night(&self) -> Result<StoredNight> {
        let call = Call::command("HGETALL", NIGHT_KEY);
        let value = self.servers.own(call).await?;
        let night = read_night(&value);
        format::check(night.format.as_deref())?;
        Ok(night)
    }

    pub(super) async fn list_study_times(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<()> {
        self.begin_listing(at, last_timeout).await?;
        crash::point(Point::ListingBegun);
        self.list(entries).await.map_err(midway)
    }

    /// Closes the day even if a listed record can't be read. Everybody else's day must end, and the
    /// listing comes only once: that user's time is lost to it however often it is tried, and the
    /// caller is told whose. After any other failure the day stays open: its night closes by itself.
    pub(super) async fn close_day(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Day> {
        self.begin_listing(at, last_timeout).await?;
        let listed = self.list(entries).await.map_err(midway);
        if let Err(Error::Away(_) | Error::Slow(_) | Error::Failed(_)) = listed {
            return listed.map(|()| Day::FIRST);
        }
        crash::point(Point::ListedBeforeClose);
        let closed = self
            .end_day(&CLOSE_DAY, at, Ending::By(ClosedBy::Last))
            .await
            .map_err(midway)?
            .ok_or_else(unexpected)?;
        listed.map(|()| closed)
    }

    /// The night that was listing is over with it, overdue or not.
    pub(super) async fn close_day_by_hand(&self, at: UnixMillis) -> Result<Day> {
        let by_hand = Ending::By(ClosedBy::Operator);
        self.end_day(&CLOSE_DAY, at, by_hand).await?.ok_or_else(unexpected)
    }

    pub(super) async fn close_overdue_day(
        &self,
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Option<Day>> {
        self.end_day(&CLOSE_OVERDUE_DAY, at, Ending::Overdue(last_timeout)).await
    }

    /// Marks the night as begun before anything is listed: whatever happens then, it will close.
    async fn begin_listing(&self, at: UnixMillis, last_timeout: Duration) -> Result<()> {
        self.end_day(&BEGIN_LISTING, at, Ending::Overdue(last_timeout)).await.map(|_| ())
    }

    /// Runs a script that may end the day. Other daemons work with that day until
    /// [`Calendar::settled`](super::calendar::Calendar::settled): nobody is told before.
    async fn end_day(
        &self,
        script: &'static Script,
        at: UnixMillis,
        ending: Ending,
    ) -> Result<Option<Day>> {
        let (last_timeout, by) = match ending {
            Ending::By(by) => (Duration::ZERO, by),
            Ending::Overdue(last_timeout) => (last_timeout, ClosedBy::Timeout),
        };
        let today = self.calendar.today().await?;
        let call = Call::script(script, NIGHT_KEY)
            .number(today.day.0)
            .number(at.0)
            .arg(new_operation())
            .number(last_timeout.as_millis())
            .number(NIGHTS_KEPT)
            .arg(by.name());
        let closed = self.servers.own(call).await?;
        let closed = text_of(&closed).ok_or_else(unexpected)?;
        if closed.is_empty() {
            return Ok(None);
        }
        let day = Day(closed.parse().map_err(|_| unexpected())?);
        self.calendar.heard_of(day.next());
        Ok(Some(day))
    }

    /// Every entry is written that can be. Then the first failure is told, a record that can't be
    /// read last: whatever else failed may succeed if it is done again.
    async fn list(&self, entries: &[UserTime]) -> Result<()> {
        let operation = new_operation();
        let tasks: Vec<_> = last_of_each_user(entries)
            .into_iter()
            .map(|entry| {
                let study_time = entry.study_time.as_ref();
                let task = Task::new("list", &entry.user);
                task.with(|words| words.with_study_time(study_time).with(&operation))
            })
            .collect();
        let results = self.run_each(&tasks).await?;
        let mut unreadable = None;
        for (task, result) in tasks.iter().zip(results) {
            match result {
                Ok(_) => {}
                Err(Error::Unreadable(why)) => {
                    unreadable.get_or_insert_with(|| format!("{}: {why}", task.user));
                }
                Err(error @ (Error::Away(_) | Error::Slow(_) | Error::Failed(_))) => {
                    return Err(error);
                }
            }
        }
        unreadable.map_or(Ok(()), |why| Err(Error::Unreadable(why)))
    }
}
