//! What a close would tell auth: a look at the records, which changes none of them.

use super::calendar::Today;
use super::call::{Call, Reply};
use super::pairs_of;
use super::place::Place;
use super::records::{CALLS_MAX, Records};
use super::scan::{scan, user_of_key};
use super::stored::{RECORD_PREFIX, field_names, read_record, record_key};
use super::unreached;
use crate::config::FieldStyle;
use crate::domain::{Day, StudyTime, UserId, UserTime};
use crate::store::night::{PLAN_USERS_MAX, Plan};
use crate::store::state::entry::Entry;
use crate::store::{Cursor, Page, Result};

/// Steps of SCAN for one page, if what they find is nobody's record.
const STEPS_MAX: usize = 16;

impl Records {
    pub(super) async fn night_plan(&self, from: Option<Cursor>, limit: usize) -> Result<Plan> {
        let limit = limit.clamp(1, PLAN_USERS_MAX);
        let today = self.calendar.today().await?;
        let layout = self.servers.layout().await.map_err(unreached)?;
        let mut place = Place::of(from, layout.mark());
        let pattern = format!("{RECORD_PREFIX}*");
        let mut items = Vec::new();
        for _ in 0..STEPS_MAX {
            let Some(server) = layout.servers.get(place.server) else { break };
            let (scanned, keys) = scan(server, place.scanned, Some(&pattern), limit).await?;
            let users: Vec<_> = keys.iter().filter_map(|key| user_of_key(key)).collect();
            place.step_to(scanned);
            items.extend(self.planned(&users, today).await?);
            if !items.is_empty() {
                break;
            }
        }
        let is_over = place.server >= layout.servers.len();
        let next = match is_over {
            false => Some(place.cursor()),
            true if self.servers.layout().await.map_err(unreached)?.is_as(&layout) => None,
            // Something moved meanwhile, and records may have been missed.
            true => Some(Place::NOWHERE),
        };
        Ok(Plan { day: today.day, users: Page { items, next } })
    }

    /// What would be told of these users.
    async fn planned(&self, users: &[UserId], today: Today) -> Result<Vec<UserTime>> {
        let mut planned = Vec::new();
        for users in users.chunks(CALLS_MAX) {
            let calls =
                users.iter().map(|user| Call::command("HGETALL", record_key(user))).collect();
            let replies = self.servers.each(calls).await.map_err(unreached)?;
            let told = users.iter().zip(replies).filter_map(|(user, reply)| {
                let entry = read_entry(user, reply, self.style, today)?;
                let study_time = entry.told_if_closed(today.day)?.cloned();
                Some(UserTime { user: user.clone(), study_time })
            });
            planned.extend(told);
        }
        Ok(planned)
    }
}

/// A record as far as the end of a day concerns it, by the same rules as the scripts read it; `None`
/// if there is none, or if it can't be read: a close passes it over too.
fn read_entry(user: &UserId, reply: Reply, style: FieldStyle, today: Today) -> Option<Entry> {
    let fields = pairs_of(&reply.ok()?);
    let find = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, text)| text);
    let [own, other] = field_names(style);
    let mut entry = match find(own).or_else(|| find(other)) {
        Some(text) => {
            let record = read_record(user, text.as_bytes()).ok()?;
            let day = find("day").and_then(|day| day.parse().ok()).map_or(today.swept, Day);
            let mut entry = Entry::new(user.clone(), day);
            entry.study_time = record.study_time;
            entry.fresh = find("idle").is_none() || entry.study_time.is_some();
            entry
        }
        // What was set aside outlives the rest.
        None => Entry::new(user.clone(), today.day.next()),
    };
    for (field, time) in &fields {
        if let Some(day) = field.strip_prefix("sealed:").and_then(|day| day.parse().ok()) {
            entry.closed.push(Day(day), read_time(time)?);
        }
    }
    Some(entry)
}

fn read_time(json: &str) -> Option<Option<StudyTime>> {
    let text: Option<String> = serde_json::from_str(json).ok()?;
    text.map(|text| StudyTime::parse(&text)).transpose().ok()
}
