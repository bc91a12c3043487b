//! `stated`: a state-management daemon for fleets of real-time services.
//!
//! It answers one question all day: who is where, right now, and for how long? The folders stand
//! in the order of a message's way: [`connection`] → [`domain`] → [`store`] → [`upstream`].

pub mod admin;
pub mod build;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connection;
pub mod crash;
pub mod daemon;
pub mod descriptors;
pub mod domain;
pub mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod log;
pub mod metrics;
pub mod net;
pub mod nightly;
pub mod places;
pub mod reload;
pub mod scrub;
pub mod store;
pub mod systemd;
pub mod throttle;
pub mod tls;
pub mod upstream;
pub mod wake;
