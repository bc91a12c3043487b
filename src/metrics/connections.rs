//! Peers' connections: how many, how they ended, and the bytes on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Metrics;
use super::spread::Spread;

/// Why a connection of a peer is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed its side, and was answered what it had asked.
    Peer,
    /// The connection broke, or the peer did not wait for its answers.
    Lost,
    /// What the peer sent can't be split into messages any more.
    Framing,
    /// The daemon stops.
    Stopping,
    /// An operator closed it.
    Operator,
    /// A frame was not complete within `limits.frame_timeout`.
    PartialFrame,
    /// The peer took none of its replies within `limits.unread_timeout`, or not all that waited within
    /// `limits.backlog_timeout`.
    Unread,
    /// TLS could not be agreed on.
    Handshake,
    /// Nothing is allowed to whom its certificate names.
    Denied,
    /// Its task ended before its time: by a panic, or with the grace period.
    Cut,
}

/// Why somebody may not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// There are no `[[peers]]`, the daemon is not `open`, and he is on no private network.
    NotPrivate,
    /// He matches no entry of `[[peers]]`.
    NoEntry,
}

/// Which limit leaves no place to a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// `limits.max_connections`
    All,
    /// `limits.max_connections_per_address`
    OfAddress,
}

/// Why a connection is not read for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// `limits.max_frames_per_second`
    FrameRate,
    /// `limits.max_buffer_bytes`
    Memory,
}

/// Connections since the daemon started.
#[derive(Debug, Default)]
pub struct Connections {
    opened: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
    turned_away: [AtomicU64; TurnedAway::ALL.len()],
    /// How often accepting paused, as a connection could not be accepted.
    pub accept_pauses: AtomicU64,
    /// What connections hold of `limits.max_buffer_bytes`.
    pub buffer_bytes: AtomicU64,
    pauses: [AtomicU64; Pause::ALL.len()],
    denied: [AtomicU64; Denied::ALL.len()],
    bytes: Spread<Bytes>,
}

#[derive(Debug, Default)]
struct Bytes {
    received: AtomicU64,
    sent: AtomicU64,
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub struct Counted {
    metrics: Arc<Metrics>,
    reason: CloseReason,
}

impl CloseReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Peer,
        Self::Lost,
        Self::Framing,
        Self::Stopping,
        Self::Operator,
        Self::PartialFrame,
        Self::Unread,
        Self::Handshake,
        Self::Denied,
        Self::Cut,
    ];

    /// The label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Lost => "lost",
            Self::Framing => "framing",
            Self::Stopping => "stopping",
            Self::Operator => "operator",
            Self::PartialFrame => "partial_frame",
            Self::Unread => "unread",
            Self::Handshake => "handshake",
            Self::Denied => "denied",
            Self::Cut => "cut",
        }
    }
}

impl Denied {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 2] = [Self::NotPrivate, Self::NoEntry];

    /// For people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::NotPrivate => {
                "it is on no private network, there are no [[peers]], and open is false"
            }
            Self::NoEntry => "it matches no entry of [[peers]]",
        }
    }

    /// The label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotPrivate => "not_private",
            Self::NoEntry => "no_entry",
        }
    }
}

impl TurnedAway {
    /// Both, in the order of their declaration.
    pub const ALL: [Self; 2] = [Self::All, Self::OfAddress];

    /// The label `limit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "max_connections",
            Self::OfAddress => "max_connections_per_address",
        }
    }
}

impl Pause {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 2] = [Self::FrameRate, Self::Memory];

    /// The label `limit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::FrameRate => "max_frames_per_second",
            Self::Memory => "max_buffer_bytes",
        }
    }
}

impl Connections {
    /// Somebody may not connect.
    pub fn deny(&self, why: Denied) {
        if let Some(count) = self.denied.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How many might not connect, and why.
    pub fn denied(&self) -> impl Iterator<Item = (Denied, u64)> + '_ {
        Denied::ALL.into_iter().zip(&self.denied).map(|(why, count)| (why, count.load(Relaxed)))
    }

    /// All that were let in.
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// One was closed at once.
    pub fn turn_away(&self, why: TurnedAway) {
        if let Some(count) = self.turned_away.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How many were, by which limit.
    pub fn turned_away(&self) -> impl Iterator<Item = (TurnedAway, u64)> + '_ {
        let counts = self.turned_away.iter().map(|count| count.load(Relaxed));
        TurnedAway::ALL.into_iter().zip(counts)
    }

    /// One is not read for a while.
    pub fn pause(&self, why: Pause) {
        if let Some(count) = self.pauses.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How often that was so, by which limit.
    pub fn pauses(&self) -> impl Iterator<Item = (Pause, u64)> + '_ {
        Pause::ALL.into_iter().zip(self.pauses.iter().map(|count| count.load(Relaxed)))
    }

    /// A peer sent so many bytes more.
    pub fn received(&self, bytes: usize) {
        let here = self.bytes.here();
        here.add(&here.part.received, bytes as u64);
    }

    /// A peer was sent so many bytes more.
    pub fn sent(&self, bytes: usize) {
        let here = self.bytes.here();
        here.add(&here.part.sent, bytes as u64);
    }

    /// Bytes that peers sent.
    pub fn received_bytes(&self) -> u64 {
        self.bytes.sum(|bytes| bytes.received.load(Relaxed))
    }

    /// Bytes that peers were sent.
    pub fn sent_bytes(&self) -> u64 {
        self.bytes.sum(|bytes| bytes.sent.load(Relaxed))
    }

    /// How many ended in which way.
    pub fn closed(&self) -> impl Iterator<Item = (CloseReason, u64)> + '_ {
        CloseReason::ALL
            .into_iter()
            .zip(&self.closed)
            .map(|(why, count)| (why, count.load(Relaxed)))
    }
}

impl Counted {
    /// One more is open.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        metrics.connections.opened.fetch_add(1, Relaxed);
        Self { metrics, reason: CloseReason::Cut }
    }

    /// It ended by itself, for this reason.
    pub fn close(mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(count) = self.metrics.connections.closed.get(self.reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}
