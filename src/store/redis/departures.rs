//! Calls of all operations, collected while others are under way, and sent as one flight.
//!
//! What one operation asks, Redis answers in less time than it takes to hand it over and to wake whoever
//! waits. So what many operations ask goes together: one write, one script for all that touch records,
//! one wake. Nobody waits for company: whoever comes while fewer than [`FLIGHTS_MAX`] flights are under
//! way leaves at once.

use std::collections::VecDeque;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call::{Call, Reply, is_unknown_script};
use super::flight::{Flight, PARTS_MAX};
use super::script::ScriptAs;
use super::server::{Fault, Live, Server, unusable};
use crate::wake;

/// Flights under way at once: while Redis works on one, another one is read, and of others the answers are
/// given.
const FLIGHTS_MAX: usize = 4;
/// Calls in a flight at the most, or those of one operation.
const CALLS_MAX: usize = 768;
/// Operations that may wait for their flight; further ones wait for their place in the queue.
const WAITING_MAX: usize = 4096;

/// The way to a server on which calls travel together.
#[derive(Clone)]
pub(super) struct Departures {
    server: Server,
    queue: mpsc::Sender<Passenger>,
}

/// An operation's calls, to be made one after the other.
struct Passenger {
    calls: Vec<Call>,
    /// Closed once nobody waits for it any more.
    told: oneshot::Sender<Result<Vec<Reply>, Fault>>,
}

impl Departures {
    /// Has calls leave until `stop`.
    pub(super) fn keep(server: Server, tracker: &TaskTracker, stop: CancellationToken) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let departing = depart(server.clone(), waiting);
        tracker.spawn(async move { stop.run_until_cancelled_owned(departing).await });
        Self { server, queue }
    }

    /// The server.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Sends the calls in their order. If the connection breaks under them they are sent once more.
    pub(super) async fn send(&self, calls: Vec<Call>) -> Result<Vec<Reply>, Fault> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        // Each waits for a connection by itself: so one that came late waits no longer than others.
        if !self.server.is_connected() {
            Box::pin(self.server.connected()).await?;
        }
        let (told, reply) = oneshot::channel();
        let queued = self.queue.send(Passenger { calls, told }).await;
        queued.map_err(|_| Fault::Away("the daemon is stopping".to_owned()))?;
        let reply = wake::by_hub(reply).await;
        reply.unwrap_or_else(|_| Err(Fault::Broken("the daemon is stopping".to_owned())))
    }
}

async fn depart(server: Server, mut queue: mpsc::Receiver<Passenger>) {
    let mut flights = FuturesUnordered::new();
    let (mut arrived, mut waiting) = (Vec::new(), VecDeque::new());
    loop {
        while flights.len() < FLIGHTS_MAX && !waiting.is_empty() {
            flights.push(fly(&server, board(&mut waiting)));
        }
        let may_leave = flights.len() < FLIGHTS_MAX;
        tokio::select! {
            biased;
            Some(()) = flights.next() => {}
            count = queue.recv_many(&mut arrived, CALLS_MAX), if may_leave => {
                if count == 0 {
                    return;
                }
                waiting.extend(arrived.drain(..));
            }
        }
    }
}

/// As many as one flight takes.
fn board(waiting: &mut VecDeque<Passenger>) -> Vec<Passenger> {
    let mut calls = 0;
    let boards = |passenger: &&Passenger| {
        let is_first = calls == 0;
        calls += passenger.calls.len();
        is_first || calls <= CALLS_MAX
    };
    let count = waiting.iter().take_while(boards).count();
    waiting.drain(..count).collect()
}

/// Makes the calls, and tells everybody what became of theirs.
async fn fly(server: &Server, mut passengers: Vec<Passenger>) {
    let mut broken = None;
    for _ in 0..2 {
        // What nobody waits for any more is not begun.
        passengers.retain(|passenger| !passenger.told.is_closed());
        if passengers.is_empty() {
            return;
        }
        let (left, fault) = match server.live().await {
            Ok(live) => exchange(server, &live, passengers).await,
            Err(fault) => (passengers, fault),
        };
        passengers = left;
        // What the first attempt may have done is not undone by a second that got nowhere.
        let is_away = matches!(fault, Fault::Away(_));
        broken.get_or_insert(fault);
        if is_away {
            break;
        }
    }
    let Some(fault) = broken else { return };
    for passenger in passengers {
        tell(passenger, Err(fault.clone()));
    }
}

/// Sends the calls, and tells those that were answered. Returns the others, and why they were not.
async fn exchange(
    server: &Server,
    live: &Live,
    passengers: Vec<Passenger>,
) -> (Vec<Passenger>, Fault) {
    let mut fault = Fault::Broken(String::new());
    let mut left = Vec::new();
    let mut again = passengers;
    for sent in [ScriptAs::Hash, ScriptAs::Source] {
        again.retain(|passenger| !passenger.told.is_closed());
        if again.is_empty() {
            break;
        }
        let replies = match fly_once(server, live, &again, sent).await {
            Ok(replies) => replies,
            Err(broken) => {
                left.append(&mut again);
                return (left, broken);
            }
        };
        for (passenger, replies) in std::mem::take(&mut again).into_iter().zip(replies) {
            if let Some(why) = replies.iter().find_map(unusable) {
                fault = server.give_up(live, why);
                left.push(passenger);
            } else if sent == ScriptAs::Hash && replies.iter().any(is_unknown_script) {
                again.push(passenger);
            } else {
                tell(passenger, Ok(replies));
            }
        }
    }
    (left, fault)
}

async fn fly_once(
    server: &Server,
    live: &Live,
    passengers: &[Passenger],
    sent: ScriptAs,
) -> Result<Vec<Vec<Reply>>, Fault> {
    let operations: Vec<&[Call]> = passengers.iter().map(|one| one.calls.as_slice()).collect();
    let parts_max = if server.has_slots() { 1 } else { PARTS_MAX };
    let flight = Flight::of(&operations, parts_max);
    let pipeline = flight.pipeline(&operations, sent);
    let values = server.exchange(live, &pipeline).await?;
    let replies = flight.replies(values);
    replies.ok_or_else(|| server.give_up(live, "an answer makes no sense".to_owned()))
}

fn tell(passenger: Passenger, told: Result<Vec<Reply>, Fault>) {
    // Who has given up hears nothing.
    drop(passenger.told.send(told));
}
