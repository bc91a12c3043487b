//! Open loop: every request has its time, and is late from that time on, whoever is at fault.

use std::io::{self, Write};
use std::net;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;

use super::load::Window;
use super::messages::Script;
use super::peer::lock;
use super::tally::Tally;

/// From one write on a connection to the next: what becomes due meanwhile goes with it, and what a
/// server does not take is tried again. Latency counts from when a request was due all the same.
const WRITE_EVERY: Duration = Duration::from_millis(1);
/// Of requests that are due but not taken, so many bytes are ready; the others are a number.
const UNSENT_BYTES: usize = 64 * 1024;

/// When the requests of one connection are due: the connections take turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    start: Instant,
    rate: f64,
    turn: u64,
    connections: u64,
}

/// Sends the requests of a thread's connections when they are due, from a thread of its own: the
/// runtime's timers are a millisecond wide.
#[derive(Debug)]
pub(super) struct Pacer {
    window: Window,
    paced: Vec<Paced>,
    tally: Arc<Mutex<Tally>>,
}

/// The sending side of a connection.
#[derive(Debug)]
struct Paced {
    stream: net::TcpStream,
    schedule: Schedule,
    /// When the first of those is due that are not yet.
    due: Instant,
    script: Script,
    /// Requests that are due, and not among the unsent bytes.
    unmade: u64,
    unsent: BytesMut,
    /// When the next write may be.
    writes_from: Instant,
}

impl Schedule {
    pub(super) fn new(window: Window, rate: f64, connection: usize, connections: usize) -> Self {
        let (turn, connections) = (connection as u64, connections as u64);
        Self { start: window.start, rate, turn, connections }
    }

    /// When the next request is due.
    pub(super) fn due(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.turn as f64 / self.rate)
    }

    pub(super) fn advance(&mut self) {
        self.turn += self.connections;
    }
}

impl Pacer {
    pub(super) fn new(window: Window, tally: Arc<Mutex<Tally>>) -> Self {
        Self { window, paced: Vec::new(), tally }
    }

    /// Takes over the sending side; what is returned is for reading.
    pub(super) fn add(
        &mut self,
        stream: TcpStream,
        schedule: Schedule,
        script: Script,
    ) -> io::Result<TcpStream> {
        let stream = stream.into_std()?;
        let reading = TcpStream::from_std(stream.try_clone()?)?;
        self.paced.push(Paced {
            stream,
            schedule,
            due: schedule.due(),
            script,
            unmade: 0,
            unsent: BytesMut::new(),
            writes_from: self.window.start,
        });
        Ok(reading)
    }

    /// Sends until the window ends, then what is left.
    pub(super) fn run(mut self) {
        while let Some(next) = self.send_due(Instant::now()) {
            if Instant::now().max(next) >= self.window.gives_up {
                return;
            }
            pause(next.saturating_duration_since(Instant::now()));
        }
    }

    /// Sends what is due, as far as it is taken; when to look again, if there is anything left to do.
    fn send_due(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for paced in &mut self.paced {
            if paced.turn(self.window).is_some_and(|turn| turn <= now) {
                let (due, counting) = paced.take_due(now, self.window);
                paced.send(now);
                let mut tally = lock(&self.tally);
                tally.count_sent(due);
                // Whoever comes too late for the window offered less than was asked for.
                if Instant::now() < self.window.end {
                    tally.count_offered(counting);
                }
            }
            next = next.into_iter().chain(paced.turn(self.window)).min();
        }
        next
    }
}

impl Paced {
    /// When there is something to do next.
    fn turn(&self, window: Window) -> Option<Instant> {
        if self.unmade > 0 || !self.unsent.is_empty() {
            return Some(self.writes_from);
        }
        (self.due < window.end).then(|| self.due.max(self.writes_from))
    }

    /// How many have become due, and how many of them within what counts.
    fn take_due(&mut self, now: Instant, window: Window) -> (u64, u64) {
        let (mut due, mut counting) = (0, 0);
        while self.due <= now && self.due < window.end {
            due += 1;
            counting += u64::from(self.due >= window.counts_from);
            self.schedule.advance();
            self.due = self.schedule.due();
        }
        self.unmade += due;
        (due, counting)
    }

    fn send(&mut self, now: Instant) {
        self.writes_from = now + WRITE_EVERY;
        loop {
            while self.unmade > 0 && self.unsent.len() < UNSENT_BYTES {
                self.script.put_next(&mut self.unsent);
                self.unmade -= 1;
            }
            if self.unsent.is_empty() {
                return;
            }
            match self.stream.write(&self.unsent) {
                Ok(sent) => self.unsent.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The reading side finds the connection closed, and its requests are counted as
                // those without a reply.
                Err(_) => {
                    self.unmade = 0;
                    self.unsent.clear();
                }
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread that no task runs on")]
fn pause(duration: Duration) {
    thread::sleep(duration);
}
