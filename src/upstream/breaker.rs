//! When a peer that could not be reached is tried again: the back-off, which is the breaker too.

use std::time::Duration;

use tokio::time::Instant;

use super::connect::ConnectFailure;

/// The first pause after a connect that failed at once, as a refused one does. It is short: what
/// fails in microseconds may be asked often, and a peer that restarts is found again quickly.
const QUICK_PAUSE_FIRST: Duration = Duration::from_millis(10);
/// The longest pause between connects that fail at once.
const QUICK_PAUSE_MAX: Duration = Duration::from_millis(100);
/// The first pause after a connect that timed out.
const SLOW_PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The longest pause between connects that time out: it keeps a black-holed peer from costing
/// each caller the connect timeout.
const SLOW_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Whether a connection may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Any number.
    Closed,
    /// One, to see whether the peer is back.
    HalfOpen,
    /// None before `retry_at`.
    Open {
        /// When the next attempt may start.
        retry_at: Instant,
        /// Why the last one failed.
        cause: ConnectFailure,
    },
}

/// What the latest attempts to connect say about the peer. Replies that do not come say nothing:
/// silence is how signaling answers for a user who is not connected to it.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    cause: ConnectFailure,
    /// Failures in a row at the same pace, at least 1.
    in_a_row: u32,
    /// Failures since the peer was last reached.
    failures: u64,
    failed_at: Instant,
    retry_at: Instant,
}

impl Breaker {
    pub(super) fn stand(&self, now: Instant) -> Stand {
        match &self.failing {
            None => Stand::Closed,
            Some(failing) if now >= failing.retry_at => Stand::HalfOpen,
            Some(failing) => Stand::Open { retry_at: failing.retry_at, cause: failing.cause },
        }
    }

    /// Whether the latest attempt failed, and took its time to.
    pub(super) fn is_met_with_silence(&self) -> bool {
        self.failing.as_ref().is_some_and(|failing| failing.cause.is_slow())
    }

    /// A connection was made. That proves little if the last one was closed at once: then what is
    /// said on it has to come through first. Returns how many attempts failed before it.
    pub(super) fn connected(&mut self) -> u64 {
        match &self.failing {
            Some(failing) if failing.cause == ConnectFailure::HungUp => 0,
            Some(_) | None => self.succeeded(),
        }
    }

    /// The peer took a message. Returns how many attempts failed before it.
    pub(super) fn succeeded(&mut self) -> u64 {
        self.failing.take().map_or(0, |failing| failing.failures)
    }

    /// An attempt begun at `started` failed. Returns how many failed in a row, itself included.
    pub(super) fn failed(&mut self, cause: ConnectFailure, started: Instant, now: Instant) -> u64 {
        let before = self.failing.as_ref();
        let failures = before.map_or(0, |failing| failing.failures) + 1;
        let in_a_row = match before {
            Some(failing) if failing.cause.is_slow() != cause.is_slow() => 1,
            // Attempts made side by side fail side by side: together they are one failure.
            Some(failing) if started < failing.failed_at => failing.in_a_row,
            Some(failing) => failing.in_a_row.saturating_add(1),
            None => 1,
        };
        let retry_at = now + jittered(pause(cause, in_a_row));
        self.failing = Some(Failing { cause, in_a_row, failures, failed_at: now, retry_at });
        failures
    }
}

fn pause(cause: ConnectFailure, in_a_row: u32) -> Duration {
    let (first, max) = if cause.is_slow() {
        (SLOW_PAUSE_FIRST, SLOW_PAUSE_MAX)
    } else {
        (QUICK_PAUSE_FIRST, QUICK_PAUSE_MAX)
    };
    let doublings = in_a_row.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(max)
}

/// Between half of `pause` and all of it, so that a fleet of daemons does not knock in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    const REFUSED: ConnectFailure = ConnectFailure::Io(ErrorKind::ConnectionRefused);

    /// The pauses after each of `attempts` failures, each attempt begun when the pause was over.
    fn pauses(cause: ConnectFailure, attempts: usize) -> Vec<Duration> {
        let mut breaker = Breaker::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..attempts {
            breaker.failed(cause, now, now);
            let Stand::Open { retry_at, .. } = breaker.stand(now) else { panic!("not open") };
            assert_eq!(breaker.stand(retry_at), Stand::HalfOpen);
            pauses.push(retry_at - now);
            now = retry_at;
        }
        pauses
    }

    fn check_pauses(cause: ConnectFailure, expected_ms: &[u64]) {
        for (pause, expected) in pauses(cause, expected_ms.len()).iter().zip(expected_ms) {
            let expected = Duration::from_millis(*expected);
            assert!(*pause >= expected / 2 && *pause <= expected, "{pause:?} of {expected:?}");
        }
    }

    #[test]
    fn a_refusing_peer_is_tried_again_within_100_ms() {
        check_pauses(REFUSED, &[10, 20, 40, 80, 100, 100, 100]);
    }

    #[test]
    fn a_black_holed_peer_is_tried_again_every_two_seconds() {
        check_pauses(ConnectFailure::TimedOut, &[200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn attempts_that_fail_side_by_side_count_once() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        for at in 0..10 {
            let failures = breaker.failed(REFUSED, now, now + Duration::from_micros(at + 1));
            assert_eq!(failures, at + 1);
        }
        let soon = now + Duration::from_micros(10) + QUICK_PAUSE_FIRST;
        assert_eq!(breaker.stand(soon), Stand::HalfOpen);
    }

    #[test]
    fn a_peer_that_hangs_up_at_once_has_to_take_a_message_first() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        breaker.failed(ConnectFailure::HungUp, now, now);
        assert_eq!(breaker.connected(), 0);
        assert_ne!(breaker.stand(now), Stand::Closed);
        assert_eq!(breaker.succeeded(), 1);
        breaker.failed(REFUSED, now, now);
        assert_eq!(breaker.connected(), 1);
    }

    #[test]
    fn a_success_forgets_all_failures() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        assert_eq!(breaker.stand(now), Stand::Closed);
        breaker.failed(REFUSED, now, now);
        breaker.failed(REFUSED, now, now);
        assert_eq!(breaker.succeeded(), 2);
        assert_eq!(breaker.stand(now), Stand::Closed);
        assert_eq!(breaker.succeeded(), 0);
        assert_eq!(breaker.failed(REFUSED, now, now), 1);
    }
}
