//! What the operations, the writer and the snapshot share: the state and the changes that are not
//! written yet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::group::Group;
use super::record;
use super::snapshot::Written;
use super::waiting::Waiting;
use crate::domain::UserId;
use crate::store::night::{Batch, Night, PastNight};
use crate::store::state::State;
use crate::store::state::entry::Entry;
use crate::store::state::journal::Journal;
use crate::wake::Sleepers;

/// The state behind its lock, and what the writer waits for.
#[derive(Debug)]
pub(super) struct Shared {
    core: Mutex<Core>,
    /// Told when there is something for the writer to do.
    work: Condvar,
    /// Told when the writer has ended.
    over: Condvar,
    durable: AtomicU64,
    /// How often everybody who waits was told of trouble.
    alarms: AtomicU64,
}

/// Invariant: the state is what the durable log, the group that is being written and `journal`
/// make of it, in this order.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) state: State,
    /// Changes that the writer has not taken yet.
    pub(super) journal: Group,
    /// Why nothing may be changed now.
    pub(super) refusal: Option<Arc<str>>,
    /// Why nothing becomes durable now.
    pub(super) trouble: Option<Arc<str>>,
    /// Who waits for something to become durable.
    pub(super) waiting: Waiting,
    /// The writer sleeps: whoever has work for it wakes it.
    pub(super) writer_sleeps: bool,
    /// How many changes that takes.
    pub(super) writer_wants: u32,
    /// The writer does nothing any more.
    pub(super) writer_has_ended: bool,
    /// The store is being closed.
    pub(super) stopping: bool,
    /// The snapshot under way is to be given up.
    pub(super) snapshot_unwanted: bool,
    /// How the snapshot under way ended.
    pub(super) snapshot: Option<std::io::Result<Option<Written>>>,
}

impl Shared {
    /// A state that is durable up to the change before `next`.
    pub(super) fn new(state: State, next: u64) -> Self {
        let core = Core {
            state,
            journal: Group::new(next),
            refusal: None,
            trouble: None,
            waiting: Waiting::default(),
            writer_sleeps: false,
            writer_wants: 0,
            writer_has_ended: false,
            stopping: false,
            snapshot_unwanted: false,
            snapshot: None,
        };
        Self {
            core: Mutex::new(core),
            work: Condvar::new(),
            over: Condvar::new(),
            durable: AtomicU64::new(next - 1),
            alarms: AtomicU64::new(0),
        }
    }

    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        // After a panic inside an operation one user may be half-changed; everybody else is served.
        // What it had written down is after-images like any others.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There are more changes: wakes the writer if it sleeps and they are as many as it wants.
    pub(super) fn offer(&self, core: MutexGuard<'_, Core>) {
        if core.journal.count() >= core.writer_wants {
            self.wake_writer(core);
        }
    }

    /// Wakes the writer if it sleeps.
    pub(super) fn wake_writer(&self, mut core: MutexGuard<'_, Core>) {
        if core.writer_sleeps {
            core.writer_sleeps = false;
            drop(core);
            self.work.notify_one();
        }
    }

    /// Sleeps until there may be work.
    pub(super) fn sleep<'a>(&self, mut core: MutexGuard<'a, Core>) -> MutexGuard<'a, Core> {
        core.writer_sleeps = true;
        let mut core = self.work.wait(core).unwrap_or_else(PoisonError::into_inner);
        core.writer_sleeps = false;
        core
    }

    /// Sleeps for as long as that, or until there are so many changes, or other work.
    pub(super) fn sleep_until_offered<'a>(
        &self,
        mut core: MutexGuard<'a, Core>,
        changes: u32,
        limit: std::time::Duration,
    ) -> MutexGuard<'a, Core> {
        core.writer_wants = changes;
        let mut core = self.sleep_at_most(core, limit);
        core.writer_wants = 0;
        core
    }

    /// Sleeps for as long as that, or until there may be work.
    pub(super) fn sleep_at_most<'a>(
        &self,
        mut core: MutexGuard<'a, Core>,
        limit: std::time::Duration,
    ) -> MutexGuard<'a, Core> {
        core.writer_sleeps = true;
        let waited = self.work.wait_timeout(core, limit).unwrap_or_else(PoisonError::into_inner);
        let mut core = waited.0;
        core.writer_sleeps = false;
        core
    }

    /// Tells those who wait in [`Shared::wait_for_end`].
    pub(super) fn tell_end(&self) {
        self.over.notify_all();
    }

    /// Waits until the writer has ended, at most so long; says whether it has.
    pub(super) fn wait_for_end(&self, limit: std::time::Duration) -> bool {
        let waited =
            self.over.wait_timeout_while(self.core(), limit, |core| !core.writer_has_ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.writer_has_ended
    }

    /// The latest change that is durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Everything up to there is durable. Who waits for what the writer took is to be woken: they
    /// come into `woken`, which is empty.
    pub(super) fn set_durable(&self, position: u64, woken: &mut Sleepers) {
        // Before the lock: whoever has it next and still finds too little is in the list.
        self.durable.store(position, Ordering::Release);
        self.core().waiting.end(woken);
    }

    /// How often [`Shared::alarm`] was called.
    pub(super) fn alarms(&self) -> u64 {
        self.alarms.load(Ordering::Acquire)
    }

    /// Tells everybody who waits that it is for nothing.
    pub(super) fn alarm(&self, mut core: MutexGuard<'_, Core>, trouble: Arc<str>) {
        core.trouble = Some(trouble);
        self.alarms.fetch_add(1, Ordering::AcqRel);
        let mut everybody = core.waiting.take_all();
        drop(core);
        everybody.wake();
    }
}

impl Journal for Group {
    fn put(&mut self, entry: &Entry) {
        record::put_entry(self.records(), entry);
    }

    fn remove(&mut self, user: &UserId) {
        record::put_removal(self.records(), user);
    }

    fn night(&mut self, night: &Night) {
        record::put_night(self.records(), night);
    }

    fn past_night(&mut self, night: &PastNight) {
        record::put_past_night(self.records(), night);
    }

    fn batch_formed(&mut self, batch: &Batch) {
        record::put_batch(self.records(), batch);
    }

    fn batch_gone(&mut self, id: &str) {
        record::put_batch_gone(self.records(), id);
    }

    fn position(&self) -> u64 {
        self.next()
    }

    fn commit(&mut self) {
        self.count_change();
    }
}
