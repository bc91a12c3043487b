//! The runtime: who works, and how much is to be done.

use std::time::Duration;

use tokio::runtime::Handle;

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
    /// Of the runtime in which it is called; nothing but zeros outside of one.
    pub fn read() -> Self {
        let Ok(runtime) = Handle::try_current() else { return Self::default() };
        let metrics = runtime.metrics();
        let workers = metrics.num_workers();
        Self {
            workers,
            tasks: metrics.num_alive_tasks(),
            queued: metrics.global_queue_depth(),
            busy: (0..workers).map(|worker| metrics.worker_total_busy_duration(worker)).sum(),
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
        let found = Runtime::read();
        assert_eq!((found.workers, found.tasks), (2, 1));
        drop(release);
        assert!(waiting.await.unwrap().is_err());
    }

    #[test]
    fn outside_of_a_runtime_there_is_nothing() {
        assert_eq!(Runtime::read(), Runtime::default());
    }
}
