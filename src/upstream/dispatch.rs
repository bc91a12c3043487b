//! The task that works the queue of room-outs off: in order for a user, side by side for users.
//!
//! A room-out comes in when its turn has come, and joins its user's lane. The first of each lane
//! is ready to be tried; the others wait until it is over. What could not be sent goes back to the
//! front, and while room can't be reached one room-out after the other is tried, at the pace of
//! the gateway's back-off.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep_until};

use super::gateway::{CallError, Gateway};
use super::reply::{OwnerReply, Reply};
use super::report::Report;
use super::room::{Job, RoomCounters};
use crate::crash::{self, Point};
use crate::domain::UserId;

/// How long a room-out waits for what its connection forwarded before about the same user. That
/// is answered within the request timeout; whatever lasts longer must not hold it up.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
/// The least pause after an attempt that sent nothing, whatever the back-off says.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// Every job is in exactly one place: waiting for its turn, behind in a lane, in `ready`, in
/// `again`, or in flight. The last three are the first of their lane.
pub(super) struct Dispatcher {
    gateway: Gateway,
    /// How long a room-out is tried, from its arrival on.
    retry_for: Arc<ArcSwap<Duration>>,
    counters: Arc<RoomCounters>,
    turns: FuturesUnordered<BoxFuture<'static, Job>>,
    lanes: HashMap<UserId, Lane>,
    ready: VecDeque<Job>,
    /// Tried, or told that trying is of no use now: nobody waits for their first attempt.
    again: VecDeque<Job>,
    in_flight: FuturesUnordered<BoxFuture<'static, (Job, Result<Reply, CallError>)>>,
    /// Nothing is tried before.
    paused_until: Option<Instant>,
    report: Report,
}

/// What waits behind the first room-out of a user.
#[derive(Debug, Default)]
struct Lane {
    behind: VecDeque<Job>,
    /// The first one waits to be tried again: those behind count as tried too.
    held: bool,
}

impl Dispatcher {
    pub(super) fn new(
        gateway: Gateway,
        retry_for: Arc<ArcSwap<Duration>>,
        counters: Arc<RoomCounters>,
    ) -> Self {
        Self {
            gateway,
            retry_for,
            report: Report::new(Arc::clone(&counters)),
            counters,
            turns: FuturesUnordered::new(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            again: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            paused_until: None,
        }
    }

    /// Works until told to stop, and then until the queue is empty or the time is up.
    pub(super) async fn run(
        mut self,
        mut arrivals: mpsc::UnboundedReceiver<Job>,
        mut stop: watch::Receiver<Option<Instant>>,
    ) {
        loop {
            self.start_attempts();
            let stop_by = *stop.borrow_and_update();
            if stop_by.is_some() && arrivals.is_empty() && self.is_idle() {
                break;
            }
            // In a fixed order, so that a simulation can be repeated. What comes first is the rarer:
            // nobody is starved by it, as all of it comes of arrivals.
            tokio::select! {
                biased;
                () = until(stop_by) => break,
                changed = stop.changed() => if changed.is_err() { break },
                () = until(self.paused_until) => self.paused_until = None,
                () = until(self.report.due_at()) => self.report.say(),
                Some((job, outcome)) = self.in_flight.next() => self.conclude(job, &outcome),
                Some(job) = self.turns.next() => self.join_lane(job),
                Some(job) = arrivals.recv() => self.arrive(job),
            }
        }
        self.drop_everything(arrivals);
    }

    fn is_idle(&self) -> bool {
        // A lane exists exactly while its first job does.
        self.turns.is_empty() && self.lanes.is_empty()
    }

    fn arrive(&mut self, mut job: Job) {
        let Some(mut turn) = job.turn.take() else { return self.join_lane(job) };
        if turn.has_come() {
            job.turn = Some(turn);
            return self.join_lane(job);
        }
        let deadline = job.wait_until(**self.retry_for.load()).min(Instant::now() + TURN_WAIT_MAX);
        self.turns.push(Box::pin(async move {
            if turn.wait(deadline).await.is_err() {
                tracing::debug!("a room-out goes ahead of what was forwarded before it");
            }
            job.turn = Some(turn);
            job
        }));
    }

    fn join_lane(&mut self, mut job: Job) {
        let hopeless = self.is_hopeless();
        if let Some(lane) = self.lanes.get_mut(&job.user) {
            if lane.held {
                job.set_tried();
            }
            lane.behind.push_back(job);
            return;
        }
        let lane = Lane { behind: VecDeque::new(), held: hopeless };
        self.lanes.insert(job.user.clone(), lane);
        if hopeless {
            job.set_tried();
            self.again.push_back(job);
        } else {
            self.ready.push_back(job);
        }
    }

    /// Whether a newcomer would have to wait until room can be reached again: then its attempt
    /// counts as made and failed, so that a dead peer costs nobody any time.
    fn is_hopeless(&self) -> bool {
        self.paused_until.is_some()
            || !self.again.is_empty()
            || self.gateway.retry_at().is_some()
            || (!self.in_flight.is_empty() && !self.gateway.is_reachable())
    }

    fn start_attempts(&mut self) {
        let (now, retry_for) = (Instant::now(), **self.retry_for.load());
        while self.paused_until.is_none() && self.in_flight.len() < self.attempts_max() {
            let Some(job) = self.again.pop_front().or_else(|| self.ready.pop_front()) else {
                return;
            };
            if job.wait_until(retry_for) <= now {
                self.counters.dropped_late.fetch_add(1, Relaxed);
                self.leave_lane(job);
            } else {
                self.attempt(job);
            }
        }
    }

    /// One room-out is enough to see whether room is back.
    fn attempts_max(&self) -> usize {
        if self.gateway.is_reachable() { self.gateway.config().pool_size.max(1) } else { 1 }
    }

    fn attempt(&self, job: Job) {
        let gateway = self.gateway.clone();
        let deadline = Instant::now() + gateway.config().call_max();
        self.in_flight.push(Box::pin(async move {
            crash::point(Point::RoomOutBegun);
            let outcome = gateway.call(&job.message(), deadline).await;
            crash::point(Point::RoomOutAnswered);
            (job, outcome)
        }));
    }

    fn conclude(&mut self, mut job: Job, outcome: &Result<Reply, CallError>) {
        let counters = &self.counters;
        match outcome {
            Ok(reply) => {
                counters.answered.fetch_add(1, Relaxed);
                job.answer(OwnerReply::read(reply));
            }
            Err(CallError::TooLong { .. }) => {
                counters.dropped_long.fetch_add(1, Relaxed);
            }
            Err(error) if error.nothing_sent() => return self.put_back(job),
            Err(error @ CallError::Refused { .. }) => {
                counters.refused.fetch_add(1, Relaxed);
                self.report.blame(*error);
            }
            // Room may know of it, and telling it twice would count a member down twice.
            Err(
                error @ (CallError::Timeout { .. }
                | CallError::Dropped { .. }
                | CallError::Unreachable { .. }),
            ) => {
                counters.unknown.fetch_add(1, Relaxed);
                self.report.blame(*error);
            }
        }
        self.leave_lane(job);
    }

    /// Nothing was sent: room is told again when it can be reached.
    fn put_back(&mut self, mut job: Job) {
        self.counters.retried.fetch_add(1, Relaxed);
        job.set_tried();
        self.hold_lane(&job.user);
        self.again.push_front(job);
        let soonest = Instant::now() + PAUSE_MIN;
        let retry_at = self.gateway.retry_at().map_or(soonest, |retry_at| retry_at.max(soonest));
        self.paused_until = Some(retry_at);
        // What is ready would only wait as well.
        while let Some(mut job) = self.ready.pop_front() {
            job.set_tried();
            self.hold_lane(&job.user);
            self.again.push_back(job);
        }
    }

    fn hold_lane(&mut self, user: &UserId) {
        if let Some(lane) = self.lanes.get_mut(user).filter(|lane| !lane.held) {
            lane.held = true;
            lane.behind.iter_mut().for_each(Job::set_tried);
        }
    }

    /// The first of a lane is over; the next one comes forward.
    fn leave_lane(&mut self, job: Job) {
        let Some(lane) = self.lanes.get_mut(&job.user) else { return };
        match lane.behind.pop_front() {
            Some(next) if lane.held => self.again.push_back(next),
            Some(next) => self.ready.push_back(next),
            None => {
                self.lanes.remove(&job.user);
            }
        }
    }

    fn drop_everything(mut self, mut arrivals: mpsc::UnboundedReceiver<Job>) {
        arrivals.close();
        let unknown = self.in_flight.len() as u64;
        let behind: usize = self.lanes.values().map(|lane| lane.behind.len()).sum();
        let unsent = arrivals.len() + self.turns.len() + self.ready.len() + self.again.len();
        let dropped = (unsent + behind) as u64;
        self.counters.unknown.fetch_add(unknown, Relaxed);
        self.counters.dropped_stopping.fetch_add(dropped, Relaxed);
        self.report.say();
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
