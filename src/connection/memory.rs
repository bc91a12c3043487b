//! Memory for what peers send and are sent. Each connection has some of its own; what it needs beyond
//! comes out of one stock for all, for a whole frame at once and in the order of asking.
//!
//! A connection holds at most [`OWN_BYTES`] and what it was given; all of them together therefore
//! `limits.max_buffer_bytes` and [`OWN_BYTES`] each. As nobody is given a part of what a frame needs,
//! nobody waits for more while others wait for what it has: whoever was given memory can read its
//! frame, be answered and give it back, or is closed for taking too long over that.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Waker};

use crate::metrics::Metrics;

/// What a connection has of its own. Peers with small messages need no more, so they go on whatever
/// others need.
pub(super) const OWN_BYTES: usize = 64 * 1024;
/// More is asked for, and given back, in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;
/// What a request takes besides its frame: the work on it, and a short answer.
const REQUEST_BYTES: usize = 2 * 1024;
/// So many times its length a frame takes from its beginning until it is answered: once as it is read,
/// up to three times decoded, and up to four times for an answer that repeats it in other characters.
const FRAME_WEIGHT: usize = 8;

/// The stock.
#[derive(Debug)]
pub(super) struct Memory {
    metrics: Arc<Metrics>,
    stock: Mutex<Stock>,
}

#[derive(Debug)]
struct Stock {
    max: usize,
    held: usize,
    last_ticket: u64,
    /// Those who wait, in the order of asking.
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    waker: Waker,
}

/// What one connection has of the stock, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<Memory>,
    held: usize,
    ticket: Option<u64>,
    /// Whether what was asked for last, since it was settled, was refused.
    refused: bool,
    /// The longest output since there was none.
    pub(super) output_peak: usize,
}

/// Memory of work that outlives its request, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Loan {
    memory: Arc<Memory>,
    bytes: usize,
}

/// Whether a connection may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    Given,
    /// Not now; its task is woken. This is the first time that it is told so.
    Wait,
    /// As before.
    Waits,
}

/// What a request takes whose frame has this length.
pub(super) fn of_request(frame_bytes: usize) -> usize {
    REQUEST_BYTES.saturating_add(frame_bytes.saturating_mul(FRAME_WEIGHT))
}

impl Memory {
    pub(super) fn new(max: usize, metrics: Arc<Metrics>) -> Self {
        let stock = Stock { max, held: 0, last_ticket: 0, waiting: BTreeMap::new() };
        Self { metrics, stock: Mutex::new(stock) }
    }

    /// So much there is from now on. Nobody loses what it has.
    pub(super) fn allow(&self, max: usize) {
        let mut stock = self.stock();
        stock.max = max;
        stock.wake_next();
    }

    /// Takes it without asking, for what can't wait.
    pub(super) fn lend(self: &Arc<Self>, bytes: usize) -> Loan {
        let mut stock = self.stock();
        stock.held = stock.held.saturating_add(bytes);
        self.tell(&stock);
        Loan { memory: Arc::clone(self), bytes }
    }

    fn ask(&self, ticket: &mut Option<u64>, bytes: usize, task: &TaskContext<'_>) -> bool {
        let mut stock = self.stock();
        let first = stock.waiting.keys().next().copied();
        let is_next = first.is_none() || first == *ticket;
        if is_next && stock.has(bytes) {
            if let Some(ticket) = ticket.take() {
                stock.waiting.remove(&ticket);
            }
            stock.held += bytes;
            stock.wake_next();
            self.tell(&stock);
            return true;
        }
        let ticket = *ticket.get_or_insert_with(|| {
            stock.last_ticket += 1;
            stock.last_ticket
        });
        stock.waiting.insert(ticket, Waiting { bytes, waker: task.waker().clone() });
        false
    }

    fn give_back(&self, bytes: usize) {
        let mut stock = self.stock();
        stock.held = stock.held.saturating_sub(bytes);
        stock.wake_next();
        self.tell(&stock);
    }

    fn leave(&self, ticket: u64) {
        let mut stock = self.stock();
        stock.waiting.remove(&ticket);
        stock.wake_next();
    }

    fn tell(&self, stock: &Stock) {
        self.metrics.connections.buffer_bytes.store(stock.held as u64, Relaxed);
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        // Nothing that is done to it panics half-way.
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stock {
    /// Who needs more than there ever is gets it when nobody else has any.
    fn has(&self, bytes: usize) -> bool {
        self.held == 0 || self.held.saturating_add(bytes) <= self.max
    }

    fn wake_next(&self) {
        if let Some((_, first)) = self.waiting.first_key_value()
            && self.has(first.bytes)
        {
            first.waker.wake_by_ref();
        }
    }
}

impl Share {
    pub(super) fn new(memory: &Arc<Memory>) -> Self {
        let memory = Arc::clone(memory);
        Self { memory, held: 0, ticket: None, refused: false, output_peak: 0 }
    }

    /// Whether the connection may hold so many bytes in all.
    pub(super) fn cover(&mut self, bytes: usize, task: &TaskContext<'_>) -> Grant {
        let beyond = bytes.saturating_sub(OWN_BYTES);
        if beyond <= self.held {
            self.refused = false;
            return Grant::Given;
        }
        let more = beyond.saturating_add(PIECE_BYTES - 1) / PIECE_BYTES * PIECE_BYTES - self.held;
        let waited = self.ticket.is_some();
        if self.memory.ask(&mut self.ticket, more, task) {
            self.held += more;
            self.refused = false;
            return Grant::Given;
        }
        self.refused = true;
        if waited { Grant::Waits } else { Grant::Wait }
    }

    /// Whether what was asked for last was refused.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// It holds so many bytes in all, until it asks again.
    pub(super) fn settle(&mut self, bytes: usize) {
        // It must not stand in the way of others while it waits for something else.
        if !std::mem::take(&mut self.refused)
            && let Some(ticket) = self.ticket.take()
        {
            self.memory.leave(ticket);
        }
        let needed = bytes.saturating_sub(OWN_BYTES).div_ceil(PIECE_BYTES) * PIECE_BYTES;
        if needed < self.held {
            self.memory.give_back(self.held - needed);
            self.held = needed;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.refused = false;
        self.settle(0);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A connection that has what is its own and needs more.
    struct Peer {
        share: Share,
        bell: Arc<Bell>,
    }

    impl Peer {
        fn new(memory: &Arc<Memory>) -> Self {
            Self { share: Share::new(memory), bell: Arc::default() }
        }

        /// Asks for so many pieces beyond its own.
        fn asks(&mut self, pieces: usize) -> Grant {
            let waker = Waker::from(Arc::clone(&self.bell));
            let bytes = OWN_BYTES + pieces * PIECE_BYTES;
            self.share.cover(bytes, &TaskContext::from_waker(&waker))
        }

        fn holds(&mut self, pieces: usize) {
            self.share.settle(OWN_BYTES + pieces * PIECE_BYTES);
        }

        fn was_woken(&self) -> bool {
            self.bell.0.swap(0, Relaxed) > 0
        }
    }

    fn memory(pieces: usize) -> Arc<Memory> {
        Arc::new(Memory::new(pieces * PIECE_BYTES, Arc::default()))
    }

    #[test]
    fn whoever_waits_longest_is_next_and_whoever_needs_little_does_not_wait() {
        let memory = memory(4);
        let [mut large, mut larger, mut small, mut modest] = [(); 4].map(|()| Peer::new(&memory));
        assert_eq!(large.asks(3), Grant::Given);
        assert_eq!(larger.asks(4), Grant::Wait);
        // There is room for this one, and yet it would keep the one before it waiting for ever.
        assert_eq!(small.asks(1), Grant::Wait);
        assert_eq!(modest.asks(0), Grant::Given);
        large.holds(0);
        assert!(larger.was_woken() && !small.was_woken());
        assert_eq!(small.asks(1), Grant::Waits);
        assert_eq!(larger.asks(4), Grant::Given);
        assert_eq!(memory.metrics.connections.buffer_bytes.load(Relaxed), 4 * 64 * 1024);
        drop(larger);
        assert!(small.was_woken());
        assert_eq!(small.asks(1), Grant::Given);
        assert_eq!(large.asks(3), Grant::Given);
        drop((small, large));
        assert_eq!(memory.stock().held, 0);
        assert_eq!(memory.metrics.connections.buffer_bytes.load(Relaxed), 0);
    }

    #[test]
    fn whoever_waits_for_something_else_or_leaves_keeps_nobody_waiting() {
        let memory = memory(2);
        let [mut first, mut second, mut third] = [(); 3].map(|()| Peer::new(&memory));
        assert_eq!(first.asks(1), Grant::Given);
        assert_eq!((second.asks(2), third.asks(1)), (Grant::Wait, Grant::Wait));
        // A pass that was refused keeps its place, one that did not ask gives it up.
        second.holds(0);
        assert!(!third.was_woken());
        second.holds(0);
        assert!(third.was_woken());
        assert_eq!(third.asks(1), Grant::Given);
        assert_eq!((second.asks(2), first.asks(2)), (Grant::Wait, Grant::Wait));
        drop(second);
        drop(third);
        assert!(first.was_woken());
        assert_eq!(first.asks(2), Grant::Given);
    }

    #[test]
    fn who_needs_more_than_there_is_gets_it_alone_and_more_can_be_allowed() {
        let memory = memory(1);
        let [mut huge, mut small] = [(); 2].map(|()| Peer::new(&memory));
        assert_eq!(small.asks(1), Grant::Given);
        assert_eq!(huge.asks(100), Grant::Wait);
        small.holds(0);
        assert_eq!(huge.asks(100), Grant::Given);
        assert_eq!(small.asks(1), Grant::Wait);
        memory.allow(101 * PIECE_BYTES);
        assert!(small.was_woken());
        assert_eq!(small.asks(1), Grant::Given);
        // What can't wait counts, and leaves less to the others.
        let loan = memory.lend(1);
        assert_eq!(small.asks(2), Grant::Wait);
        drop((loan, huge));
        assert_eq!(small.asks(2), Grant::Given);
    }
}
