//! Who is connected: every open connection, the latest that ended, and the way to end one.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::{Account, Origin, Snapshot, Wish};
use crate::domain::UnixMillis;
use crate::metrics::connections::CloseReason;

/// Room for so many ended connections is made at first.
const CLOSED_FIRST: usize = 64;

/// All connections of the daemon. It is locked when one opens or ends, and by whoever looks; never
/// on the way of a message.
#[derive(Debug)]
pub struct Registry {
    closed_max: usize,
    state: Mutex<State>,
}

/// A connection is either among the open ones or has ended.
#[derive(Debug, Default)]
struct State {
    last_id: u64,
    /// Whether connections are only let in to be told that the daemon stops.
    stopping: bool,
    open: BTreeMap<u64, Arc<Account>>,
    /// The latest last, at most `closed_max`.
    closed: VecDeque<Closed>,
    /// Those that are forgotten included.
    closed_count: u64,
}

/// A connection that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Its account at the end.
    pub last: Snapshot,
    /// When it ended.
    pub closed_at: UnixMillis,
    /// Why.
    pub reason: CloseReason,
}

/// Some of a list, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// From where on to ask for more; `None` if this was the end.
    pub next: Option<u64>,
}

/// Keeps a connection among the open ones until it is dropped.
#[derive(Debug)]
pub struct Registered {
    registry: Arc<Registry>,
    account: Arc<Account>,
    reason: CloseReason,
}

impl Registry {
    /// An empty one, which remembers so many connections that ended.
    pub fn new(closed_max: usize) -> Self {
        Self { closed_max, state: Mutex::default() }
    }

    /// One more is open.
    pub fn register(self: &Arc<Self>, origin: Origin) -> Registered {
        let mut state = self.state();
        state.last_id += 1;
        let account = Arc::new(Account::new(state.last_id, origin));
        if state.stopping {
            account.ask(Wish::Stop);
        }
        state.open.insert(account.id, Arc::clone(&account));
        drop(state);
        Registered { registry: Arc::clone(self), account, reason: CloseReason::Cut }
    }

    /// How many are open.
    pub fn open_count(&self) -> usize {
        self.state().open.len()
    }

    /// Open connections with a higher id than `after`, by id; `limit` is at least 1.
    pub fn open(&self, after: u64, limit: usize) -> Page<Snapshot> {
        let state = self.state();
        let found = state.open.range((Bound::Excluded(after), Bound::Unbounded));
        let accounts: Vec<_> = found.take(limit + 1).map(|(_, account)| account.clone()).collect();
        drop(state);
        let is_more = accounts.len() > limit;
        let items: Vec<_> = accounts.iter().take(limit).map(|one| one.snapshot()).collect();
        let next = items.last().filter(|_| is_more).map(|last| last.id);
        Page { items, next }
    }

    /// Ended connections, the latest first, from before the place `before` on; `None` begins with
    /// the latest. Those that end meanwhile are not in later pages.
    pub fn closed(&self, before: Option<u64>, limit: usize) -> Page<Closed> {
        let state = self.state();
        // Places are counted from the first connection that ever ended.
        let first = state.closed_count - state.closed.len() as u64;
        let end = before.unwrap_or(state.closed_count).clamp(first, state.closed_count);
        let kept = usize::try_from(end - first).unwrap_or(usize::MAX);
        let items: Vec<_> = state.closed.range(..kept).rev().take(limit).cloned().collect();
        let place = end - items.len() as u64;
        Page { items, next: (place > first).then_some(place) }
    }

    /// The open connection with this id.
    pub fn find(&self, id: u64) -> Option<Arc<Account>> {
        self.state().open.get(&id).cloned()
    }

    /// The daemon stops: tells it those that are open, and those that were let in and come yet.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        let open: Vec<_> = state.open.values().cloned().collect();
        drop(state);
        for account in open {
            account.ask(Wish::Stop);
        }
    }

    fn end(&self, account: &Account, reason: CloseReason) {
        let closed = Closed { last: account.snapshot(), closed_at: UnixMillis::now(), reason };
        let mut state = self.state();
        state.open.remove(&account.id);
        state.closed_count += 1;
        if state.closed.len() >= self.closed_max {
            state.closed.pop_front();
        }
        if self.closed_max > 0 {
            if state.closed.len() == state.closed.capacity() {
                let (kept, more) = (state.closed.len(), self.closed_max - state.closed.len());
                state.closed.reserve_exact(more.min(kept.max(CLOSED_FIRST)));
            }
            state.closed.push_back(closed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done to the state panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registered {
    /// The connection's account.
    pub fn account(&self) -> Arc<Account> {
        Arc::clone(&self.account)
    }

    /// It ended by itself, for this reason.
    pub fn close(mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.end(&self.account, self.reason);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::connection::frame::Framing;

    fn origin() -> Origin {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Origin { peer: address, listener: address, framing: Framing::Lf, is_near: true }
    }

    fn all_open(registry: &Registry, limit: usize) -> Vec<u64> {
        let (mut ids, mut after) = (Vec::new(), Some(0));
        while let Some(cursor) = after {
            let page = registry.open(cursor, limit);
            assert!(page.items.len() <= limit);
            ids.extend(page.items.iter().map(|one| one.id));
            after = page.next;
        }
        ids
    }

    fn all_closed(registry: &Registry, limit: usize) -> Vec<u64> {
        let (mut ids, mut page) = (Vec::new(), registry.closed(None, limit));
        loop {
            assert!(page.items.len() <= limit);
            ids.extend(page.items.iter().map(|one| one.last.id));
            let Some(next) = page.next else { return ids };
            page = registry.closed(Some(next), limit);
        }
    }

    #[test]
    fn pages_of_any_size_tell_everything_once() {
        let registry = Arc::new(Registry::new(100));
        let mut kept: Vec<_> = (0..10).map(|_| registry.register(origin())).collect();
        kept.retain(|one| one.account.id % 2 == 0);
        for limit in 1..12 {
            assert_eq!(all_open(&registry, limit), [2, 4, 6, 8, 10]);
            assert_eq!(all_closed(&registry, limit), [9, 7, 5, 3, 1]);
        }
        drop(kept);
        assert_eq!(all_open(&registry, 3), Vec::<u64>::new());
    }

    #[test]
    fn only_the_latest_ends_are_remembered() {
        let registry = Arc::new(Registry::new(3));
        for _ in 0..5 {
            registry.register(origin()).close(CloseReason::Peer);
        }
        assert_eq!(all_closed(&registry, 2), [5, 4, 3]);
        let first = registry.closed(None, 1);
        registry.register(origin()).close(CloseReason::Peer);
        let next = registry.closed(first.next, 1);
        assert_eq!(next.items.first().map(|one| one.last.id), Some(4));
        let none = Arc::new(Registry::new(0));
        drop(none.register(origin()));
        assert_eq!(none.closed(None, 1), Page { items: Vec::new(), next: None });
    }

    #[test]
    fn a_task_that_ends_before_its_time_was_cut() {
        let registry = Arc::new(Registry::new(1));
        drop(registry.register(origin()));
        let page = registry.closed(None, 1);
        assert_eq!(page.items.first().map(|one| one.reason), Some(CloseReason::Cut));
    }

    #[test]
    fn a_stop_reaches_those_who_are_in_and_those_who_come_yet() {
        let registry = Arc::new(Registry::new(0));
        let task = Context::from_waker(Waker::noop());
        let early = registry.register(origin());
        assert_eq!(early.account.poll_wish(Wish::Nothing, &task), Poll::Pending);
        registry.stop();
        let late = registry.register(origin());
        for one in [early, late] {
            assert_eq!(one.account.poll_wish(Wish::Nothing, &task), Poll::Ready(Wish::Stop));
            assert_eq!(one.account.poll_wish(Wish::Stop, &task), Poll::Pending);
            one.account.ask(Wish::Close);
            one.account.ask(Wish::Stop);
            assert_eq!(one.account.poll_wish(Wish::Stop, &task), Poll::Ready(Wish::Close));
        }
    }
}
