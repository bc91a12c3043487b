//! Wakes many tasks of one thread with one call.
//!
//! To wake a task on the runtime of another thread takes a system call, for each of them. A thread that
//! serves connections can be handed all at once instead: that takes one, and what remains is done by
//! the thread itself, where it costs next to nothing.

use std::cell::RefCell;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

thread_local! {
    /// There while the thread keeps it.
    static HERE: RefCell<Option<Arc<Hub>>> = const { RefCell::new(None) };
}

fn here() -> Option<Arc<Hub>> {
    HERE.with_borrow(Option::clone)
}

/// Takes in whom a thread is to wake.
#[derive(Debug, Default)]
struct Hub {
    ready: Mutex<Vec<Waker>>,
    /// Wakes the hub itself.
    own: AtomicWaker,
}

/// Tasks that wait for the same, each with its thread's hub.
#[derive(Debug, Default)]
pub struct Sleepers {
    /// One for each thread; those that have no hub share one.
    shelves: Vec<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    hub: Option<Arc<Hub>>,
    wakers: Vec<Waker>,
}

/// Wakes the tasks of this thread that are handed to it. Never ready: for a thread that runs it beside
/// its tasks, on a runtime of its own, and for nothing else.
pub async fn keep_hub() {
    let hub = Arc::<Hub>::default();
    let _kept = Kept::begin(&hub);
    let mut woken = Vec::new();
    poll_fn(|task| {
        // First, so that whoever comes after the look is heard.
        hub.own.register(task.waker());
        mem::swap(&mut *hub.ready(), &mut woken);
        woken.drain(..).for_each(Waker::wake);
        Poll::<()>::Pending
    })
    .await;
}

/// A task's waker that goes by the hub of its thread. Rung again before the thread has looked, a hub
/// costs nothing.
#[derive(Debug)]
struct ByHub {
    hub: Arc<Hub>,
    waker: Waker,
}

impl Wake for ByHub {
    fn wake(self: Arc<Self>) {
        self.hub.ready().push(self.waker.clone());
        self.hub.own.wake();
    }
}

/// Waits for what another thread will bring, and has itself woken by the hub of this one, if there is
/// one: for what many wait for that comes at once, from somebody who knows only of wakers.
pub async fn by_hub<F: Future + Unpin>(mut future: F) -> F::Output {
    let Some(hub) = here() else { return future.await };
    let mut known: Option<(Waker, Waker)> = None;
    poll_fn(|task| {
        let known = match &mut known {
            Some(known) if known.0.will_wake(task.waker()) => known,
            known => {
                let waker = task.waker().clone();
                let by_hub = ByHub { hub: Arc::clone(&hub), waker: waker.clone() };
                known.insert((waker, Arc::new(by_hub).into()))
            }
        };
        Pin::new(&mut future).poll(&mut Context::from_waker(&known.1))
    })
    .await
}

/// The time for which a thread keeps its hub. Whoever is handed over at its very end is woken as if there
/// were none.
struct Kept(Arc<Hub>);

impl Kept {
    fn begin(hub: &Arc<Hub>) -> Self {
        HERE.set(Some(Arc::clone(hub)));
        Self(Arc::clone(hub))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        HERE.set(None);
        let left = mem::take(&mut *self.0.ready());
        left.into_iter().for_each(Waker::wake);
    }
}

impl Hub {
    fn ready(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sleepers {
    /// One more, which asks on its own thread. The same twice in a row is there once.
    pub fn add(&mut self, waker: &Waker) {
        HERE.with_borrow(|here| {
            let wakers = self.shelf(here.as_ref());
            if !wakers.last().is_some_and(|last| last.will_wake(waker)) {
                wakers.push(waker.clone());
            }
        });
    }

    /// Those of the other too, which is empty then.
    pub fn append(&mut self, other: &mut Self) {
        if self.shelves.is_empty() {
            return mem::swap(self, other);
        }
        for shelf in &mut other.shelves {
            self.shelf(shelf.hub.as_ref()).append(&mut shelf.wakers);
        }
    }

    /// Wakes all of them.
    pub fn wake(&mut self) {
        for Shelf { hub, wakers } in
            self.shelves.iter_mut().filter(|shelf| !shelf.wakers.is_empty())
        {
            match hub {
                Some(hub) => {
                    hub.ready().append(wakers);
                    hub.own.wake();
                }
                None => wakers.drain(..).for_each(Waker::wake),
            }
        }
    }

    fn shelf(&mut self, hub: Option<&Arc<Hub>>) -> &mut Vec<Waker> {
        let is_it = |shelf: &Shelf| shelf.hub.as_ref().map(Arc::as_ptr) == hub.map(Arc::as_ptr);
        let at = self.shelves.iter().position(is_it).unwrap_or(self.shelves.len());
        if at == self.shelves.len() {
            self.shelves.push(Shelf { hub: hub.cloned(), wakers: Vec::new() });
        }
        &mut self.shelves[at].wakers
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::Wake;
    use std::thread;

    use super::*;

    #[derive(Debug, Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::<Count>::default();
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn what_another_thread_brings_is_waited_for_with_a_hub_and_without() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for has_hub in [false, true] {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let (begun, begin) = mpsc::channel();
            let bringer = thread::spawn(move || {
                begin.recv().unwrap();
                sender.send(7).unwrap();
            });
            let task = async move {
                // Only now does this thread have a hub, if it is to have one.
                tokio::task::yield_now().await;
                begun.send(()).unwrap();
                by_hub(receiver).await
            };
            let brought = runtime.block_on(async {
                let tasks = tokio_util::task::TaskTracker::new();
                let task = tasks.spawn(task);
                match has_hub {
                    true => {
                        tokio::select! { () = keep_hub() => None, brought = task => brought.ok() }
                    }
                    false => task.await.ok(),
                }
            });
            assert_eq!(brought, Some(Ok(7)));
            bringer.join().unwrap();
        }
    }

    #[test]
    fn whoever_has_no_hub_is_woken_at_once_and_once() {
        let (count, waker) = counted();
        let (mut sleepers, mut more) = (Sleepers::default(), Sleepers::default());
        sleepers.add(&waker);
        sleepers.add(&waker);
        more.add(&counted().1);
        sleepers.append(&mut more);
        sleepers.wake();
        sleepers.wake();
        more.wake();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn tasks_of_a_thread_with_a_hub_are_woken_by_that_thread() {
        let (sleep, slept) = mpsc::channel();
        let (woken, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let tasks = tokio_util::task::TaskTracker::new();
                for _ in 0..3 {
                    let (sleep, woken) = (sleep.clone(), woken.clone());
                    let mut is_first = true;
                    let task = poll_fn(move |task| {
                        if !mem::take(&mut is_first) {
                            woken.send(thread::current().id()).unwrap();
                            return Poll::Ready(());
                        }
                        let mut sleepers = Sleepers::default();
                        sleepers.add(task.waker());
                        sleep.send(sleepers).unwrap();
                        Poll::Pending
                    });
                    drop(tasks.spawn(task));
                }
                tasks.close();
                tokio::select! {
                    biased;
                    () = keep_hub() => {}
                    () = tasks.wait() => {}
                }
            });
        });
        let mut all = Sleepers::default();
        for mut one in slept.iter().take(3) {
            all.append(&mut one);
        }
        all.wake();
        let there = thread.thread().id();
        assert_eq!(told.iter().take(3).collect::<Vec<_>>(), [there; 3]);
        thread.join().unwrap();
    }
}
