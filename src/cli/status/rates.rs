//! What happened in a second, from two looks.

use tokio::time::Instant;

use crate::cli::api::Part;

/// What only grows while a daemon runs, and when it was looked at.
#[derive(Debug)]
pub(super) struct Counters {
    at: Instant,
    answered: Option<u64>,
    failed: Option<u64>,
    received_bytes: Option<u64>,
    sent_bytes: Option<u64>,
}

/// In a second; `None` for what is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) answered: Option<u64>,
    pub(super) failed: Option<u64>,
    pub(super) received_bytes: Option<u64>,
    pub(super) sent_bytes: Option<u64>,
}

impl Counters {
    pub(super) fn of(status: Part<'_>) -> Self {
        let load = status.get("load");
        Self {
            at: Instant::now(),
            answered: load.get("requests_answered").number(),
            failed: load.get("requests_failed").number(),
            received_bytes: load.get("received_bytes").number(),
            sent_bytes: load.get("sent_bytes").number(),
        }
    }
}

impl Rates {
    /// `None` between two daemons: the second has counted less.
    pub(super) fn between(before: &Counters, now: &Counters) -> Option<Self> {
        let seconds = now.at.duration_since(before.at).as_secs_f64();
        if seconds <= 0.0 || now.answered < before.answered {
            return None;
        }
        let rate = |before: Option<u64>, now: Option<u64>| {
            let grown = now?.checked_sub(before?)?;
            Some((grown as f64 / seconds).round() as u64)
        };
        Some(Self {
            answered: rate(before.answered, now.answered),
            failed: rate(before.failed, now.failed),
            received_bytes: rate(before.received_bytes, now.received_bytes),
            sent_bytes: rate(before.sent_bytes, now.sent_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn counted(after: Duration, answered: Option<u64>, start: Instant) -> Counters {
        let at = start + after;
        Counters { at, answered, failed: Some(0), received_bytes: None, sent_bytes: answered }
    }

    #[test]
    fn a_rate_is_what_grew_in_a_second_and_a_new_daemon_has_none_yet() {
        let start = Instant::now();
        let before = counted(Duration::ZERO, Some(100), start);
        let later = Duration::from_millis(2500);
        let rates = Rates::between(&before, &counted(later, Some(1100), start)).unwrap();
        assert_eq!((rates.answered, rates.failed), (Some(400), Some(0)));
        assert_eq!((rates.received_bytes, rates.sent_bytes), (None, Some(400)));
        assert_eq!(Rates::between(&before, &counted(later, Some(99), start)), None);
        assert_eq!(Rates::between(&before, &counted(Duration::ZERO, Some(100), start)), None);
    }
}
