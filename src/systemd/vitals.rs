//! The daemon's health, found out by using what a request uses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::connection::accept::{Bell, Door};
use crate::connection::crew::Crew;
use crate::domain::Context;
use crate::store::{Night, StateStore};

/// What keeps the daemon from serving, although it runs: only a restart mends it.
#[derive(Debug, thiserror::Error)]
pub enum Ailment {
    /// A worker has not come back from the poll of one task since the last look.
    #[error("worker {0} of the runtime is stuck")]
    Worker(usize),
    /// No worker takes new tasks.
    #[error("a new task was not run within {0:?}")]
    Queue(Duration),
    /// Nobody accepts there any more.
    #[error("no connections are accepted on {0}")]
    Listener(SocketAddr),
}

impl Ailment {
    /// Whether the daemon can do nothing at all, rather than only let nobody in.
    pub fn is_of_runtime(&self) -> bool {
        match self {
            Self::Worker(_) | Self::Queue(_) => true,
            Self::Listener(_) => false,
        }
    }
}

/// What the store said when it was asked where the night stands. Whatever it is, a restart of the
/// daemon would not mend it.
#[derive(Debug)]
pub enum StoreState {
    /// It answers.
    Answers(Night),
    /// It answers with an error, which is here.
    Fails(String),
    /// It does not answer within this time.
    Silent(Duration),
}

/// The parts of a daemon that are asked for signs of life.
#[derive(Debug)]
pub struct Vitals {
    context: Arc<Context>,
    door: Arc<Door>,
    bells: Vec<Bell>,
    tasks: TaskTracker,
    crew: Arc<Crew>,
    workers: Vec<Turns>,
}

/// How far a worker has come. Parked and busy workers differ in `parks`, which is odd while it is
/// parked; of a busy one, `busy` grows every few dozen tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turns {
    parks: u64,
    busy: Duration,
}

impl Vitals {
    /// Of a daemon that listens where the bells ring.
    pub fn new(
        context: Arc<Context>,
        door: Arc<Door>,
        bells: Vec<Bell>,
        tasks: TaskTracker,
        crew: Arc<Crew>,
    ) -> Self {
        Self { context, door, bells, tasks, crew, workers: Vec::new() }
    }

    /// Whether the daemon stops: its listeners are closed, and nobody rings there.
    pub fn is_stopping(&self) -> bool {
        self.door.is_closed()
    }

    /// Connections being served.
    pub fn connections(&self) -> usize {
        self.door.connections()
    }

    /// Requests that were read and are not answered yet.
    pub fn in_flight(&self) -> u64 {
        self.context.metrics.requests.in_flight()
    }

    /// The keys whose new values wait for a restart.
    pub fn needs_restart(&self) -> Vec<String> {
        self.context.running.current().needs_restart.clone()
    }

    /// Whether every worker of the runtime has moved since the last time, a new task runs, and all
    /// listeners are attended.
    pub async fn check_runtime(&mut self, patience: Duration) -> Result<(), Ailment> {
        self.check_workers(patience).await?;
        self.check_queue(patience).await?;
        for bell in &self.bells {
            if !matches!(timeout(patience, bell.ring()).await, Ok(true)) {
                return Err(Ailment::Listener(bell.address));
            }
        }
        Ok(())
    }

    /// The same of a daemon that stops, whose listeners are closed.
    pub async fn check_stopping(&mut self, patience: Duration) -> Result<(), Ailment> {
        self.check_workers(patience).await?;
        self.check_queue(patience).await
    }

    /// Where the night stands. It takes the store's lock on the caller's thread, as a request does:
    /// a lock that is never released stops whoever checks, and with it the signs of life.
    pub async fn ask_store(&self, patience: Duration) -> StoreState {
        match timeout(patience, self.context.store.night()).await {
            Ok(Ok(night)) => StoreState::Answers(night),
            Ok(Err(error)) => StoreState::Fails(error.to_string()),
            Err(_) => StoreState::Silent(patience),
        }
    }

    async fn check_workers(&mut self, patience: Duration) -> Result<(), Ailment> {
        if self.stuck_worker().is_none() {
            return Ok(());
        }
        // A machine that stood still as a whole looks the same, for a moment.
        sleep(patience).await;
        self.stuck_worker().map_or(Ok(()), |worker| Err(Ailment::Worker(worker)))
    }

    /// A worker that has not moved since the last look.
    fn stuck_worker(&mut self) -> Option<usize> {
        let runtimes = std::iter::once(Handle::current().metrics()).chain(self.crew.runtimes());
        let now: Vec<_> = runtimes.flat_map(|runtime| turns(&runtime)).collect();
        let before = std::mem::replace(&mut self.workers, now);
        let stuck = |(now, before): (&Turns, &Turns)| now.parks % 2 == 0 && now == before;
        self.workers.iter().zip(&before).position(stuck)
    }

    async fn check_queue(&self, patience: Duration) -> Result<(), Ailment> {
        let is_run = matches!(timeout(patience, self.tasks.spawn(async {})).await, Ok(Ok(())));
        match is_run && self.crew.answers(&self.tasks, patience).await {
            true => Ok(()),
            false => Err(Ailment::Queue(patience)),
        }
    }
}

fn turns(metrics: &RuntimeMetrics) -> Vec<Turns> {
    let of = |worker| Turns {
        parks: metrics.worker_park_unpark_count(worker),
        busy: metrics.worker_total_busy_duration(worker),
    };
    (0..metrics.num_workers()).map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::config::running::Running;
    use crate::config::{Config, StoreUrl};
    use crate::connection::passed::Passed;
    use crate::daemon::Daemon;
    use crate::log::Filter;

    const PATIENCE: Duration = Duration::from_millis(200);

    async fn start() -> Daemon {
        let mut config = Config::default();
        config.store.url = StoreUrl::Memory;
        config.listen[0].address = "127.0.0.1:0".to_owned();
        config.admin.address = String::new();
        let running = Arc::new(Running::of(config));
        Daemon::start(running, Filter::of_no_log(), Passed::default()).await.unwrap()
    }

    /// Looks until the answer is what is expected; the test's own limit is that it never is.
    async fn until(vitals: &mut Vitals, expected: impl Fn(&Result<(), Ailment>) -> bool) {
        loop {
            let found = vitals.check_runtime(PATIENCE).await;
            if expected(&found) {
                return;
            }
            sleep(PATIENCE).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_stuck_worker_is_noticed_although_the_other_works() {
        let daemon = start().await;
        let mut vitals = daemon.vitals();
        until(&mut vitals, Result::is_ok).await;
        let (release, released) = mpsc::channel::<()>();
        let stuck = TaskTracker::new().spawn(async move { released.recv().is_ok() });
        until(&mut vitals, |found| matches!(found, Err(Ailment::Worker(_)))).await;
        release.send(()).unwrap();
        assert!(stuck.await.unwrap());
        until(&mut vitals, Result::is_ok).await;
        daemon.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn listeners_that_nobody_attends_are_noticed() {
        let daemon = start().await;
        let mut vitals = daemon.vitals();
        until(&mut vitals, Result::is_ok).await;
        daemon.stop().await;
        until(&mut vitals, |found| matches!(found, Err(Ailment::Listener(_)))).await;
        vitals.check_stopping(PATIENCE).await.unwrap();
    }

    #[tokio::test]
    async fn the_store_and_the_connections_are_seen() {
        let daemon = start().await;
        let vitals = daemon.vitals();
        let said = vitals.ask_store(PATIENCE).await;
        assert!(matches!(said, StoreState::Answers(_)), "{said:?}");
        assert_eq!(vitals.connections(), 0);
        daemon.stop().await;
    }
}
