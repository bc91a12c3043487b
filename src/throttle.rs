//! Lets so many log lines of one cause through, so that a flood of it does not flood the log.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::domain::UnixMillis;

/// Lines of one cause in one window.
const LINES_MAX: u64 = 10;
/// The length of a window.
const WINDOW_MILLIS: u64 = 10_000;

/// The lines of one cause.
#[derive(Debug)]
pub struct Throttle {
    window: AtomicU64,
    lines: AtomicU64,
}

/// A line may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Lines that were held back in the window before.
    pub held_back: u64,
}

impl Throttle {
    /// Nothing was written yet.
    pub const fn new() -> Self {
        Self { window: AtomicU64::new(0), lines: AtomicU64::new(0) }
    }

    /// Whether one more line may be written now. Several threads asking at the turn of a window may
    /// get a line more or less: it is only a log.
    pub fn admit(&self) -> Option<Admitted> {
        self.admit_at(UnixMillis::now())
    }

    fn admit_at(&self, now: UnixMillis) -> Option<Admitted> {
        let window = now.0 / WINDOW_MILLIS;
        let mut held_back = 0;
        if self.window.swap(window, Relaxed) != window {
            held_back = self.lines.swap(0, Relaxed).saturating_sub(LINES_MAX);
        }
        (self.lines.fetch_add(1, Relaxed) < LINES_MAX).then_some(Admitted { held_back })
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_window_held_back_is_told_with_the_next_windows_first_line() {
        let throttle = Throttle::new();
        let (first, second) =
            (UnixMillis(1_000 * WINDOW_MILLIS), UnixMillis(1_001 * WINDOW_MILLIS));
        for _ in 0..LINES_MAX {
            assert_eq!(throttle.admit_at(first), Some(Admitted { held_back: 0 }));
        }
        assert_eq!(throttle.admit_at(first), None);
        assert_eq!(throttle.admit_at(first), None);
        assert_eq!(throttle.admit_at(second), Some(Admitted { held_back: 2 }));
        assert_eq!(throttle.admit_at(second), Some(Admitted { held_back: 0 }));
    }
}
