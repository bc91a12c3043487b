//! `stated night plan`: what a close would deliver now, page by page.

use std::io;
use std::process::ExitCode;

use super::{NOT_DONE, PlanArgs};
use crate::cli::api::{Answer, Daemon, Error};
use crate::cli::output;
use crate::cli::screen::count;

/// Users of a page: the most that a daemon gives.
const PAGE_USERS: usize = 1000;

/// Over all pages so far.
#[derive(Debug, Default)]
struct Seen {
    users: u64,
    without_time: u64,
}

/// Shows each page as it comes, so that no plan is too long.
pub(super) async fn show(args: &PlanArgs) -> Result<ExitCode, Error> {
    let daemon = Daemon::of(&args.api)?;
    let mut seen = Seen::default();
    let (mut cursor, mut day) = (None, None);
    loop {
        let page = daemon.get(&path(cursor.as_deref())).await?;
        let is_first = cursor.is_none();
        let found = page.part().get("day").number();
        if !is_first && found != day {
            let day = count(day);
            output::complain(&format_args!("stated night plan: day {day} was closed meanwhile"));
            return Ok(ExitCode::from(NOT_DONE));
        }
        day = found;
        let shown = if args.json {
            json(&page, is_first, &seen)
        } else {
            lines(args, &page, is_first, &seen)
        };
        seen.count(&page);
        if let Err(error) = output::write(&shown) {
            return Ok(output::failed(&error));
        }
        let next = page.part().get("next_cursor").text();
        if next.is_none() {
            return Ok(end(args, &seen)
                .map_or_else(|error| output::failed(&error), |()| ExitCode::SUCCESS));
        }
        if next == cursor {
            return Err(Error::EndlessPages("the plan"));
        }
        cursor = next;
    }
}

fn path(cursor: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &PAGE_USERS.to_string());
    if let Some(cursor) = cursor {
        query.append_pair("cursor", cursor);
    }
    format!("/api/v1/night/plan?{}", query.finish())
}

impl Seen {
    fn count(&mut self, page: &Answer) {
        for entry in page.part().get("entries").items() {
            self.users += 1;
            self.without_time += u64::from(!entry.get("study_time").is_there());
        }
    }
}

fn lines(args: &PlanArgs, page: &Answer, is_first: bool, seen: &Seen) -> String {
    let mut text = String::new();
    if is_first {
        let day = count(page.part().get("day").number());
        text.push_str(&format!("If day {day} were closed now, auth would be told:\n\n"));
    }
    let shown_max = if args.all { u64::MAX } else { args.first };
    let left = usize::try_from(shown_max.saturating_sub(seen.users)).unwrap_or(usize::MAX);
    for entry in page.part().get("entries").items().take(left) {
        let user = entry.get("user_id").text().unwrap_or_else(|| "-".to_owned());
        let time = entry.get("study_time").text().unwrap_or_else(|| "no study time".to_owned());
        text.push_str(&format!("  {user:<40} {time}\n"));
    }
    text
}

fn json(page: &Answer, is_first: bool, seen: &Seen) -> String {
    let mut text = String::new();
    if is_first {
        text.push_str(&format!("{{\"day\":{},\"entries\":[", page.part().get("day").json()));
    }
    for (at, entry) in page.part().get("entries").items().enumerate() {
        let comma = if at > 0 || seen.users > 0 { "," } else { "" };
        text.push_str(&format!("{comma}\n{}", entry.json()));
    }
    text
}

fn end(args: &PlanArgs, seen: &Seen) -> io::Result<()> {
    if args.json {
        return output::write("\n]}\n");
    }
    let shown = if args.all { seen.users } else { seen.users.min(args.first) };
    let left = seen.users - shown;
    let more =
        if left > 0 { format!("  … and {} more\n", count(Some(left))) } else { String::new() };
    let gap = if seen.users > 0 { "\n" } else { "" };
    output::write(&format!(
        "{more}{gap}users {}, {} of them without a study time\n",
        count(Some(seen.users)),
        count(Some(seen.without_time)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_sent_as_it_came() {
        assert_eq!(path(None), "/api/v1/night/plan?limit=1000");
        assert_eq!(
            path(Some("a&b=/%가~")),
            "/api/v1/night/plan?limit=1000&cursor=a%26b%3D%2F%25%EA%B0%80%7E"
        );
    }
}
