//! How figures, spans of time and colours are shown to people.

use std::io::{IsTerminal, stdout};

use clap::builder::styling::{AnsiColor, Effects, Style};
use jiff::Timestamp;

/// Columns that every line fits.
pub(super) const COLUMNS: usize = 80;

/// Whether what is shown has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Coloured,
    Plain,
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Doubtful,
    Bad,
    Heading,
}

impl Paint {
    /// Colours for a terminal, unless `NO_COLOR` is set to anything, or the terminal has none.
    pub(super) fn for_output() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    pub(super) fn put(self, tone: Tone, text: &str) -> String {
        let style = match (self, tone) {
            (Self::Plain, _) => return text.to_owned(),
            (Self::Coloured, Tone::Good) => AnsiColor::Green.on_default(),
            (Self::Coloured, Tone::Doubtful) => AnsiColor::Yellow.on_default(),
            (Self::Coloured, Tone::Bad) => AnsiColor::Red.on_default(),
            (Self::Coloured, Tone::Heading) => Style::new().effects(Effects::BOLD),
        };
        format!("{style}{text}{style:#}")
    }
}

/// `1,234,567`, or `-` for what is not known.
pub(super) fn count(number: Option<u64>) -> String {
    let Some(number) = number else { return "-".to_owned() };
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `3.4 MiB`, or `-` for what is not known.
pub(super) fn bytes(number: Option<u64>) -> String {
    let Some(number) = number else { return "-".to_owned() };
    let mut rest = number as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if rest < 1024.0 {
            return if unit == "B" { format!("{number} B") } else { format!("{rest:.1} {unit}") };
        }
        rest /= 1024.0;
    }
    format!("{rest:.1} PiB")
}

/// The two largest units of a span: `3d 4h`, `12s`.
pub(super) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        (_, _, _) => format!("{days}d {hours}h"),
    }
}

/// From one moment to another, as [`span`]; `-` if the first is not known.
pub(super) fn since(moment: Option<Timestamp>, now: Timestamp) -> String {
    moment.map_or_else(|| "-".to_owned(), |moment| span(now.as_second() - moment.as_second()))
}

/// `2026-11-20T05:00:12Z`, or `-` for what is not known.
pub(super) fn moment(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A text in no more than so many columns.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept = text.chars().take(columns.saturating_sub(1)).collect::<String>();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_as_people_read_them() {
        let counted = [0, 999, 1000, 1_234_567].map(|number| count(Some(number)));
        assert_eq!(counted, ["0", "999", "1,000", "1,234,567"]);
        let sizes = [0, 1023, 1024, 1536 << 20, u64::MAX].map(|number| bytes(Some(number)));
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 GiB", "16384.0 PiB"]);
        let spans = [-5, 0, 59, 61, 3_600, 90_061].map(span);
        assert_eq!(spans, ["0s", "0s", "59s", "1m 1s", "1h 0m", "1d 1h"]);
        assert_eq!((count(None), bytes(None), moment(None)), ("-".into(), "-".into(), "-".into()));
        let moments = "2026-11-20T05:00:12.345Z".parse().ok();
        assert_eq!(moment(moments), "2026-11-20T05:00:12Z");
        assert_eq!((cut("abc", 3), cut("abc def", 5)), ("abc".to_owned(), "abc…".to_owned()));
    }

    #[test]
    fn plain_is_plain() {
        assert_eq!(Paint::Plain.put(Tone::Bad, "down"), "down");
        assert_eq!(Paint::Coloured.put(Tone::Bad, "down"), "\u{1b}[31mdown\u{1b}[0m");
    }
}
