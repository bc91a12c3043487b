//! What is true of the Redis store alone.

mod daemons;
mod delivery;
mod failover;
mod failures;
mod faults;
mod format;
mod load;
mod neighbours;
mod outages;
mod rooms;
mod scrub;
mod sessions;

use crate::servers::redis::RedisServer;

/// The record as other programs read it.
async fn data(server: &RedisServer, id: &str) -> Option<String> {
    server.ask(&["HGET", &format!("realTimeData:{id}"), "data"]).await
}
