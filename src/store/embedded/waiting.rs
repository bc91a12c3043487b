//! Operations that wait until what they did or saw is on the disk.
//!
//! They are woken by the sync that concerns them and by no other, and a task that waits with many
//! of them is woken once.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::shared::{Core, Shared};
use crate::store::{Error, Result};
use crate::wake::Sleepers;

/// Who is to be woken.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// When changes are durable that the writer has not taken yet.
    pending: Sleepers,
    /// When those are that it is writing.
    writing: Sleepers,
}

/// Ready when everything up to a change is durable, or won't be for now.
#[derive(Debug)]
pub(super) struct Durable<'a> {
    shared: &'a Shared,
    position: u64,
    /// Whom [`Waiting`] knows, and how often it had been emptied for everybody by then.
    known: Option<(Waker, u64)>,
}

impl Waiting {
    /// The writer takes what is pending.
    pub(super) fn begin(&mut self) {
        self.writing.append(&mut self.pending);
    }

    /// The writer has written what it took: swaps those who wait for it for the given list.
    pub(super) fn end(&mut self, woken: &mut Sleepers) {
        mem::swap(&mut self.writing, woken);
    }

    /// Everybody, as there is something to know.
    pub(super) fn take_all(&mut self) -> Sleepers {
        self.begin();
        mem::take(&mut self.writing)
    }
}

impl<'a> Durable<'a> {
    /// Nobody is told to wake it yet.
    pub(super) fn new(shared: &'a Shared, position: u64) -> Self {
        Self { shared, position, known: None }
    }

    /// Has `waker` woken when the time has come, unless it has come already.
    pub(super) fn register(&mut self, core: &mut Core, waker: Waker) {
        if self.shared.durable() >= self.position {
            return;
        }
        let waiting = &mut core.waiting;
        let list = match self.position >= core.journal.first() {
            true => &mut waiting.pending,
            false => &mut waiting.writing,
        };
        list.add(&waker);
        self.known = Some((waker, self.shared.alarms()));
    }
}

impl Future for Durable<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<()>> {
        if self.shared.durable() >= self.position {
            return Poll::Ready(Ok(()));
        }
        if let Some((waker, alarms)) = &self.known
            && waker.will_wake(task.waker())
            && *alarms == self.shared.alarms()
        {
            return Poll::Pending;
        }
        let shared = self.shared;
        let mut core = shared.core();
        if let Some(trouble) = core.trouble.as_ref().filter(|_| shared.durable() < self.position) {
            return Poll::Ready(Err(Error::Failed(trouble.to_string())));
        }
        self.register(&mut core, task.waker().clone());
        // Only now: it is said without the lock, and who finds it said has nobody registered.
        if shared.durable() >= self.position {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

/// The waker of the task that asks.
pub(super) async fn waker() -> Waker {
    poll_fn(|task| Poll::Ready(task.waker().clone())).await
}

/// Ready when the writer has ended.
pub(super) async fn writer_ended(shared: &Shared) {
    poll_fn(|task| {
        let mut core = shared.core();
        if core.writer_has_ended {
            return Poll::Ready(());
        }
        core.waiting.pending.add(task.waker());
        Poll::Pending
    })
    .await;
}

/// Tells everybody when the writer ends, however that happens.
#[derive(Debug)]
pub(super) struct EndOfWriter(pub(super) Arc<Shared>);

impl Drop for EndOfWriter {
    fn drop(&mut self) {
        let mut core = self.0.core();
        core.writer_has_ended = true;
        let trouble = core.trouble.take().unwrap_or_else(|| match core.stopping {
            true => "the store is closed".into(),
            false => "the thread that writes the store panicked".into(),
        });
        // Nobody would write what is changed from now on, and nobody would wake who waits for it.
        core.refusal.get_or_insert_with(|| Arc::clone(&trouble));
        self.0.alarm(core, trouble);
        self.0.tell_end();
    }
}
