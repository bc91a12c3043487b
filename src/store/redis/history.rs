//! What is remembered of closed days, in fields of the night's hash: written by the scripts that
//! close and deliver them, in the same step.

use std::collections::HashSet;

use redis::Value;

use super::call::Call;
use super::pairs_of;
use super::records::Records;
use super::script::COUNT_BATCH;
use super::stored::NIGHT_KEY;
use crate::domain::{Day, UnixMillis};
use crate::store::Result;
use crate::store::night::{Batch, ClosedBy, ClosedDay, NIGHTS_KEPT, PastNight};

impl Records {
    pub(super) async fn night_history(&self, limit: usize) -> Result<Vec<PastNight>> {
        self.calendar.today().await?;
        let call = Call::command("HGETALL", NIGHT_KEY);
        let value = self.servers.own(call).await?;
        let mut nights = read_history(&value);
        nights.truncate(limit.min(NIGHTS_KEPT));
        Ok(nights)
    }

    /// Counts a frame that auth acknowledged; once, however often it is done.
    pub(super) async fn count_batch(&self, batch: &Batch) -> Result<()> {
        let today = self.calendar.today().await?;
        let call = Call::script(&COUNT_BATCH, NIGHT_KEY)
            .number(today.day.0)
            .number(batch.closed.day.0)
            .arg(batch.id.as_str())
            .number(batch.users.len());
        self.servers.own(call).await?;
        Ok(())
    }
}

/// Reads the nights from their hash, the newest first. What can't be read is passed over.
pub(super) fn read_history(value: &Value) -> Vec<PastNight> {
    let fields = pairs_of(value);
    let undelivered: HashSet<Day> =
        fields.iter().filter_map(|(field, _)| day_in(field, "closed:")).collect();
    let set_back: HashSet<Day> =
        fields.iter().filter_map(|(field, _)| day_in(field, "set_back:")).collect();
    let mut nights: Vec<_> = fields
        .iter()
        .filter_map(|(field, text)| read_night(day_in(field, "past:")?, text))
        .map(|night| match undelivered.contains(&night.closed.day) {
            // Also a delivered day of which a late record was found: it is told once more.
            true => PastNight { delivered_at: None, ..night },
            false => night,
        })
        .map(|night| PastNight { is_set_back: set_back.contains(&night.closed.day), ..night })
        .collect();
    nights.sort_by_key(|night| std::cmp::Reverse(night.closed.day));
    nights
}

fn day_in(field: &str, prefix: &str) -> Option<Day> {
    field.strip_prefix(prefix)?.parse().ok().map(Day)
}

fn read_night(day: Day, text: &str) -> Option<PastNight> {
    let mut words = text.split(' ');
    let closed_at = UnixMillis(words.next()?.parse().ok()?);
    let closed_by = ClosedBy::named(words.next()?)?;
    let users = words.next()?.parse().ok()?;
    let frames = words.next()?.parse().ok()?;
    let delivered_at = words.next()?.parse().ok().map(UnixMillis);
    let night = PastNight::new(ClosedDay { day, closed_at }, closed_by);
    Some(PastNight { users, frames, delivered_at, ..night })
}
