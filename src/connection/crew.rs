//! The threads that serve connections, each with a runtime of its own.
//!
//! A connection stays with one thread for all its life. So what it waits for wakes the thread that has
//! its socket and its memory at hand, no other takes its work away, and none has to be woken to look
//! whether it could: on the way of a message that costs more than the message. What it costs instead is
//! that a thread with the busiest peers is not helped out by the others; new connections go to the
//! thread that has the fewest.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, RuntimeMetrics};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::{self, TcpStream};
use crate::wake;

/// How often a stop looks whether a thread has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The threads.
#[derive(Debug, Default)]
pub struct Crew {
    members: Vec<Member>,
    /// Where the search for the least busy one begins.
    next: AtomicUsize,
    /// Cancelled when no connection needs them any more.
    end: CancellationToken,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Member {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

/// A connection's place with one of the threads, until it is dropped.
#[derive(Debug)]
pub struct Berth {
    /// Of the thread; none if the connection is served where it was accepted.
    runtime: Option<Handle>,
    connections: Arc<AtomicUsize>,
}

impl Crew {
    /// Starts so many threads. With none of them connections are served where they are accepted.
    pub fn muster(threads: usize) -> io::Result<Self> {
        let mut crew = Self::default();
        for number in 0..threads {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let connections = Arc::default();
            crew.members.push(Member { runtime: runtime.handle().clone(), connections });
            let end = crew.end.clone();
            let thread =
                thread::Builder::new().name(format!("stated-peers-{number}")).spawn(move || {
                    runtime.block_on(end.run_until_cancelled(wake::keep_hub()));
                    // Not waiting for a system call that blocks, say in a resolver.
                    runtime.shutdown_background();
                })?;
            crew.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(crew)
    }

    /// A place with the thread that has the fewest connections.
    pub fn berth(&self) -> Berth {
        let from = self.next.fetch_add(1, Relaxed) % self.members.len().max(1);
        let (before, after) = self.members.split_at(from.min(self.members.len()));
        let members = after.iter().chain(before);
        match members.min_by_key(|member| member.connections.load(Relaxed)) {
            Some(Member { runtime, connections }) => {
                connections.fetch_add(1, Relaxed);
                Berth { runtime: Some(runtime.clone()), connections: Arc::clone(connections) }
            }
            None => Berth { runtime: None, connections: Arc::new(AtomicUsize::new(1)) },
        }
    }

    /// What the threads' runtimes tell of themselves; nothing once they were dismissed.
    pub fn runtimes(&self) -> impl Iterator<Item = RuntimeMetrics> + '_ {
        self.on_duty().iter().map(|member| member.runtime.metrics())
    }

    fn on_duty(&self) -> &[Member] {
        if self.end.is_cancelled() { &[] } else { &self.members }
    }

    /// Whether every thread runs a new task, all within that time.
    pub async fn answers(&self, tasks: &TaskTracker, patience: Duration) -> bool {
        let asked = self.on_duty().iter().map(|member| tasks.spawn_on(async {}, &member.runtime));
        let asked = futures_util::future::try_join_all(asked.collect::<Vec<_>>());
        matches!(tokio::time::timeout(patience, asked).await, Ok(Ok(_)))
    }

    /// Lets the threads end, and what they still work on with them. Says whether they have by then.
    pub async fn dismiss(&self, deadline: Instant) -> bool {
        self.end.cancel();
        let mut threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        loop {
            threads.retain(|thread| !thread.is_finished());
            if threads.is_empty() || Instant::now() >= deadline {
                return threads.is_empty();
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Berth {
    /// Gives the socket to the thread.
    pub fn adopt(&self, stream: TcpStream) -> io::Result<TcpStream> {
        match &self.runtime {
            Some(runtime) => net::hand_over(stream, runtime),
            None => Ok(stream),
        }
    }

    /// Has the thread work on it; the place is given back when it is done.
    pub fn spawn(self, tasks: &TaskTracker, work: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.runtime.clone();
        let work = async move {
            work.await;
            drop(self);
        };
        match runtime {
            Some(runtime) => drop(tasks.spawn_on(work, &runtime)),
            None => drop(tasks.spawn(work)),
        }
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_goes_to_the_thread_that_has_the_fewest_and_stays_there() {
        let crew = Crew::muster(2).unwrap();
        let tasks = TaskTracker::new();
        let berths: Vec<_> = (0..4).map(|_| crew.berth()).collect();
        let counts = || crew.members.iter().map(|member| member.connections.load(Relaxed));
        assert_eq!(counts().collect::<Vec<_>>(), [2, 2]);
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        for berth in berths {
            let tell = tell.clone();
            berth.spawn(&tasks, async move {
                let before = thread::current().id();
                tokio::task::yield_now().await;
                assert_eq!(thread::current().id(), before);
                tell.send(before).unwrap();
            });
        }
        tasks.close();
        tasks.wait().await;
        let mut threads = Vec::new();
        while let Ok(thread) = told.try_recv() {
            threads.push(thread);
        }
        assert_eq!(threads.len(), 4);
        threads.sort_unstable_by_key(|thread| format!("{thread:?}"));
        threads.dedup();
        assert_eq!(threads.len(), 2);
        assert_eq!(counts().collect::<Vec<_>>(), [0, 0]);
        assert!(crew.dismiss(Instant::now() + Duration::from_secs(60)).await);
    }

    #[tokio::test]
    async fn a_thread_that_is_stuck_does_not_answer() {
        let crew = Crew::muster(1).unwrap();
        let tasks = TaskTracker::new();
        assert!(crew.answers(&tasks, Duration::from_secs(60)).await);
        let (release, released) = std::sync::mpsc::channel::<()>();
        crew.berth().spawn(&tasks, async move { assert!(released.recv().is_err()) });
        assert!(!crew.answers(&tasks, Duration::from_millis(20)).await);
        drop(release);
        assert!(crew.answers(&tasks, Duration::from_secs(60)).await);
        assert!(crew.dismiss(Instant::now() + Duration::from_secs(60)).await);
    }
}
