//! A walk over all records of all servers, page by page, which seals what it passes.

use std::collections::HashSet;

use redis::Value;

use super::call::Call;
use super::records::{Records, Task, unexpected, word_of};
use super::server::Server;
use super::servers::Layout;
use super::stored::RECORD_PREFIX;
use super::{refusal, text_of, unreached};
use crate::domain::{Day, StudyTime, UserId, UserTime};
use crate::store::{Error, Result};

/// Keys that Redis looks at for one page.
const PAGE_KEYS: usize = 1000;

/// A walk that is under way.
///
/// A cursor means something to the process that gave it out, and a key may move to another server
/// behind our back. A walk saw every record only if nothing of that kind happened meanwhile. While
/// slots are moving there is no walk at all: it would have to be made again and again.
pub(super) struct Walk {
    /// What is sealed of this day is collected.
    day: Day,
    layout: Layout,
    at: usize,
    cursor: u64,
}

/// What a page brought.
#[derive(Default)]
pub(super) struct Page {
    /// Sealed study times of the walk's day, no user twice.
    pub(super) sealed: Vec<UserTime>,
    /// Every day that has sealed study times.
    pub(super) days: HashSet<Day>,
}

/// Where a walk stands after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There are more pages.
    More,
    /// Every record was seen.
    Complete,
    /// The end is reached, and records may have been missed.
    Disturbed,
}

impl Walk {
    pub(super) fn day(&self) -> Day {
        self.day
    }

    pub(super) fn is_over(&self) -> bool {
        self.at >= self.layout.servers.len()
    }
}

impl Records {
    /// Begins a walk that collects what is sealed of `day`.
    pub(super) async fn walk(&self, day: Day) -> Result<Walk> {
        let layout = self.servers.layout().await.map_err(unreached)?;
        Ok(Walk { day, layout, at: 0, cursor: 0 })
    }

    /// Takes the next page. After an error the walk is of no more use.
    pub(super) async fn next_page(&self, walk: &mut Walk) -> Result<(Page, Progress)> {
        let Some(server) = walk.layout.servers.get(walk.at) else {
            return Ok((Page::default(), self.end_of(walk).await?));
        };
        let pattern = format!("{RECORD_PREFIX}*");
        let (cursor, keys) = scan(server, walk.cursor, Some(&pattern), PAGE_KEYS).await?;
        let users = keys.iter().filter_map(|key| user_of_key(key));
        let page = self.seal(&users.collect::<Vec<_>>(), walk.day).await?;
        if cursor == 0 {
            walk.at += 1;
        }
        walk.cursor = cursor;
        let progress = if walk.is_over() { self.end_of(walk).await? } else { Progress::More };
        Ok((page, progress))
    }

    async fn end_of(&self, walk: &Walk) -> Result<Progress> {
        let now = self.servers.layout().await.map_err(unreached)?;
        Ok(if now.is_as(&walk.layout) { Progress::Complete } else { Progress::Disturbed })
    }

    /// Seals the users' records; a record that can't be is passed over, its time stays where it is.
    async fn seal(&self, users: &[UserId], day: Day) -> Result<Page> {
        let wanted = day.0.to_string();
        let tasks: Vec<_> = users
            .iter()
            .map(|user| Task::new("seal", user).with(|words| words.with(&wanted)))
            .collect();
        let results = self.run_each(&tasks).await?;
        let mut page = Page::default();
        let mut unreadable = 0;
        for (user, result) in users.iter().zip(results) {
            match result.and_then(|values| page.take(user, &values)) {
                Ok(()) => {}
                Err(Error::Unreadable(_)) => unreadable += 1,
                Err(error @ (Error::Away(_) | Error::Slow(_) | Error::Failed(_))) => {
                    return Err(error);
                }
            }
        }
        if unreadable > 0 {
            tracing::warn!(
                records = unreadable,
                "stored records can't be read and are passed over"
            );
        }
        Ok(page)
    }
}

impl Page {
    fn take(&mut self, user: &UserId, values: &[Value]) -> Result<()> {
        let [time, days @ ..] = values else { return Err(unexpected()) };
        self.days
            .extend(days.iter().filter_map(text_of).filter_map(|day| day.parse().ok()).map(Day));
        if text_of(time).is_some_and(|time| !time.is_empty()) {
            let study_time = word_of(time, StudyTime::parse);
            let study_time = study_time.map_err(|_| Error::Unreadable("sealed time".to_owned()))?;
            self.sealed.push(UserTime { user: user.clone(), study_time });
        }
        Ok(())
    }
}

/// One step of SCAN over so many keys: the next cursor, and keys, none of them twice.
pub(super) async fn scan(
    server: &Server,
    cursor: u64,
    pattern: Option<&str>,
    count: usize,
) -> Result<(u64, Vec<String>)> {
    let call = Call::of_server("SCAN").number(cursor).arg("COUNT").number(count);
    let call = match pattern {
        Some(pattern) => call.arg("MATCH").arg(pattern),
        None => call,
    };
    let mut replies = server.send(std::slice::from_ref(&call)).await.map_err(unreached)?;
    let reply = replies.pop().ok_or_else(unexpected)?.map_err(refusal)?;
    let Value::Array(parts) = reply else { return Err(unexpected()) };
    let [cursor, Value::Array(keys)] = parts.as_slice() else { return Err(unexpected()) };
    let cursor = text_of(cursor).and_then(|cursor| cursor.parse().ok()).ok_or_else(unexpected)?;
    let mut keys: Vec<_> = keys.iter().filter_map(text_of).collect();
    keys.sort();
    keys.dedup();
    Ok((cursor, keys))
}

/// The user whose record has this key.
pub(super) fn user_of_key(key: &str) -> Option<UserId> {
    UserId::parse(key.strip_prefix(RECORD_PREFIX)?).ok()
}
