//! The whole daemon and its stores against real servers, sockets and processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "what a test did not expect is to end it, here and now"
)]

mod battery;
mod model;
mod redis_store;
mod servers;
mod stores;

mod certificates;
mod fleet;
mod harness;
mod http;
mod log;
mod openapi;
mod place;
mod played;
mod requests;
mod schema;
mod wire;

mod access;
mod admin;
mod api;
mod bench;
mod cases;
mod cli;
mod connection;
mod contract;
mod crash_points;
mod disk;
mod durability;
mod examples;
mod faults;
mod framing;
mod fuzz;
mod gateways;
mod hostile;
mod linear;
mod log_events;
mod log_lines;
mod manual;
mod night;
mod night_by_hand;
mod night_command;
mod night_kills;
mod night_stores;
mod observability;
mod package;
mod reload;
mod room_out;
mod secrets;
mod shared;
mod soak;
mod status;
mod systemd;
mod tidy;
mod tls;
