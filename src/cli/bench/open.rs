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

/// Between two attempts to send what a server does not take.
const RETRY_EVERY: Duration = Duration::from_millis(1);

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

#[derive(Debug)]
struct Paced {
    stream: net::TcpStream,
    schedule: Schedule,
    script: Script,
    unsent: BytesMut,
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
        self.paced.push(Paced { stream, schedule, script, unsent: BytesMut::new() });
        Ok(reading)
    }

    /// Sends until the window ends, then what is left.
    pub(super) fn run(mut self) {
        // The connections' turns come in their order, again and again.
        'sending: loop {
            for paced in 0..self.paced.len() {
                let due = self.paced[paced].schedule.due();
                if due >= self.window.end {
                    break 'sending;
                }
                self.wait_until(due);
                let paced = &mut self.paced[paced];
                paced.schedule.advance();
                paced.script.put_next(&mut paced.unsent);
                lock(&self.tally).count_sent(1);
                paced.send();
            }
        }
        while self.send_all() && Instant::now() < self.window.gives_up {
            pause(RETRY_EVERY);
        }
    }

    fn wait_until(&mut self, due: Instant) {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let unsent = self.send_all();
            pause(if unsent { left.min(RETRY_EVERY) } else { left });
        }
    }

    /// Sends what could not be sent before; whether anything is left.
    fn send_all(&mut self) -> bool {
        let mut unsent = false;
        for paced in self.paced.iter_mut().filter(|paced| !paced.unsent.is_empty()) {
            paced.send();
            unsent |= !paced.unsent.is_empty();
        }
        unsent
    }
}

impl Paced {
    fn send(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => self.unsent.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The reading side finds the connection closed, and its requests are counted as
                // those without a reply.
                Err(_) => self.unsent.clear(),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread that no task runs on")]
fn pause(duration: Duration) {
    thread::sleep(duration);
}
