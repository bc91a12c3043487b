//! The wall clock, the system's or that of a simulated host; and how long things take.

use std::cell::Cell;
use std::time::SystemTime;

use tokio::time::Instant;

/// What time it is.
#[cfg(not(feature = "simulation"))]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// What time it is on the host that asks, or on this machine outside of a simulation.
#[cfg(feature = "simulation")]
pub fn now() -> SystemTime {
    match turmoil::since_epoch() {
        Some(since) => SystemTime::UNIX_EPOCH + since,
        None => SystemTime::now(),
    }
}

thread_local! {
    /// When this thread last looked at the time in the pass that it is in.
    static IN_PASS: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A stretch of work on one connection that waits for nothing, on one thread.
///
/// A look at the clock costs as much as a look-up. Within a pass one thing begins when the one before
/// ends, or hardly later, so [`begin`] is the time that was looked at last.
#[derive(Debug)]
pub struct Pass {
    before: Option<Instant>,
}

impl Pass {
    /// Begins now, and ends when it is dropped.
    pub fn begin() -> Self {
        Self { before: IN_PASS.replace(Some(Instant::now())) }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        IN_PASS.set(self.before);
    }
}

/// When what begins here begins: in a pass, when this thread last looked at the time, else now.
pub fn begin() -> Instant {
    IN_PASS.get().unwrap_or_else(Instant::now)
}

/// The time now, for what ends here.
pub fn end() -> Instant {
    let now = Instant::now();
    if IN_PASS.get().is_some() {
        IN_PASS.set(Some(now));
    }
    now
}
