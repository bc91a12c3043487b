//! What is true of the Redis store alone.

mod daemons;
mod delivery;
mod failures;
mod faults;
mod format;
mod neighbours;
mod rooms;
mod scrub;
mod sessions;

use crate::servers::redis::RedisServer;

/// The record as other programs read it.
async fn data(server: &RedisServer, id: &str) -> Option<String> {
    server.ask(&["HGET", &format!("realTimeData:{id}"), "data"]).await
}
