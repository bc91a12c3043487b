//! The connections to one peer: bounded, opened when needed, thrown away when in doubt.
//!
//! Callers stand in one line, first come, first served, and are handed a connection that another
//! caller is done with or that was opened meanwhile, whichever comes first. Connections are opened
//! by tasks of their own: a caller that gives up does not take the attempt with it, and as many
//! callers as want share one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::breaker::Stand;
use super::call::Connection;
use super::calls::Calls;
use super::connect::{ConnectFailure, connect};
use super::lease::Lease;
use super::line::{Grant, NoConnection, Patience, Plan, State, refuse};
use super::standing::Standing;
use super::trust::Reuse;
use crate::config;
use crate::throttle::{Cause, admits};
use crate::tls::Calling;

/// While others hold the open connections and a trial is under way, a caller in line looks after
/// this time whether another trial is due.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How often idle connections are looked at, so that a peer that closed one is not kept waiting
/// for our side until somebody calls.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// The pool of one peer.
#[derive(Debug)]
pub(super) struct Pool {
    /// `room`, `signaling` or `auth`.
    pub(super) peer: &'static str,
    /// Its address and framing stay the same, and so does whether it is called over TLS.
    way: ArcSwap<Way>,
    counters: Arc<Counters>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    state: Mutex<State>,
}

/// How the peer is called.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) config: Arc<config::Gateway>,
    /// Over TLS, if so.
    pub(super) calling: Option<Calling>,
}

/// What became of a peer's connections, and of calls on them, so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections made.
    pub opened: AtomicU64,
    /// Attempts to connect that failed.
    pub failed: AtomicU64,
    /// Connections closed by us: stale, dirty, of unknown state after a failure, or not to be
    /// used again.
    pub discarded: AtomicU64,
    /// Calls.
    pub calls: Calls,
}

/// A place in the line.
#[derive(Debug)]
struct Waiting {
    grant: oneshot::Receiver<Grant>,
    /// Whether more callers stand in front than connections may still be opened: then somebody
    /// else has to be done first, and the wait counts towards the reply timeout.
    for_others: bool,
}

impl Pool {
    pub(super) fn new(
        peer: &'static str,
        way: Way,
        reuse: Reuse,
        counters: Arc<Counters>,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let pool = Arc::new(Self {
            peer,
            way: ArcSwap::from_pointee(way),
            counters,
            tasks,
            stopping: CancellationToken::new(),
            state: Mutex::new(State::new(reuse)),
        });
        pool.tasks.spawn(sweep_regularly(Arc::downgrade(&pool), pool.stopping.clone()));
        pool
    }

    /// A connection, as soon as there is one.
    pub(super) async fn lease(self: &Arc<Self>, patience: Patience) -> Result<Lease, NoConnection> {
        let Waiting { mut grant, for_others } = match self.take_idle_or_queue() {
            Ok(lease) => return Ok(lease),
            Err(waiting) => waiting,
        };
        self.open_what_is_missing();
        loop {
            match timeout_at(self.look_again_at(patience, for_others), &mut grant).await {
                Ok(Ok(Ok(lease))) => return Ok(lease.after_waiting_for_others(for_others)),
                Ok(Ok(Err(none))) => return Err(none),
                Ok(Err(_)) => return Err(NoConnection::Unreachable(ConnectFailure::Stopping)),
                Err(_) => self.check_patience(patience, for_others)?,
            }
            self.open_what_is_missing();
        }
    }

    /// What it goes by.
    pub(super) fn config(&self) -> Arc<config::Gateway> {
        Arc::clone(&self.way.load().config)
    }

    /// Goes by these limits from now on; address and framing are the same as before. A call that has
    /// begun keeps the time it was given.
    pub(super) fn go_by(self: &Arc<Self>, way: Way) {
        let connections_max = way.config.pool_size.max(1);
        self.way.store(Arc::new(way));
        let surplus: Vec<Connection> = {
            let mut state = self.state();
            let surplus = state.open.saturating_sub(connections_max).min(state.idle.len());
            state.open -= surplus;
            state.idle.drain(..surplus).collect()
        };
        self.counters.discarded.fetch_add(surplus.len() as u64, Relaxed);
        drop(surplus);
        self.open_what_is_missing();
    }

    /// Connections at the most.
    fn connections_max(&self) -> usize {
        self.way.load().config.pool_size.max(1)
    }

    /// Closes the idle connections that the peer closed, or said something on unasked.
    fn sweep(&self) {
        let (unclean, spoke) = self.state().take_unclean();
        self.counters.discarded.fetch_add(unclean.len() as u64, Relaxed);
        drop(unclean);
        if spoke {
            self.distrust();
        }
    }

    /// Whether a connection that carried a call may carry another.
    pub(super) fn trusts(&self) -> bool {
        self.state().trust.holds(Instant::now())
    }

    /// The peer said something unasked: what it says next on any connection may be late, too.
    pub(super) fn distrust(&self) {
        let (trusted, idle) = {
            let mut state = self.state();
            (state.trust.lose(Instant::now()), state.take_idle())
        };
        self.counters.discarded.fetch_add(idle.len() as u64, Relaxed);
        drop(idle);
        if trusted {
            let gateway = self.peer;
            tracing::warn!(
                gateway,
                "{gateway} says more than it is asked: for a while each connection to it is used once"
            );
        }
    }

    /// Whether connections may be opened.
    pub(super) fn stand(&self) -> Stand {
        self.state().breaker.stand(Instant::now())
    }

    /// Everything at one moment.
    pub(super) fn standing(&self) -> Standing {
        let state = self.state();
        Standing {
            in_use: state.open - state.idle.len(),
            idle: state.idle.len(),
            opening: state.opening,
            connections_max: self.connections_max(),
            waiting: state.line.iter().filter(|caller| !caller.is_closed()).count(),
            breaker: state.breaker.stand(Instant::now()).into(),
        }
    }

    /// Closes what is idle, and from now on what is given back; opens nothing any more.
    pub(super) fn stop(&self) {
        self.end(NoConnection::Unreachable(ConnectFailure::Stopping));
    }

    /// As [`Pool::stop`], for the sake of another pool: exchanges that have begun come to their end
    /// here, whoever waits is sent there.
    pub(super) fn retire(&self) {
        self.end(NoConnection::Moved);
    }

    fn end(&self, why: NoConnection) {
        self.stopping.cancel();
        let (idle, line) = {
            let mut state = self.state();
            state.ended = Some(why);
            (state.take_idle(), std::mem::take(&mut state.line))
        };
        drop(idle);
        refuse(line, why);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No operation on the state panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle_or_queue(self: &Arc<Self>) -> Result<Lease, Waiting> {
        let connections_max = self.connections_max();
        let mut state = self.state();
        if let Some(connection) = state.idle.pop() {
            drop(state);
            return Ok(self.hand_out(connection));
        }
        let for_others = state.line.len() >= connections_max.saturating_sub(state.open);
        let (sender, grant) = oneshot::channel();
        state.line.push_back(sender);
        Err(Waiting { grant, for_others })
    }

    fn hand_out(self: &Arc<Self>, connection: Connection) -> Lease {
        Lease::new(Arc::clone(self), connection)
    }

    /// A waiting caller looks up when its patience ends, and when the breaker lets it try.
    fn look_again_at(&self, patience: Patience, for_others: bool) -> Instant {
        let now = Instant::now();
        let state = self.state();
        let limit = state.limit(patience, for_others);
        match state.breaker.stand(now) {
            Stand::Open { retry_at, .. } => limit.min(retry_at),
            Stand::HalfOpen => limit.min(now + LOOK_AGAIN_AFTER),
            Stand::Closed => limit,
        }
    }

    fn check_patience(&self, patience: Patience, for_others: bool) -> Result<(), NoConnection> {
        let state = self.state();
        match Instant::now() < state.limit(patience, for_others) {
            true => Ok(()),
            false if state.open > 0 => Err(NoConnection::AllBusy),
            // Those it waited for may just have been given up, and no attempt has failed.
            false if for_others && !state.breaker.is_met_with_silence() => {
                Err(NoConnection::AllBusy)
            }
            false => Err(NoConnection::Unreachable(ConnectFailure::TimedOut)),
        }
    }

    /// Starts the attempts that those in line are waiting for, or sends them away if none may be
    /// started and no connection is open that they could wait for.
    fn open_what_is_missing(self: &Arc<Self>) {
        let connections_max = self.connections_max();
        let plan = self.state().plan(connections_max, Instant::now());
        match plan {
            Plan::Open(attempts) => {
                for _ in 0..attempts {
                    self.tasks.spawn(Arc::clone(self).open_one());
                }
            }
            Plan::Refuse(line, why) => refuse(line, why),
        }
    }

    async fn open_one(self: Arc<Self>) {
        let started = Instant::now();
        let way = self.way.load_full();
        let Way { config, calling } = &*way;
        let opening = connect(&config.address, config.connect_timeout, calling.as_ref());
        match self.stopping.run_until_cancelled(opening).await {
            Some(Ok(stream)) => self.opened(Connection::new(stream, config.framing)),
            Some(Err(cause)) => self.opening_failed(cause, started),
            None => self.state().opening -= 1,
        }
    }

    fn opened(self: &Arc<Self>, connection: Connection) {
        self.counters.opened.fetch_add(1, Relaxed);
        let failures = {
            let mut state = self.state();
            state.opening -= 1;
            state.open += 1;
            state.breaker.connected()
        };
        self.log_recovery(failures);
        self.pass_on(connection);
        self.open_what_is_missing();
    }

    fn opening_failed(self: &Arc<Self>, cause: ConnectFailure, started: Instant) {
        let failures = {
            let mut state = self.state();
            state.opening -= 1;
            state.breaker.failed(cause, started, Instant::now())
        };
        self.log_failure(cause, failures);
        self.open_what_is_missing();
    }

    pub(super) fn note_success(&self) {
        let failures = self.state().breaker.succeeded();
        self.log_recovery(failures);
    }

    fn log_recovery(&self, failures: u64) {
        if failures > 0 && admits(Cause::GatewayFlaps) {
            let (gateway, config) = (self.peer, self.config());
            let address = &config.address;
            tracing::info!(gateway, %address, failures, "{gateway} is reachable again");
        }
    }

    /// A connection was of no use before anything was said on it.
    pub(super) fn hung_up(&self) {
        let now = Instant::now();
        let failures = self.state().breaker.failed(ConnectFailure::HungUp, now, now);
        self.log_failure(ConnectFailure::HungUp, failures);
    }

    fn log_failure(&self, cause: ConnectFailure, failures: u64) {
        self.counters.failed.fetch_add(1, Relaxed);
        if failures == 1 && admits(Cause::GatewayFlaps) {
            let (gateway, config) = (self.peer, self.config());
            let address = &config.address;
            tracing::warn!(gateway, %address, "{gateway} can't be reached: {cause}");
        }
    }

    /// To the first in line who is still there, or to the idle ones.
    pub(super) fn pass_on(self: &Arc<Self>, mut connection: Connection) {
        let connections_max = self.connections_max();
        loop {
            let next = {
                let mut state = self.state();
                if state.ended.is_some() || state.open > connections_max {
                    state.open -= 1;
                    return;
                }
                match state.line.pop_front() {
                    Some(next) => next,
                    None => {
                        connection.set_pooled();
                        state.idle.push(connection);
                        return;
                    }
                }
            };
            let Err(Ok(lease)) = next.send(Ok(self.hand_out(connection))) else { return };
            let Some(returned) = lease.into_connection() else { return };
            connection = returned;
        }
    }

    pub(super) fn discard(self: &Arc<Self>, connection: Connection) {
        drop(connection);
        self.counters.discarded.fetch_add(1, Relaxed);
        self.state().open -= 1;
        self.open_what_is_missing();
    }
}

async fn sweep_regularly(pool: Weak<Pool>, stopping: CancellationToken) {
    while stopping.run_until_cancelled(sleep(SWEEP_EVERY)).await.is_some() {
        let Some(pool) = pool.upgrade() else { return };
        pool.sweep();
    }
}
