//! What was seen, by everybody, in one list: the only thing that the checker knows.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use super::request::Request;

/// A request as its caller saw it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) connection: usize,
    pub(crate) host: &'static str,
    pub(crate) request: Request,
    pub(crate) at: Duration,
    /// Requests before it on its connection that were not answered yet.
    pub(crate) ahead: usize,
    pub(crate) reply: Option<(Duration, Vec<u8>)>,
}

/// A connection as its caller saw it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) opened_at: Duration,
    pub(crate) ended_at: Option<Duration>,
    /// Its caller hung up while it was owed answers, or had said half a frame.
    pub(crate) given_up: bool,
}

/// A message as a peer heard it.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) peer: &'static str,
    pub(crate) message: serde_json::Value,
    /// The peer said something that the daemon may take for a success.
    pub(crate) accepted: bool,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) asked: Vec<Asked>,
    pub(crate) lines_of_callers: Vec<Line>,
    pub(crate) heard: Vec<Heard>,
    /// What somebody found wrong on the spot.
    pub(crate) complaints: Vec<String>,
    /// How often the daemon was started.
    pub(crate) starts: usize,
    /// How long the last stop took, and how many tasks were left after it.
    pub(crate) stopped: Option<(Duration, usize)>,
    /// Of all events in their order.
    pub(crate) hash: u64,
    pub(crate) lines: Vec<String>,
    /// Groups of users of which no order of operations was found, nor that there is none.
    pub(crate) undecided: u64,
}

/// The one history of a simulation.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Rc<RefCell<Seen>>);

/// Since the simulation began.
pub(crate) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl History {
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.0.borrow_mut())
    }

    pub(crate) fn into_seen(self) -> Seen {
        self.0.take()
    }

    /// Writes an event down; its order and its time count.
    pub(crate) fn note(&self, event: &str) {
        let line = format!("{:>9.3?} {event}", now().as_secs_f64());
        self.change(|seen| {
            let mut hasher = DefaultHasher::new();
            (seen.hash, &line).hash(&mut hasher);
            seen.hash = hasher.finish();
            seen.lines.push(line);
        });
    }

    pub(crate) fn complain(&self, complaint: String) {
        self.note(&format!("WRONG: {complaint}"));
        self.change(|seen| seen.complaints.push(complaint));
    }

    pub(crate) fn opened(&self, host: &str) -> usize {
        let opened_at = now();
        let number = self.change(|seen| {
            seen.lines_of_callers.push(Line { opened_at, ended_at: None, given_up: false });
            seen.lines_of_callers.len() - 1
        });
        self.note(&format!("{host} opens connection {number}"));
        number
    }

    pub(crate) fn ended(&self, connection: usize, given_up: bool, how: &str) {
        self.note(&format!("connection {connection} ends: {how}"));
        let at = now();
        self.change(|seen| {
            let line = &mut seen.lines_of_callers[connection];
            (line.ended_at, line.given_up) = (Some(at), given_up);
        });
    }

    pub(crate) fn asked(
        &self,
        connection: usize,
        host: &'static str,
        ahead: usize,
        request: Request,
    ) -> usize {
        self.note(&format!("connection {connection} asks {request:?}"));
        let at = now();
        self.change(|seen| {
            seen.asked.push(Asked { connection, host, request, at, ahead, reply: None });
            seen.asked.len() - 1
        })
    }

    pub(crate) fn answered(&self, asked: usize, reply: &[u8]) {
        let connection = self.change(|seen| seen.asked[asked].connection);
        self.note(&format!("connection {connection} hears {}", String::from_utf8_lossy(reply)));
        let (at, fits) = (now(), self.change(|seen| seen.asked[asked].request.fits(reply)));
        if !fits {
            let request = self.change(|seen| seen.asked[asked].request.clone());
            let reply = String::from_utf8_lossy(reply);
            self.complain(format!("{reply} is no answer to {request:?}"));
        }
        self.change(|seen| seen.asked[asked].reply = Some((at, reply.to_vec())));
    }

    pub(crate) fn heard(&self, peer: &'static str, message: &[u8]) -> Option<usize> {
        self.note(&format!("{peer} is told {}", String::from_utf8_lossy(message)));
        let Ok(message) = serde_json::from_slice(message) else {
            self.complain(format!("{peer} is told something that is no message"));
            return None;
        };
        Some(self.change(|seen| {
            seen.heard.push(Heard { peer, message, accepted: false });
            seen.heard.len() - 1
        }))
    }

    pub(crate) fn accepted(&self, heard: usize) {
        self.change(|seen| seen.heard[heard].accepted = true);
    }
}
