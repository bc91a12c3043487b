//! The keys of `[limits]`.

use std::time::Duration;

use super::{HOUR, MIB, MILLI};
use crate::config::Limits;
use crate::config::form::{count, duration, size};
use crate::config::key::{Key, key};

pub(super) fn keys() -> Vec<Key<Limits>> {
    vec![
        key(
            "max_frame_bytes",
            "1048576",
            size(1..=256 * MIB, |limits: &mut Limits| &mut limits.max_frame_bytes),
            "The longest request; a longer one is answered with an error and ends the connection.",
        ),
        key(
            "max_in_flight",
            "64",
            count(1..=65_536, |limits| &mut limits.max_in_flight),
            "Requests of one connection that are worked on at once.",
        ),
        key(
            "max_connections",
            "10000",
            count(1..=1_000_000, |limits| &mut limits.max_connections),
            "Connections of all listeners together.",
        ),
        key(
            "max_connections_per_address",
            "0",
            count(0..=1_000_000, |limits| &mut limits.max_connections_per_address),
            "Connections of one address, of IPv6 of one /64, of all listeners together; 0 for any number. A \
             service of the fleet has 30, and several may share an address.",
        ),
        key(
            "max_frames_per_second",
            "0",
            count(0..=10_000_000, |limits| &mut limits.max_frames_per_second),
            "Requests of one connection within a second, after which it is not read until the next; \
             0 for any number.",
        ),
        key(
            "max_unread_reply_bytes",
            "256 KiB",
            size(1..=1024 * MIB, |limits| &mut limits.max_unread_reply_bytes),
            "Replies a peer has not read, after which its requests are no longer read.",
        ),
        key(
            "max_buffer_bytes",
            "512 MiB",
            size(MIB..=1024 * 1024 * MIB, |limits| &mut limits.max_buffer_bytes),
            "Memory for what peers send and are sent, of all connections together and beyond the 64 KiB \
             that each has of its own; a frame takes eight times its length of it. When it is used up, \
             those who need more wait for their turn.",
        ),
        key(
            "max_late_requests",
            "10000",
            count(1..=1_000_000, |limits| &mut limits.max_late_requests),
            "Requests that were answered for being late and are still worked on; as long as there are \
             so many, none is begun, and each is refused at once.",
        ),
        key(
            "frame_timeout",
            "30s",
            duration(MILLI..=HOUR, |limits| &mut limits.frame_timeout),
            "Within this time of its first byte a request is complete, or the connection is closed; \
             one that says nothing may do so for ever.",
        ),
        key(
            "unread_timeout",
            "60s",
            duration(MILLI..=HOUR, |limits| &mut limits.unread_timeout),
            "How long a peer may take none of the replies that wait for it, before the connection is \
             closed; when the daemon stops, a quarter of `shutdown_grace` if that is less.",
        ),
        key(
            "backlog_timeout",
            "10m",
            duration(MILLI..=HOUR, |limits| &mut limits.backlog_timeout),
            "How long a peer may take over all the replies that wait for it at one moment, a little at \
             a time, before the connection is closed.",
        ),
        key(
            "request_timeout",
            "8s",
            duration(MILLI..=HOUR, |limits| &mut limits.request_timeout),
            "Within this time every request is answered; the fleet's clients give up after 10 s.",
        ),
        key(
            "handshake_timeout",
            "5s",
            duration(MILLI..=HOUR, |limits| &mut limits.handshake_timeout),
            "How long the handshake of a connection with TLS may take.",
        ),
        key(
            "shutdown_grace",
            "20s",
            duration(Duration::ZERO..=HOUR, |limits| &mut limits.shutdown_grace),
            "How long a stop may take to answer what was read and send what is owed.",
        ),
    ]
}

/// What only a restart puts in force.
pub(super) fn at_start() -> Vec<Key<Limits>> {
    vec![key(
        "connection_threads",
        "0",
        count(0..=1024, |limits: &mut Limits| &mut limits.connection_threads),
        "Threads that serve connections, each connection by one of them for all its life; 0 for one \
         for each processor.",
    )]
}
