//! What finished requests leave to those that come, kept by the thread as its buffers are: so an idle
//! connection holds none of it, and some tens of busy ones allocate none.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use super::in_flight::Entry;
use super::request::Request;
use super::route::{self, Answer};
use crate::domain::{Call, Context};

/// Allocations that a thread keeps, a kibibyte each: enough for eight connections that wait with all that
/// they may ask at once by default, or for 32 with sixteen requests each.
const WORKS_MAX: usize = 512;
/// Queues that a thread keeps: a connection uses one.
const QUEUES_MAX: usize = 32;
/// A longer queue is kept by nobody.
const QUEUE_ENTRIES_MAX: usize = 64;

thread_local! {
    static WORKS: RefCell<Vec<Work>> = const { RefCell::new(Vec::new()) };
    static QUEUES: RefCell<Vec<VecDeque<Entry>>> = const { RefCell::new(Vec::new()) };
}

/// What comes of the work on a request: the answer, and what handlers may touch, which was only lent.
type Done = (Answer, Arc<Context>);

/// The work on one request after the other, each in the memory of the one before. The future is made
/// where it stays: it is large, and to move it costs more than many a request.
pub(super) struct Work(Box<dyn Worker>);

trait Worker: Send {
    fn begin(&mut self, request: Request, context: Arc<Context>, call: Call);
    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Done>;
}

struct Slot<Make, Doing> {
    make: Make,
    doing: Pin<Box<Option<Doing>>>,
}

impl<Make, Doing> Worker for Slot<Make, Doing>
where
    Make: Fn(Request, Arc<Context>, Call) -> Doing + Send,
    Doing: Future<Output = Done> + Send,
{
    fn begin(&mut self, request: Request, context: Arc<Context>, call: Call) {
        self.doing.set(Some((self.make)(request, context, call)));
    }

    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Done> {
        debug_assert!(self.doing.is_some(), "it was begun, and not ready before");
        let Some(doing) = self.doing.as_mut().as_pin_mut() else { return Poll::Pending };
        let done = doing.poll(task);
        if done.is_ready() {
            self.doing.set(None);
        }
        done
    }
}

impl Work {
    fn new<Doing>(make: impl Fn(Request, Arc<Context>, Call) -> Doing + Send + 'static) -> Self
    where
        Doing: Future<Output = Done> + Send + 'static,
    {
        Self(Box::new(Slot { make, doing: Box::pin(None) }))
    }

    /// On this request.
    pub(super) fn on(request: Request, context: Arc<Context>, call: Call) -> Self {
        let spare = WORKS.with_borrow_mut(Vec::pop);
        let mut work = spare.unwrap_or_else(|| Self::new(route::answer));
        work.0.begin(request, context, call);
        work
    }

    pub(super) fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Done> {
        self.0.poll(task)
    }

    /// Leaves what was ready to whatever comes next.
    pub(super) fn keep(self) {
        WORKS.with_borrow_mut(|works| {
            if works.len() < WORKS_MAX {
                works.push(self);
            }
        });
    }

    /// Which never ends.
    #[cfg(test)]
    pub(super) fn hanging() -> Self {
        let doing = Box::pin(Some(std::future::pending()));
        Self(Box::new(Slot { make: |_, _, _| std::future::pending(), doing }))
    }
}

impl Future for Work {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Done> {
        self.0.poll(task)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Work")
    }
}

/// An empty queue.
pub(super) fn queue() -> VecDeque<Entry> {
    QUEUES.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Leaves an empty queue to whoever needs one next.
pub(super) fn give_back_queue(queue: &mut VecDeque<Entry>) {
    if queue.is_empty() && queue.capacity() > 0 {
        let queue = mem::take(queue);
        QUEUES.with_borrow_mut(|queues| {
            if queues.len() < QUEUES_MAX && queue.capacity() <= QUEUE_ENTRIES_MAX {
                queues.push(queue);
            }
        });
    }
}
