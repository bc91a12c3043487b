//! A daemon's status as one screen of text.

use jiff::{SignedDuration, Timestamp};

use super::rates::Rates;
use crate::cli::api::Part;
use crate::cli::night;
use crate::cli::screen::{COLUMNS, Paint, Tone, bytes, count, cut, moment, since, span};

/// What the lines are made of.
struct Page<'a> {
    status: Part<'a>,
    rates: Option<Rates>,
    paint: Paint,
    /// By the daemon's clock.
    now: Timestamp,
    lines: Vec<String>,
}

pub(super) fn render(status: Part<'_>, rates: Option<Rates>, paint: Paint) -> String {
    let mut page = Page { status, rates, paint, now: now(status), lines: Vec::new() };
    page.head();
    page.dependencies();
    page.load();
    page.population();
    page.gateways();
    page.night();
    page.configuration();
    page.lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The daemon's clock may go otherwise than the one here.
fn now(status: Part<'_>) -> Timestamp {
    let uptime = status.get("uptime_seconds").number().and_then(|uptime| uptime.try_into().ok());
    let theirs = status
        .get("started_at")
        .moment()
        .zip(uptime)
        .and_then(|(start, uptime)| start.checked_add(SignedDuration::from_secs(uptime)).ok());
    theirs.unwrap_or_else(Timestamp::now)
}

impl Page<'_> {
    fn heading(&mut self, text: &str) {
        self.lines.push(String::new());
        self.lines.push(self.paint.put(Tone::Heading, text));
    }

    fn head(&mut self) {
        let known = |name: &str| self.status.get(name).text().unwrap_or_else(|| "-".to_owned());
        let (version, commit) = (known("version"), known("commit"));
        let uptime = since(self.status.get("started_at").moment(), self.now);
        let start = moment(self.status.get("started_at").moment());
        let line = format!("stated {version} ({commit}), up {uptime}, since {start}");
        self.lines.push(cut(&line, COLUMNS));
    }

    fn dependencies(&mut self) {
        let readiness = self.status.get("readiness");
        let is_stopping = readiness.get("stopping").is_true();
        let status = readiness.get("status").text().unwrap_or_else(|| "-".to_owned());
        let tone = match status.as_str() {
            "ready" => Tone::Good,
            "degraded" => Tone::Doubtful,
            _ => Tone::Bad,
        };
        let painted = self.paint.put(tone, &status);
        self.heading("health");
        self.lines.push(format!("  {painted}{}", if is_stopping { ", stopping" } else { "" }));
        for one in readiness.get("dependencies").items() {
            let name = one.get("name").text().unwrap_or_default();
            let state = one.get("state").text().unwrap_or_default();
            let tone = match state.as_str() {
                "up" => Tone::Good,
                "down" => Tone::Bad,
                _ => Tone::Doubtful,
            };
            let state = self.paint.put(tone, &format!("{state:<8}"));
            let since = since(one.get("since").moment(), self.now);
            let error = cut(&one.get("error").text().unwrap_or_default(), COLUMNS - 36);
            self.lines.push(format!("  {name:<12}{state}for {since:<10}{error}"));
        }
        for one in readiness.get("certificates").items() {
            let (key, error) = (one.get("key").text(), one.get("error").text());
            let (key, error) = (key.unwrap_or_default(), error.unwrap_or_default());
            let error = cut(&error, COLUMNS.saturating_sub(3 + key.chars().count()));
            self.lines.push(format!("  {} {error}", self.paint.put(Tone::Bad, &key)));
        }
    }

    fn load(&mut self) {
        let load = self.status.get("load");
        let number = |name: &str| load.get(name).number();
        let with_rate = |value: String, rate: Option<String>| match rate {
            Some(rate) => format!("{value} ({rate}/s)"),
            None => value,
        };
        let counted = |name: &str, rate: fn(&Rates) -> Option<u64>| {
            let rate = self.rates.as_ref().map(|rates| count(rate(rates)));
            with_rate(count(number(name)), rate)
        };
        let sized = |name: &str, rate: fn(&Rates) -> Option<u64>| {
            let rate = self.rates.as_ref().map(|rates| bytes(rate(rates)));
            with_rate(bytes(number(name)), rate)
        };
        let (connections, most) = (number("connections"), number("connections_max"));
        let connections = format!("{} of {}", count(connections), count(most));
        let pairs = [
            ("connections", connections, "in flight", count(number("in_flight"))),
            (
                "answered",
                counted("requests_answered", |rates| rates.answered),
                "errors",
                counted("requests_failed", |rates| rates.failed),
            ),
            (
                "received",
                sized("received_bytes", |rates| rates.received_bytes),
                "sent",
                sized("sent_bytes", |rates| rates.sent_bytes),
            ),
        ];
        self.heading("load");
        for (left, value, right, other) in pairs {
            self.lines.push(format!("  {left:<12}{value:<28}{right:<11}{other}"));
        }
    }

    fn population(&mut self) {
        let population = self.status.get("population");
        let number = |name: &str| count(population.get(name).number());
        let (users, sessions, rooms) = (number("users"), number("sessions_live"), number("rooms"));
        let as_of = population.get("as_of").moment();
        let age = as_of.map(|at| format!(", {} ago", since(Some(at), self.now)));
        self.heading(&format!("population{}", age.unwrap_or_default()));
        self.lines.push(format!("  users {users}, live sessions {sessions}, rooms {rooms}"));
    }

    fn gateways(&mut self) {
        self.heading("gateways    state   in use  idle    of  waiting     calls    failed  queued");
        for gateway in self.status.get("gateways").items() {
            let number = |name: &str| count(gateway.get(name).number());
            let name = gateway.get("name").text().unwrap_or_default();
            let state = gateway.get("state").text().unwrap_or_default();
            let (good, failed) = calls(gateway.get("calls"));
            let queue = gateway.get("queue");
            let queued =
                if queue.is_there() { count(queue.get("length").number()) } else { String::new() };
            self.lines.push(format!(
                "  {name:<10}{state:<8}{:>6}{:>6}{:>6}{:>9}{:>10}{:>10}{queued:>8}",
                number("in_use"),
                number("idle"),
                number("pool_size"),
                number("waiting"),
                count(good),
                count(failed),
            ));
            if let Some(at) = gateway.get("retry_at").moment() {
                let wait = span(at.as_second() - self.now.as_second());
                self.lines.push(format!("  {:<10}next try in {wait}", ""));
            }
        }
    }

    fn night(&mut self) {
        self.heading("night");
        self.lines.extend(night::standing(self.status.get("night"), self.now));
    }

    fn configuration(&mut self) {
        let configuration = self.status.get("configuration");
        let digest = configuration.get("digest").text().unwrap_or_else(|| "-".to_owned());
        let loaded = since(configuration.get("loaded_at").moment(), self.now);
        self.heading("configuration");
        self.lines.push(format!("  {}, loaded {loaded} ago", cut(&digest, 13)));
        let needs_restart = configuration.get("needs_restart");
        let keys: Vec<_> = needs_restart.items().filter_map(Part::text).collect();
        if needs_restart.is_true() || !keys.is_empty() {
            let line = cut(&format!("a restart is needed: {}", keys.join(", ")), COLUMNS - 2);
            self.lines
                .push(format!("  {}", self.paint.put(Tone::Doubtful, line.trim_end_matches(": "))));
        }
    }
}

/// Calls that were answered, and all others.
fn calls(calls: Part<'_>) -> (Option<u64>, Option<u64>) {
    let good = calls.get("ok").number();
    let failed = calls.members().filter(|(name, _)| *name != "ok").map(|(_, one)| one.number());
    (good, failed.sum::<Option<u64>>().filter(|_| calls.is_there()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::api::Answer;

    fn shown(document: &str, rates: Option<Rates>) -> String {
        render(Answer::parse(document.as_bytes()).unwrap().part(), rates, Paint::Plain)
    }

    const WHOLE: &str = r#"{
        "version": "0.1.0", "commit": "abcdef123456",
        "started_at": "2026-11-19T20:00:00Z", "uptime_seconds": 90061,
        "readiness": {"status": "degraded", "stopping": false, "dependencies": [
            {"name": "store", "required": true, "state": "up", "since": "2026-11-19T20:00:01Z",
             "error": null},
            {"name": "room", "required": false, "state": "down", "since": "2026-11-20T21:00:49Z",
             "error": "no connection to room could be made: connection refused by 127.0.0.1:8089"}],
            "certificates": [{"key": "gateways.signaling.tls.cert",
             "error": "ended at 2026-11-19T12:00:00Z: whoever checks it refuses it"}]},
        "load": {"connections": 123, "connections_max": 10000, "in_flight": 4,
            "requests_answered": 1234567, "requests_failed": 12,
            "received_bytes": 1536, "sent_bytes": 1572864},
        "population": {"users": 12345, "sessions_live": 1234, "rooms": 56,
            "as_of": "2026-11-20T20:01:01Z"},
        "gateways": [
            {"name": "room", "address": "127.0.0.1:8089", "state": "down", "in_use": 0, "idle": 3,
             "waiting": 1, "pool_size": 16, "retry_at": "2026-11-20T21:01:04Z",
             "calls": {"ok": 1000, "timeout": 2, "refused": 1}, "queue": {"length": 7}},
            {"name": "auth", "state": "up", "in_use": 0, "idle": 0, "waiting": 0, "pool_size": 16,
             "retry_at": null, "calls": {"ok": 1}, "queue": null}],
        "night": {"day": 6, "listed_at": null, "delivering": null,
            "undelivered": [{"day": 5, "date": "2026-11-20", "closed_at": "2026-11-20T20:00:00Z"}]},
        "configuration": {"digest": "0123456789abcdef0123", "loaded_at": "2026-11-20T21:00:00Z",
            "needs_restart": ["listen", "store.url"]},
        "something": {"newer": [1, 2, 3]}
    }"#;

    #[test]
    fn everything_is_on_one_screen() {
        let rates = Rates {
            answered: Some(1000),
            failed: Some(0),
            received_bytes: Some(2048),
            sent_bytes: None,
        };
        let expected = "\
stated 0.1.0 (abcdef123456), up 1d 1h, since 2026-11-19T20:00:00Z

health
  degraded
  store       up      for 1d 1h
  room        down    for 12s       no connection to room could be made: connec…
  gateways.signaling.tls.cert ended at 2026-11-19T12:00:00Z: whoever checks it…

load
  connections 123 of 10,000               in flight  4
  answered    1,234,567 (1,000/s)         errors     12 (0/s)
  received    1.5 KiB (2.0 KiB/s)         sent       1.5 MiB (-/s)

population, 1h 0m ago
  users 12,345, live sessions 1,234, rooms 56

gateways    state   in use  idle    of  waiting     calls    failed  queued
  room      down         0     3    16        1     1,000         3       7
            next try in 3s
  auth      up           0     0    16        0         1         0

night
  day 6 runs
  day 5 of 2026-11-20 was closed 1h 1m ago and is not delivered yet

configuration
  0123456789ab…, loaded 1m 1s ago
  a restart is needed: listen, store.url
";
        let page = shown(WHOLE, Some(rates));
        assert_eq!(page, expected);
        assert!(page.lines().all(|line| line.chars().count() <= COLUMNS));
        assert!(page.lines().count() <= 33, "more than a screen");
    }

    #[test]
    fn what_a_daemon_does_not_say_is_not_shown_and_breaks_nothing() {
        for document in ["{}", "[]", r#"{"readiness": 3, "load": [], "gateways": {"room": 1}}"#] {
            let page = shown(document, None);
            assert!(page.contains("  connections - of -"), "{page}");
            assert!(page.contains("users -, live sessions -, rooms -"), "{page}");
        }
    }
}
