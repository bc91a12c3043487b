//! Telling room who left: at once if it can be, later if it must be, twice never (contract §4).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dispatch::Dispatcher;
use super::gateway::Gateway;
use super::message::Left;
use super::reply::OwnerReply;
use super::trust::Reuse;
use super::turn::Turn;
use crate::config;
use crate::domain::{RoomId, UserId};
use crate::places::{NoPlace, Place, Places};
use crate::tls::Calling;

/// A room-out that was never tried is not dropped before this, however short `retry_for` is.
const UNTRIED_MIN: Duration = Duration::from_secs(1);

/// Room's gateway and the queue before it.
#[derive(Debug)]
pub struct RoomGateway {
    gateway: Gateway,
    retry_for: Arc<ArcSwap<Duration>>,
    /// Bounded by `places`: whoever is in the queue holds one.
    jobs: mpsc::UnboundedSender<Job>,
    places: Places,
    stop_by: watch::Sender<Option<Instant>>,
    stopped: CancellationToken,
    counters: Arc<RoomCounters>,
}

/// A member left: what room is to be told.
#[derive(Debug)]
pub struct RoomOut {
    /// Who left.
    pub user: UserId,
    /// Which room.
    pub room: RoomId,
    /// Comes before the first attempt, and is over after it.
    pub turn: Turn,
}

/// What became of room-outs so far. Each is in exactly one of `answered`, `refused`, `unknown`,
/// one of the `dropped` ones, or `queued`.
#[derive(Debug, Default)]
pub struct RoomCounters {
    /// Room answered.
    pub answered: AtomicU64,
    /// Room answered with an error. It is not told again.
    pub refused: AtomicU64,
    /// Handed to a connection that broke or stayed silent. Room may know, so it is not told again.
    pub unknown: AtomicU64,
    /// Never told: the queue was full.
    pub dropped_full: AtomicU64,
    /// Never told: room could not be reached in time.
    pub dropped_late: AtomicU64,
    /// Never told: longer than room reads.
    pub dropped_long: AtomicU64,
    /// Never told: the daemon stopped.
    pub dropped_stopping: AtomicU64,
    /// Attempts that sent nothing and were put back.
    pub retried: AtomicU64,
    /// Waiting or under way.
    pub queued: AtomicU64,
}

/// A room-out in the queue.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) user: UserId,
    pub(super) room: RoomId,
    pub(super) turn: Option<Turn>,
    owner: Option<oneshot::Sender<OwnerReply>>,
    queued_at: Instant,
    tried: bool,
    counters: Arc<RoomCounters>,
    _place: Place,
}

impl RoomGateway {
    /// Spawns the task that works the queue off; it ends after [`RoomGateway::shutdown`].
    pub fn new(config: &config::Gateways, calling: Option<Calling>, tasks: &TaskTracker) -> Self {
        let gateway = Gateway::new("room", &config.room, calling, Reuse::WhileTrusted, tasks);
        let (jobs, arrivals) = mpsc::unbounded_channel();
        let (stop_by, stop) = watch::channel(None);
        let stopped = CancellationToken::new();
        let counters = Arc::new(RoomCounters::default());
        let retry_for = Arc::new(ArcSwap::from_pointee(config.room_retry_for));
        let dispatcher =
            Dispatcher::new(gateway.clone(), Arc::clone(&retry_for), Arc::clone(&counters));
        let ended = stopped.clone().drop_guard();
        tasks.spawn(async move {
            dispatcher.run(arrivals, stop).await;
            drop(ended);
        });
        Self {
            gateway,
            retry_for,
            jobs,
            places: Places::new(config.room_queue_max),
            stop_by,
            stopped,
            counters,
        }
    }

    /// Goes by this from now on. What is queued stays queued, is tried for as long as it says here,
    /// and is told at the new address unless it is on its way to the old one.
    pub fn go_by(&self, config: &config::Gateways, calling: Option<Calling>) {
        self.retry_for.store(Arc::new(config.room_retry_for));
        self.places.allow(config.room_queue_max);
        self.gateway.go_by(&config.room, calling);
    }

    /// Room is told as soon as it can be; never waits. A full queue drops the newcomer.
    pub fn tell(&self, out: RoomOut) {
        self.enqueue(out, None);
    }

    /// As [`RoomGateway::tell`], and waits for what room says about the owner: `Keep` if it says
    /// nothing by `deadline` or the first attempt fails. Room is told in either case.
    pub async fn ask(&self, out: RoomOut, deadline: Instant) -> OwnerReply {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(out, Some(sender));
        match timeout_at(deadline, receiver).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) | Err(_) => OwnerReply::Keep,
        }
    }

    /// Works on what is queued until `deadline`, drops the rest, and closes the connections.
    pub async fn shutdown(&self, deadline: Instant) {
        self.places.close();
        self.stop_by.send_replace(Some(deadline));
        self.stopped.cancelled().await;
        self.gateway.shutdown();
    }

    /// Room's gateway, to look at.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Room-outs that may wait or be under way at once.
    pub fn queue_max(&self) -> usize {
        self.places.max()
    }

    /// What became of room-outs so far.
    pub fn counters(&self) -> &RoomCounters {
        &self.counters
    }

    fn enqueue(&self, out: RoomOut, owner: Option<oneshot::Sender<OwnerReply>>) {
        let counters = &self.counters;
        let place = match self.places.try_take() {
            Ok(place) => place,
            Err(NoPlace::Closed) => return count_one(&counters.dropped_stopping),
            Err(NoPlace::Full) => return count_one(&counters.dropped_full),
        };
        self.counters.queued.fetch_add(1, Relaxed);
        let job = Job {
            user: out.user,
            room: out.room,
            turn: Some(out.turn),
            owner,
            queued_at: Instant::now(),
            tried: false,
            counters: Arc::clone(&self.counters),
            _place: place,
        };
        if self.jobs.send(job).is_err() {
            count_one(&self.counters.dropped_stopping);
        }
    }
}

fn count_one(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Job {
    pub(super) fn message(&self) -> Bytes {
        Left { user: &self.user, room: self.room }.to_json()
    }

    /// Until when it may wait.
    pub(super) fn wait_until(&self, retry_for: Duration) -> Instant {
        self.queued_at + if self.tried { retry_for } else { retry_for.max(UNTRIED_MIN) }
    }

    /// The first attempt failed, or would have: whoever waits for it goes on.
    pub(super) fn set_tried(&mut self) {
        self.tried = true;
        self.turn = None;
        self.answer(OwnerReply::Keep);
    }

    pub(super) fn answer(&mut self, reply: OwnerReply) {
        if let Some(owner) = self.owner.take() {
            // Whoever asked may have gone.
            drop(owner.send(reply));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.counters.queued.fetch_sub(1, Relaxed);
    }
}

impl RoomCounters {
    /// Never told, for whatever reason.
    pub fn dropped(&self) -> u64 {
        let reasons =
            [&self.dropped_full, &self.dropped_late, &self.dropped_long, &self.dropped_stopping];
        reasons.iter().map(|reason| reason.load(Relaxed)).sum()
    }
}
