//! Lets so many log lines of one cause through, so that a flood of it neither fills the disk nor
//! hides what else is wrong; what is held back is counted, and told.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::UnixMillis;
use crate::error::Code;

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines of one cause in one window, unless [`allow`] says otherwise.
const LINES_MAX: u64 = 10;

/// Of what there can be a flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Requests that are answered with this error.
    Answered(Code),
    /// Connections for which there is no place.
    TurnedAway,
    /// Connections of those to whom nothing is allowed.
    Denied,
    /// Handshakes of peers that fail.
    Handshake,
    /// Connections that can't be accepted.
    AcceptFailed,
    /// Connections to the admin server for which there is no place, or that can't be accepted.
    AdminAcceptFailed,
    /// Requests to the admin server that it refuses before anybody looks at what they ask.
    AdminRefused,
    /// A service that is called comes and goes.
    GatewayFlaps,
    /// Redis comes and goes.
    RedisFlaps,
    /// Tasks that panic.
    Panicked,
}

/// The lines of one cause.
#[derive(Debug)]
struct Throttle {
    window: AtomicU64,
    lines: AtomicU64,
    held_back: AtomicU64,
    told: AtomicU64,
}

/// One for each cause: the log is the process's, and so is its patience.
static THROTTLES: [Throttle; Cause::ALL.len()] = [const { Throttle::new() }; Cause::ALL.len()];

static LINES_ALLOWED: AtomicU64 = AtomicU64::new(LINES_MAX);

/// From now on so many lines of one cause may be written within ten seconds.
pub fn allow(lines_max: u64) {
    LINES_ALLOWED.store(lines_max, Relaxed);
}

/// Whether one more line of this cause may be written now; if not, it is counted as held back.
/// Several threads asking at the turn of a window may get a line more or less.
pub fn admits(cause: Cause) -> bool {
    let lines_max = LINES_ALLOWED.load(Relaxed);
    throttle(cause).is_some_and(|of_cause| of_cause.admits_at(UnixMillis::now(), lines_max))
}

/// Lines that were held back, by cause.
pub fn held_back() -> impl Iterator<Item = (Cause, u64)> {
    Cause::ALL.into_iter().zip(&THROTTLES).map(|(cause, of)| (cause, of.held_back.load(Relaxed)))
}

/// Tells in the log what was held back, window by window, until `stop`; what is left then, too.
pub async fn tell(stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return tell_now(),
            () = sleep(WINDOW) => tell_now(),
        }
    }
}

fn tell_now() {
    for (cause, of_cause) in Cause::ALL.into_iter().zip(&THROTTLES) {
        let held_back = of_cause.take_untold();
        if held_back > 0 {
            let cause = cause.name();
            tracing::warn!(cause, held_back, "{held_back} more lines of {cause} were held back");
        }
    }
}

fn throttle(cause: Cause) -> Option<&'static Throttle> {
    let at = Cause::ALL.iter().position(|other| *other == cause)?;
    THROTTLES.get(at)
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 17] = [
        Self::Answered(Code::UserNotFound),
        Self::Answered(Code::MessageNotDelivered),
        Self::Answered(Code::InvalidMessageFormat),
        Self::Answered(Code::TcpConnectionFailed),
        Self::Answered(Code::TcpBindFailed),
        Self::Answered(Code::TcpTimeout),
        Self::Answered(Code::UnknownServerError),
        Self::Answered(Code::InvalidToken),
        Self::TurnedAway,
        Self::Denied,
        Self::Handshake,
        Self::AcceptFailed,
        Self::AdminAcceptFailed,
        Self::AdminRefused,
        Self::GatewayFlaps,
        Self::RedisFlaps,
        Self::Panicked,
    ];

    /// The label and the field `cause`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered(code) => code.code(),
            Self::TurnedAway => "turned_away",
            Self::Denied => "denied",
            Self::Handshake => "handshake",
            Self::AcceptFailed => "accept_failed",
            Self::AdminAcceptFailed => "admin_accept_failed",
            Self::AdminRefused => "admin_refused",
            Self::GatewayFlaps => "gateway_flaps",
            Self::RedisFlaps => "redis_flaps",
            Self::Panicked => "panicked",
        }
    }
}

impl Throttle {
    const fn new() -> Self {
        Self {
            window: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }

    fn admits_at(&self, now: UnixMillis, lines_max: u64) -> bool {
        let window = now.0 / WINDOW.as_millis() as u64;
        if self.window.load(Relaxed) != window && self.window.swap(window, Relaxed) != window {
            self.lines.store(0, Relaxed);
        }
        let admits = self.lines.fetch_add(1, Relaxed) < lines_max;
        if !admits {
            self.held_back.fetch_add(1, Relaxed);
        }
        admits
    }

    fn take_untold(&self) -> u64 {
        let held_back = self.held_back.load(Relaxed);
        held_back - self.told.swap(held_back, Relaxed).min(held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: UnixMillis = UnixMillis(10_000_000);
    const SECOND: UnixMillis = UnixMillis(10_010_000);

    #[test]
    fn what_a_window_holds_back_is_told_once_and_the_next_window_begins_anew() {
        let throttle = Throttle::new();
        let admitted = |now| (0..5).filter(|_| throttle.admits_at(now, 3)).count();
        assert_eq!(admitted(FIRST), 3);
        assert_eq!(throttle.take_untold(), 2);
        assert_eq!(throttle.take_untold(), 0);
        assert_eq!(admitted(FIRST), 0);
        assert_eq!(admitted(SECOND), 3);
        assert_eq!(throttle.take_untold(), 7);
        assert_eq!(throttle.held_back.load(Relaxed), 9);
    }

    #[test]
    fn every_cause_has_a_throttle_and_a_name_of_its_own() {
        for code in Code::ALL {
            assert!(throttle(Cause::Answered(code)).is_some());
        }
        for (at, cause) in Cause::ALL.into_iter().enumerate() {
            assert!(std::ptr::eq(throttle(cause).unwrap(), &raw const THROTTLES[at]));
            let same = Cause::ALL.iter().filter(|other| other.name() == cause.name());
            assert_eq!(same.count(), 1, "{}", cause.name());
        }
    }
}
