//! The wall clock: the system's, or that of a simulated host.

use std::time::SystemTime;

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
