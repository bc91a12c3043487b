//! What the same work costs as a unary gRPC call: a tonic server and its load.

mod client;
mod messages;
mod server;

pub(super) use client::{call_and_wait, connect};
pub(super) use server::serve;
