//! Who is in which room: a set of sessions for each, beside the records, for whoever wants to see.
//!
//! The records alone decide. A session is put into its room's set in the flight that opens it. It is
//! taken out behind the answer: which room it was in is known when its record was written, and a
//! flight of its own would make every request longer. So a set may hold a session for some
//! milliseconds longer, or until the next scrub if the daemon dies then; whoever reads members looks
//! at their records. A set that can't be written to fails no request.
//!
//! A session may come back while it is being taken out. So its index is looked at afterwards: who
//! opens a session writes the record first, the index then, the set last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::call::{Call, Reply};
use super::records::{CALLS_MAX, Records};
use super::refusal;
use super::standing::Standing;
use super::stored::room_key;
use crate::domain::{RoomId, SessionId};
use crate::store::upkeep::Upkeep;
use crate::store::{Error, Result};

/// Sessions that wait to be taken out of their rooms' sets. What is more is left to the scrub.
const EXITS_MAX: usize = 4096;

/// A session in a room.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Seat {
    pub(super) room: RoomId,
    pub(super) session: SessionId,
}

/// Seats that were left and are to be taken out of the rooms' sets.
#[derive(Clone)]
pub(super) struct Exits {
    shared: Arc<Shared>,
}

struct Shared {
    queue: mpsc::Sender<Seat>,
    /// How many were ever put into the queue.
    queued: AtomicU64,
    /// How many are through.
    done: watch::Sender<u64>,
    upkeep: Arc<Upkeep>,
}

impl Exits {
    /// An empty queue, and its end that [`Records::empty_seats`] takes.
    pub(super) fn new(upkeep: Arc<Upkeep>) -> (Self, mpsc::Receiver<Seat>) {
        let (queue, waiting) = mpsc::channel(EXITS_MAX);
        let (queued, done) = (AtomicU64::new(0), watch::Sender::new(0));
        (Self { shared: Arc::new(Shared { queue, queued, done, upkeep }) }, waiting)
    }

    /// The seat was left. Waits for nothing.
    pub(super) fn add(&self, seat: Seat) {
        let counted = match self.shared.queue.try_send(seat) {
            Ok(()) => &self.shared.queued,
            Err(_) => &self.shared.upkeep.exits_given_up,
        };
        counted.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes in how entering a room went.
    pub(super) fn entered(&self, reply: Option<Reply>) {
        if !matches!(reply, Some(Ok(_))) {
            self.shared.upkeep.entries_refused.fetch_add(1, Ordering::Relaxed);
            let why = reply.and_then(|reply| reply.err()).map(|error| error.to_string());
            tracing::debug!(error = why, "a room's set did not take a session in");
        }
    }

    /// Waits until everything that was added before is through.
    pub(super) async fn settle(&self) {
        let queued = self.shared.queued.load(Ordering::Relaxed);
        let mut done = self.shared.done.subscribe();
        // The sender lives as long as we do.
        drop(done.wait_for(|done| *done >= queued).await);
    }
}

impl Records {
    /// Takes seats that were left out of the rooms' sets, as many at once as there are.
    pub(super) async fn empty_seats(self, mut waiting: mpsc::Receiver<Seat>, patience: Duration) {
        let mut seats = Vec::new();
        loop {
            let count = waiting.recv_many(&mut seats, CALLS_MAX).await;
            if count == 0 {
                return;
            }
            let removed = timeout(patience, self.remove_members(&seats)).await;
            if let Err(error) = removed.unwrap_or(Err(Error::Slow(patience))) {
                // Whoever asked has been answered: what is left over is for the scrub to find.
                self.exits.shared.upkeep.exits_given_up.fetch_add(count as u64, Ordering::Relaxed);
                tracing::debug!(%error, "sessions that are over stay in their rooms' sets");
            }
            seats.clear();
            self.exits.shared.done.send_modify(|done| *done += count as u64);
        }
    }

    /// Takes sessions out of the rooms' sets. Who is live there after all, because it came back
    /// meanwhile, or may be because nobody can read the record, is put back. Returns how many
    /// were in a set and are not any more.
    pub(super) async fn remove_members(&self, seats: &[Seat]) -> Result<u64> {
        let remove = seats.iter().map(|seat| member_call("SREM", seat)).collect();
        let replies = self.ask_each(remove).await?;
        let removed = replies.iter().filter(|reply| matches!(reply, Ok(Value::Int(1)))).count();
        // What is no set never took anybody in.
        let mut refused = replies.iter().filter_map(|reply| reply.as_ref().err());
        let refused = refused.find(|error| error.code() != "WRONGTYPE").cloned();
        let sessions: Vec<_> = seats.iter().map(|seat| seat.session.clone()).collect();
        let standings = self.standing_of_each(&sessions).await?;
        let back = seats.iter().zip(replies).zip(standings);
        let back: Vec<_> = back
            .filter(|((seat, reply), standing)| {
                matches!(reply, Ok(Value::Int(1))) && may_be_in(standing, seat.room)
            })
            .map(|((seat, _), _)| member_call("SADD", seat))
            .collect();
        let put_back = back.len();
        self.ask_each(back).await?;
        match refused {
            Some(error) => Err(refusal(error)),
            None => Ok(removed.saturating_sub(put_back) as u64),
        }
    }
}

/// The call that puts a session into its room's set, or takes it out.
pub(super) fn member_call(command: &'static str, seat: &Seat) -> Call {
    Call::command(command, room_key(seat.room)).arg(seat.session.as_str())
}

/// Whether nothing proves that the session is not live in the room.
pub(super) fn may_be_in(standing: &Standing, room: RoomId) -> bool {
    match standing {
        Standing::Live(record) => record.room == Some(room),
        Standing::Unreadable(_) => true,
        Standing::Nobody | Standing::Leftover(_) => false,
    }
}
