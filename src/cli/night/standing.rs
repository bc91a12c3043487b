//! `stated night status`: where the night stands, and the last ones.

use std::process::ExitCode;

use jiff::Timestamp;

use super::{NIGHT, StatusArgs};
use crate::cli::api::{Daemon, Error, Part};
use crate::cli::output;
use crate::cli::screen::{COLUMNS, Paint, Tone, count, cut, moment, since, span};

pub(super) async fn show(args: &StatusArgs) -> Result<ExitCode, Error> {
    let daemon = Daemon::of(&args.api)?;
    let night = daemon.get(NIGHT).await?;
    let history = daemon.get("/api/v1/night/history").await?;
    let text = if args.json {
        format!("{{\"night\":{},\"history\":{}}}\n", night.text(), history.text())
    } else {
        let mut lines = standing(night.part(), Timestamp::now());
        lines.push(String::new());
        lines.extend(past(history.part(), Paint::for_output()));
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    };
    Ok(output::print(&text))
}

/// The running day, and what is owed to auth.
pub(in crate::cli) fn standing(night: Part<'_>, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!("  day {} runs", count(night.get("day").number()))];
    if let Some(listed_at) = night.get("listed_at").moment() {
        let ago = since(Some(listed_at), now);
        lines.push(format!("  its users were listed {ago} ago; it is not closed yet"));
    }
    lines.extend(owed(night, now));
    lines.extend(under_way(night.get("delivering"), now));
    if night.get("is_current").is_there() && !night.get("is_current").is_true() {
        lines.push("  so the store said last; it does not answer now".to_owned());
    }
    lines
}

/// Each closed day, or how many there are where only that is said.
fn owed(night: Part<'_>, now: Timestamp) -> Vec<String> {
    let undelivered = night.get("undelivered");
    let days = night.get("undelivered_days").number();
    if let (false, Some(days @ 1..)) = (undelivered.is_there(), days) {
        let ago = since(night.get("oldest_closed_at").moment(), now);
        return vec![format!(
            "  closed days that are not delivered yet: {}; the oldest was closed {ago} ago",
            count(Some(days))
        )];
    }
    let mut lines = Vec::new();
    for closed in undelivered.items() {
        let day = count(closed.get("day").number());
        let date = closed.get("date").text().unwrap_or_else(|| "-".to_owned());
        let ago = since(closed.get("closed_at").moment(), now);
        lines.push(format!("  day {day} of {date} was closed {ago} ago and is not delivered yet"));
    }
    let is_said = undelivered.is_there() || days.is_some();
    if is_said && lines.is_empty() {
        lines.push("  all closed days are delivered".to_owned());
    }
    lines
}

/// The frame that auth is told, or is to be told again.
fn under_way(frame: Part<'_>, now: Timestamp) -> Option<String> {
    let day = frame.get("day").number()?;
    let (users, attempts) = (frame.get("users").number(), frame.get("attempts").number());
    let (day, users, attempts) = (count(Some(day)), count(users), count(attempts));
    let mut line = format!("  under way: day {day}, users {users}, attempt {attempts}");
    if let Some(next) = frame.get("next_attempt_at").moment() {
        line.push_str(&format!(", the next in {}", span(next.as_second() - now.as_second())));
    }
    if let Some(error) = frame.get("error").text() {
        line.push_str(&format!(": {error}"));
    }
    Some(cut(&line, COLUMNS))
}

/// One line for each of the last nights, the latest first.
fn past(history: Part<'_>, paint: Paint) -> Vec<String> {
    let head = "day  date        closed                by          users    frames  delivered";
    let mut lines = vec![paint.put(Tone::Heading, head)];
    for night in history.get("nights").items() {
        let text = |name: &str| night.get(name).text().unwrap_or_else(|| "-".to_owned());
        let delivered = match night.get("delivered_at").moment() {
            Some(at) => moment(Some(at)),
            None => paint.put(Tone::Doubtful, "not yet"),
        };
        let lost = match night.get("set_back").is_true() {
            true => paint.put(Tone::Bad, " set back"),
            false => String::new(),
        };
        lines.push(format!(
            "{:<5}{:<12}{:<22}{:<9}{:>8}{:>10}  {delivered}{lost}",
            count(night.get("day").number()),
            text("date"),
            moment(night.get("closed_at").moment()),
            text("closed_by"),
            count(night.get("users").number()),
            count(night.get("frames").number()),
        ));
    }
    if lines.len() == 1 {
        lines.push("none is known".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::api::Answer;

    fn check(night: &str, expected: &[&str]) {
        let now = "2026-11-20T21:01:00Z".parse().unwrap();
        assert_eq!(standing(Answer::parse(night.as_bytes()).unwrap().part(), now), expected);
    }

    #[test]
    fn what_is_owed_to_auth_is_said_day_by_day_or_in_all() {
        check(
            r#"{"day": 6, "undelivered": [
                {"day": 4, "date": "2026-11-19", "closed_at": "2026-11-19T20:00:00Z"},
                {"day": 5, "date": "2026-11-20", "closed_at": "2026-11-20T20:00:00Z"}]}"#,
            &[
                "  day 6 runs",
                "  day 4 of 2026-11-19 was closed 1d 1h ago and is not delivered yet",
                "  day 5 of 2026-11-20 was closed 1h 1m ago and is not delivered yet",
            ],
        );
        check(
            r#"{"day": 6, "undelivered_days": 2, "oldest_closed_at": "2026-11-19T20:00:00Z"}"#,
            &[
                "  day 6 runs",
                "  closed days that are not delivered yet: 2; the oldest was closed 1d 1h ago",
            ],
        );
        let all = "  all closed days are delivered";
        check(
            r#"{"day": 6, "undelivered_days": 0, "is_current": false}"#,
            &["  day 6 runs", all, "  so the store said last; it does not answer now"],
        );
        check(r#"{"day": 6, "undelivered": []}"#, &["  day 6 runs", all]);
        check(r#"{"day": 6, "undelivered_days": 0}"#, &["  day 6 runs", all]);
        check(
            r#"{"day": 6, "listed_at": "2026-11-20T20:59:00Z"}"#,
            &["  day 6 runs", "  its users were listed 2m 0s ago; it is not closed yet"],
        );
        check("null", &["  day - runs"]);
        check(
            r#"{"day": 6, "undelivered_days": 0, "delivering": {"day": 5, "users": 25,
                "attempts": 3, "next_attempt_at": "2026-11-20T21:01:04Z",
                "error": "auth answered REFUSED, which is no SUCCESS"}}"#,
            &[
                "  day 6 runs",
                all,
                "  under way: day 5, users 25, attempt 3, the next in 4s: auth answered REFUSED,…",
            ],
        );
    }
}
