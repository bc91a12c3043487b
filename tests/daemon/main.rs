//! The whole daemon and its stores against real servers, sockets and processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test did not expect is to end it, here and now"
)]

mod battery;
mod model;
mod redis_store;
mod servers;
mod stores;
