//! What finished requests leave to those that come, kept by the thread as its buffers are: so an idle
//! connection holds none of it, and a busy one allocates none.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use tokio_util::sync::ReusableBoxFuture;

use super::in_flight::Entry;
use super::route::Answer;
use crate::domain::Context;

/// Allocations that a thread keeps, a kibibyte each: enough for some tens of connections that wait with
/// all that they may ask at once.
const WORKS_MAX: usize = 512;
/// Queues that a thread keeps: a connection uses one.
const QUEUES_MAX: usize = 2;
/// A longer queue is kept by nobody.
const QUEUE_ENTRIES_MAX: usize = 64;

/// The work on one request, and what it gives back of what it was lent.
pub(super) type Work = ReusableBoxFuture<'static, (Answer, Arc<Context>)>;

thread_local! {
    static WORKS: RefCell<Vec<Work>> = const { RefCell::new(Vec::new()) };
    static QUEUES: RefCell<Vec<VecDeque<Entry>>> = const { RefCell::new(Vec::new()) };
}

/// The future, on the heap.
pub(super) fn work(future: impl Future<Output = (Answer, Arc<Context>)> + Send + 'static) -> Work {
    match WORKS.with_borrow_mut(Vec::pop) {
        Some(mut work) => {
            work.set(future);
            work
        }
        None => ReusableBoxFuture::new(future),
    }
}

/// Leaves what was ready to whatever comes next.
pub(super) fn keep_work(work: Work) {
    WORKS.with_borrow_mut(|works| {
        if works.len() < WORKS_MAX {
            works.push(work);
        }
    });
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
