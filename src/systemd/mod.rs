//! What the daemon and systemd tell each other: readiness, state, health.
//!
//! Everything here is silent where no service manager listens. The sockets that systemd passes are
//! taken over in [`crate::connection::passed`].

pub mod notify;
pub mod report;
mod status;
pub mod vitals;
