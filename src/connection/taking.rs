//! What a connection takes of its input: frames that have arrived whole, several at once where the peer
//! sends so, since what the store looks up for one of them it can look up for all meanwhile.

use std::io;
use std::task::Context as TaskContext;

use tokio::io::{AsyncRead, AsyncWrite};

use super::frame::{BrokenFraming, Found};
use super::input::State;
use super::request::Request;
use super::{Connection, buffers, memory};
use crate::config::Limits;
use crate::metrics::connections::CloseReason;
use crate::metrics::requests::Kind;
use crate::store::AHEAD_MAX;

/// So many frames at the most are taken at once: as many as are sure to be looked up ahead.
const AT_ONCE_MAX: usize = AHEAD_MAX / 2;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes frames into work or reads more input; whether there was either.
    pub(super) fn poll_take(
        &mut self,
        task: &mut TaskContext<'_>,
        limits: &Limits,
    ) -> io::Result<bool> {
        if self.input.state == State::Closed {
            return Ok(false);
        }
        let first = self.in_flight.len();
        // What they are answered is not there yet, and must not be more than may wait unread.
        let mut room = limits.max_unread_reply_bytes.saturating_sub(self.output.len());
        let mut taken = 0;
        while taken < AT_ONCE_MAX && self.in_flight.len() < limits.max_in_flight {
            if self.input.buffer.is_empty() {
                self.input.decoder.limit(limits.max_frame_bytes);
            }
            let found = match self.input.decoder.find(&self.input.buffer) {
                Ok(Some(found)) => found,
                Ok(None) if taken == 0 => return self.poll_rest(task),
                Ok(None) => break,
                Err(broken) => {
                    self.break_off(broken);
                    taken += 1;
                    break;
                }
            };
            let frame_bytes = found.end - found.start;
            let needed_bytes = memory::of_request(frame_bytes);
            let has_memory = match taken {
                0 => {
                    self.end_frame();
                    self.has_memory_for(frame_bytes, task)
                }
                // For what more than its own memory is needed, only the first of several asks.
                _ => needed_bytes <= room && self.has_own_memory_for(frame_bytes),
            };
            if !has_memory || !self.is_in_pace(limits) {
                break;
            }
            room = room.saturating_sub(needed_bytes);
            taken += 1;
            self.take(found, limits);
        }
        self.in_flight.begin_from(first, task);
        Ok(taken > 0)
    }

    /// Takes in a frame whose work has not begun.
    fn take(&mut self, found: Found, limits: &Limits) {
        let frame_bytes = found.end - found.start;
        let request = Request::decode(&self.input.buffer[found.start..found.end]);
        self.input.decoder.consume(&mut self.input.buffer, found);
        buffers::shed(&mut self.input.buffer, found.consumed);
        self.input.decoder.limit(limits.max_frame_bytes);
        self.account.requests.add(1);
        match self.shared.permit(request, &mut self.granted, &self.account) {
            Ok(request) => self.in_flight.take(request, frame_bytes, limits),
            Err((kind, error)) => self.in_flight.push_error(kind, error),
        }
    }

    /// Reads more of a frame that is not complete.
    fn poll_rest(&mut self, task: &mut TaskContext<'_>) -> io::Result<bool> {
        let expected = self.input.decoder.expected_bytes(&self.input.buffer);
        if !self.has_memory_for(expected, task) {
            self.end_frame();
            return Ok(false);
        }
        self.poll_read(task)
    }

    /// The stream can't be trusted any more: the peer is told so, after all it asked before.
    pub(super) fn break_off(&mut self, broken: BrokenFraming) {
        self.account.requests.add(1);
        self.in_flight.push_error(Kind::Invalid, broken.into());
        self.close_input(CloseReason::Framing);
    }
}
