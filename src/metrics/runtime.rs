//! The runtime: who works, and how much is to be done.

use std::time::Duration;

use tokio::runtime::{Handle, RuntimeMetrics};

/// The runtime at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Runtime {
    /// Threads that run tasks.
    pub workers: usize,
    /// Tasks that are not over.
    pub tasks: usize,
    /// Tasks that could run and that no worker has taken to itself yet.
    pub queued: usize,
    /// How long all workers together were not idle.
    pub busy: Duration,
}

impl Runtime {
    /// Of the runtime in which it is called, if it is in one, and of those others.
    pub fn read(others: impl Iterator<Item = RuntimeMetrics>) -> Self {
        let here = Handle::try_current().ok().map(|runtime| runtime.metrics());
        here.into_iter().chain(others).fold(Self::default(), |sum, runtime| sum.and(&runtime))
    }

    fn and(self, runtime: &RuntimeMetrics) -> Self {
        let workers = runtime.num_workers();
        let busy = (0..workers).map(|worker| runtime.worker_total_busy_duration(worker));
        Self {
            workers: self.workers + workers,
            tasks: self.tasks + runtime.num_alive_tasks(),
            queued: self.queued + runtime.global_queue_depth(),
            busy: self.busy + busy.sum::<Duration>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn workers_and_tasks_are_counted() {
        let tasks = tokio_util::task::TaskTracker::new();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let waiting = tasks.spawn(released);
        let found = Runtime::read(std::iter::empty());
        assert_eq!((found.workers, found.tasks), (2, 1));
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let both = Runtime::read(std::iter::once(other.metrics()));
        assert_eq!((both.workers, both.tasks), (3, 1));
        other.shutdown_background();
        drop(release);
        assert!(waiting.await.unwrap().is_err());
    }

    #[test]
    fn outside_of_a_runtime_there_is_nothing() {
        assert_eq!(Runtime::read(std::iter::empty()), Runtime::default());
    }
}
