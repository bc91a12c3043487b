//! One connection of a load: what it sends, and how long it waits for each reply.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::load::Window;
use super::messages::Script;
use super::open::Schedule;
use super::tally::Tally;
use crate::connection::frame::{Decoder, Framing};

/// The longest reply that is taken.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// What is read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// A connection, its buffer, and where its replies are counted.
#[derive(Debug)]
pub(super) struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    received: BytesMut,
    window: Window,
    tally: Arc<Mutex<Tally>>,
}

impl Peer {
    /// The tally is shared by the tasks of one thread, so nobody ever waits for it.
    pub(super) fn new(
        stream: TcpStream,
        framing: Framing,
        window: Window,
        tally: Arc<Mutex<Tally>>,
    ) -> Self {
        let decoder = Decoder::new(framing, REPLY_BYTES_MAX);
        Self { stream, decoder, received: BytesMut::new(), window, tally }
    }

    /// Keeps `in_flight` requests under way until the window ends. Whatever ends it early, a reply
    /// that did not come is counted as such.
    pub(super) async fn ask_and_wait(mut self, mut script: Script, in_flight: usize) {
        let gives_up = self.window.gives_up.into();
        drop(timeout_at(gives_up, self.closed_loop(&mut script, in_flight)).await);
    }

    /// Hears the replies to what is sent by the schedule.
    pub(super) async fn listen(mut self, schedule: Schedule) {
        let gives_up = self.window.gives_up.into();
        drop(timeout_at(gives_up, self.open_loop(schedule)).await);
    }

    async fn closed_loop(&mut self, script: &mut Script, in_flight: usize) -> io::Result<()> {
        let mut sent: VecDeque<Instant> = VecDeque::with_capacity(in_flight);
        let mut out = BytesMut::new();
        loop {
            let now = Instant::now();
            if now < self.window.end {
                let more = in_flight - sent.len();
                for _ in 0..more {
                    script.put_next(&mut out);
                    sent.push_back(now);
                }
                lock(&self.tally).count_sent(more as u64);
            }
            if sent.is_empty() {
                return Ok(());
            }
            self.stream.write_all(&out).await?;
            out.clear();
            self.read().await?;
            let window = self.window;
            self.take_replies(|tally, now| {
                let sent = sent.pop_front().ok_or(io::ErrorKind::InvalidData)?;
                if window.counts(now) {
                    tally.record(now - sent, now);
                }
                Ok(())
            })?;
        }
    }

    async fn open_loop(&mut self, mut schedule: Schedule) -> io::Result<()> {
        while schedule.due() < self.window.end {
            self.read().await?;
            let window = self.window;
            self.take_replies(|tally, now| {
                let due = schedule.due();
                schedule.advance();
                if window.counts(now) {
                    tally.count_answered();
                }
                if due >= window.counts_from {
                    tally.record(now.saturating_duration_since(due), now);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    async fn read(&mut self) -> io::Result<()> {
        self.received.reserve(CHUNK_BYTES);
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Counts every reply that is complete, then hands it to `counted`.
    fn take_replies(
        &mut self,
        mut counted: impl FnMut(&mut Tally, Instant) -> io::Result<()>,
    ) -> io::Result<()> {
        let now = Instant::now();
        let mut tally = lock(&self.tally);
        while let Some(found) = self.decoder.find(&self.received).map_err(io::Error::other)? {
            tally.count_reply(&self.received[found.start..found.end]);
            self.decoder.consume(&mut self.received, found);
            counted(&mut tally, now)?;
        }
        Ok(())
    }
}

pub(super) fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
