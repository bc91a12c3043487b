//! What is counted while the daemon works, and the page on which Prometheus reads it.
//!
//! Everything is a fixed set of atomics, each behind a field or an index: counting neither locks,
//! looks up, nor allocates, and nothing from the wire can become a label. (Entries of `[[peers]]` come
//! and go with the configuration; who is denied something has them looked up.) What other parts count
//! for themselves (store, upstream) is read from them when the page is written.

pub mod connections;
pub mod denials;
pub mod families;
pub mod handshakes;
pub mod histogram;
pub mod nights;
pub mod page;
pub mod process;
pub mod requests;
pub mod runtime;
pub mod spread;
mod text;

use std::time::SystemTime;

use connections::Connections;
use denials::Denials;
use handshakes::Handshakes;
use nights::Nights;
use requests::Requests;

/// The figures of one daemon, from its start.
#[derive(Debug)]
pub struct Metrics {
    /// What peers asked and were answered.
    pub requests: Requests,
    /// Peers' connections.
    pub connections: Connections,
    /// Handshakes that came to nothing.
    pub handshakes: Handshakes,
    /// What peers were not allowed.
    pub denials: Denials,
    /// What became of frames to auth.
    pub nights: Nights,
    /// When counting began.
    pub started_at: SystemTime,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Requests::default(),
            connections: Connections::default(),
            handshakes: Handshakes::default(),
            denials: Denials::default(),
            nights: Nights::default(),
            started_at: SystemTime::now(),
        }
    }
}
