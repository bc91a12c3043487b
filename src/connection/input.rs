//! What a peer sends: as it comes from the socket, and how far it is read.

use bytes::BytesMut;

use super::frame::Decoder;
use crate::metrics::connections::CloseReason;

/// What was read and not yet taken.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) buffer: BytesMut,
    pub(super) decoder: Decoder,
    pub(super) state: State,
}

/// How far it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// It is to end: what has arrived is still read, up to so many bytes.
    Draining(usize, CloseReason),
    /// The peer closed its side, or its stream can't be trusted any more.
    Closed,
}

impl Input {
    pub(super) fn new(decoder: Decoder) -> Self {
        Self { buffer: BytesMut::new(), decoder, state: State::Open }
    }
}

impl State {
    pub(super) fn after_reading(self, bytes: usize) -> Self {
        match self {
            Self::Draining(left, why) => Self::Draining(left.saturating_sub(bytes), why),
            Self::Open | Self::Closed => self,
        }
    }
}
