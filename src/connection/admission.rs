//! Whether a connection may take one more frame now: its memory and its pace.

use std::task::Context as TaskContext;

use tokio::io::{AsyncRead, AsyncWrite};

use super::deadlines::Needs;
use super::input::State;
use super::memory::{self, Grant, Share};
use super::pace::Admission;
use super::{Connection, buffers};
use crate::config::Limits;
use crate::metrics::connections::Pause;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Whether one more frame may be taken now. A connection that ends is read to its end.
    pub(super) fn is_in_pace(&mut self, limits: &Limits) -> bool {
        let max = limits.max_frames_per_second;
        if max == 0 || self.input.state != State::Open {
            return true;
        }
        match self.needs().pace.admit(max) {
            Admission::Now => true,
            Admission::Pause => {
                self.figures().pause(Pause::FrameRate);
                false
            }
            Admission::Paused => false,
        }
    }

    /// Whether a frame so long may be read, worked on and answered besides what is under way.
    pub(super) fn has_memory_for(&mut self, frame_bytes: usize, task: &TaskContext<'_>) -> bool {
        let bytes = self.bytes_with(frame_bytes);
        if bytes <= memory::OWN_BYTES && self.share().is_none() {
            return true;
        }
        let needs = self.needs.get_or_insert_default();
        let share = needs.share.get_or_insert_with(|| Share::new(&self.shared.memory));
        match share.cover(bytes, task) {
            Grant::Given => true,
            Grant::Waits => false,
            Grant::Wait => {
                self.figures().pause(Pause::Memory);
                false
            }
        }
    }

    /// Whether a frame so long needs no more than what each connection has of its own.
    pub(super) fn has_own_memory_for(&self, frame_bytes: usize) -> bool {
        self.bytes_with(frame_bytes) <= memory::OWN_BYTES
    }

    /// What is given back of what was asked for: all that is not needed any more.
    pub(super) fn settle_memory(&mut self) {
        if self.share().is_none() {
            return;
        }
        let held = self.held_bytes();
        // A frame that has begun keeps what it was given. One that waits for all that it needs keeps
        // nothing for it: two that each had a part would wait for each other for ever.
        let begun = self.input.decoder.expected_bytes(&self.input.buffer);
        let read = self.input.buffer.len();
        let waits = self.share().is_some_and(Share::was_refused);
        let begun = if read == 0 || waits { read } else { memory::of_request(begun).max(read) };
        if let Some(share) = share(&mut self.needs) {
            if self.output.is_empty() {
                buffers::shed(&mut self.output, share.output_peak);
                share.output_peak = 0;
            }
            share.settle(held.saturating_add(begun));
        }
    }

    /// The output is never longer than before it is written.
    pub(super) fn note_output(&mut self) {
        if let Some(share) = share(&mut self.needs) {
            share.output_peak = share.output_peak.max(self.output.len());
        }
    }

    /// Nothing is under way: what is each connection's own is enough, but for a frame that has begun.
    pub(super) fn drop_share(&mut self) {
        if let Some(needs) = &mut self.needs
            && self.input.buffer.is_empty()
        {
            needs.share = None;
        }
    }

    /// Memory of what is under way, with a frame so long besides.
    fn bytes_with(&self, frame_bytes: usize) -> usize {
        self.held_bytes().saturating_add(memory::of_request(frame_bytes))
    }

    fn share(&self) -> Option<&Share> {
        self.needs.as_ref()?.share.as_ref()
    }

    /// Memory of what is under way but for the frame that is being read: what that one needs was
    /// asked for at its beginning, and must not become more while others wait. A buffer may have room
    /// for twice what was in it.
    fn held_bytes(&self) -> usize {
        let peak = self.share().map_or(0, |share| share.output_peak);
        let output = 2 * peak.max(self.output.len());
        self.in_flight.bytes() + output
    }
}

fn share(needs: &mut Option<Box<Needs>>) -> Option<&mut Share> {
    needs.as_mut()?.share.as_mut()
}
