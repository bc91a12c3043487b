//! What a pool has, who stands in line for it, and what is to be done for them.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::breaker::{Breaker, Stand};
use super::call::{Connection, Idle};
use super::connect::ConnectFailure;
use super::lease::Lease;
use super::trust::{Reuse, Trust};

/// Invariants: `open` counts idle and leased connections; `open + opening <= pool_size`, unless that
/// was made smaller while more were in use; while there is an idle connection nobody waits.
#[derive(Debug)]
pub(super) struct State {
    /// The one used last is used next.
    pub(super) idle: Vec<Connection>,
    pub(super) open: usize,
    pub(super) opening: usize,
    /// As many as there are callers; those who gave up are skipped when their turn comes.
    pub(super) line: Line,
    pub(super) breaker: Breaker,
    pub(super) trust: Trust,
    /// Why nobody gets a connection any more.
    pub(super) ended: Option<NoConnection>,
}

pub(super) type Grant = Result<Lease, NoConnection>;
pub(super) type Line = VecDeque<oneshot::Sender<Grant>>;

/// What to do for those in line.
#[derive(Debug)]
pub(super) enum Plan {
    /// Start this many attempts to connect.
    Open(usize),
    /// Send them away.
    Refuse(Line, NoConnection),
}

/// How long to wait for a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For one that other callers hold.
    pub(super) free_by: Instant,
    /// For the first one.
    pub(super) open_by: Instant,
    /// For the first one, if the last attempts were met with silence. A trial goes on without the
    /// callers who lose patience; if the peer is back, it takes no time.
    pub(super) trial_by: Instant,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoConnection {
    /// None can be made.
    Unreachable(ConnectFailure),
    /// Others held all of them for too long.
    AllBusy,
    /// The peer is somewhere else now, and another pool leads there.
    Moved,
}

impl State {
    pub(super) fn new(reuse: Reuse) -> Self {
        Self {
            idle: Vec::new(),
            open: 0,
            opening: 0,
            line: Line::new(),
            breaker: Breaker::default(),
            trust: Trust::new(reuse),
            ended: None,
        }
    }

    /// All idle connections: the pool has them no more.
    pub(super) fn take_idle(&mut self) -> Vec<Connection> {
        self.open -= self.idle.len();
        std::mem::take(&mut self.idle)
    }

    /// The idle connections that the peer closed, or said something on unasked, and whether there
    /// is one of the latter.
    pub(super) fn take_unclean(&mut self) -> (Vec<Connection>, bool) {
        let (mut clean, mut unclean, mut spoke) = (Vec::new(), Vec::new(), false);
        for mut connection in std::mem::take(&mut self.idle) {
            let idle = connection.idle();
            spoke |= idle == Idle::Spoke;
            if idle == Idle::Clean { &mut clean } else { &mut unclean }.push(connection);
        }
        self.idle = clean;
        self.open -= unclean.len();
        (unclean, spoke)
    }

    /// What to do for those in line. The attempts it names count as started.
    pub(super) fn plan(&mut self, connections_max: usize, now: Instant) -> Plan {
        while self.line.front().is_some_and(oneshot::Sender::is_closed) {
            self.line.pop_front();
        }
        if let Some(why) = self.ended {
            return Plan::Refuse(std::mem::take(&mut self.line), why);
        }
        let free = connections_max.saturating_sub(self.open + self.opening);
        let missing = self.line.len().saturating_sub(self.opening);
        let attempts = match self.breaker.stand(now) {
            Stand::Closed => missing.min(free),
            Stand::HalfOpen if self.opening == 0 => missing.min(free).min(1),
            Stand::HalfOpen => 0,
            Stand::Open { cause, .. } if self.open == 0 => {
                let why = NoConnection::Unreachable(cause);
                return Plan::Refuse(std::mem::take(&mut self.line), why);
            }
            Stand::Open { .. } => 0,
        };
        self.opening += attempts;
        Plan::Open(attempts)
    }

    /// When a caller in line has waited long enough.
    pub(super) fn limit(&self, patience: Patience, for_others: bool) -> Instant {
        if self.open > 0 {
            patience.free_by
        } else if self.breaker.is_met_with_silence() {
            patience.trial_by
        } else if for_others {
            patience.free_by
        } else {
            patience.free_by.max(patience.open_by)
        }
    }
}

pub(super) fn refuse(line: Line, why: NoConnection) {
    for waiting in line {
        // Whoever gave up meanwhile does not need to know.
        drop(waiting.send(Err(why)));
    }
}
