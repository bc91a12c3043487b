//! Requests of one connection that were read and not answered: worked on side by side, answered in
//! order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::late::Late;
use super::request::Request;
use super::route::{self, Answer, Error, Touches};
use super::spares::{self, Work};
use super::{Shared, memory};
use crate::clock;
use crate::config::Limits;
use crate::domain::{Call, Context, chat};
use crate::error::Code;
use crate::metrics::requests::Kind;
use crate::store::StateStore as _;
use crate::upstream::{Turn, Turns};

/// An idle connection keeps so many references to what handlers may touch, so that its next requests need
/// not count new ones.
const IDLE_CONTEXTS: usize = 16;
/// Handlers get this part of `request_timeout` less, so that they can still say what went wrong.
const ANSWER_MARGIN: u32 = 32;

/// The requests in flight, the oldest first.
#[derive(Debug)]
pub(super) struct InFlight {
    shared: Arc<Shared>,
    entries: VecDeque<Entry>,
    /// What handlers may touch: requests hand it on to each other, as counting who has it would have all
    /// threads wait for one place in memory.
    contexts: Vec<Arc<Context>>,
    turns: Turns,
    /// What the requests in flight take, by their frames' lengths.
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    touches: Touches,
    kind: Kind,
    /// What it takes, by its frame's length.
    bytes: usize,
    taken_at: Instant,
    /// `limits.request_timeout` after it was taken, as that was then.
    answer_by: Instant,
    state: Progress,
}

#[derive(Debug)]
enum Progress {
    /// Waits for an earlier request that touches the same.
    Held(Request, Call),
    Working(Work),
    Done(Answer),
}

impl InFlight {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (entries, contexts) = (VecDeque::new(), Vec::new());
        Self { shared, entries, contexts, turns: Turns::default(), bytes: 0 }
    }

    /// Memory that the requests in flight take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives back what was kept for later requests, but for a little.
    pub(super) fn give_back_spare(&mut self) {
        self.contexts.truncate(IDLE_CONTEXTS);
        self.contexts.shrink_to(IDLE_CONTEXTS);
        spares::give_back_queue(&mut self.entries);
    }

    /// Takes in what was decoded of a frame so long. [`Self::begin_from`] begins it.
    pub(super) fn take(&mut self, request: Request, frame_bytes: usize, limits: &Limits) {
        if Late::are_too_many(&self.shared, limits.max_late_requests) {
            return self.push_error(Kind::of(&request), Error::Crowded);
        }
        let timeout = limits.request_timeout;
        let (kind, taken_at) = (Kind::of(&request), clock::begin());
        let answer_by = taken_at + timeout;
        let call = Call { deadline: answer_by - timeout / ANSWER_MARGIN, turn: Turn::alone() };
        let (touches, bytes) = (Touches::Nothing, memory::of_request(frame_bytes));
        let state = Progress::Held(request, call);
        self.push(Entry { touches, kind, bytes, taken_at, answer_by, state });
    }

    /// Begins the entries from `first` on, but for those that have to wait for something earlier.
    pub(super) fn begin_from(&mut self, first: usize, task: &mut TaskContext<'_>) {
        if self.entries.len() > first + 1 {
            self.look_ahead(first);
        }
        for at in first..self.entries.len() {
            self.line_up(at);
            self.begin_held(at, task);
        }
    }

    /// Finds out what the entry has to wait for: earlier ones on the same, and what was forwarded about
    /// its user.
    fn line_up(&mut self, at: usize) {
        let touches = self.touches(at);
        let Some(entry) = self.entries.get_mut(at) else { return };
        entry.touches = touches;
        if let Progress::Held(request, call) = &mut entry.state
            && let Some(user) = route::forwards_about(request)
        {
            call.turn = self.turns.next(user);
        }
    }

    fn look_ahead(&self, first: usize) {
        let held = self.entries.iter().skip(first).filter_map(Entry::held);
        let mut keys = held.flat_map(route::keys).peekable();
        // Who asks the store for nothing does not wait for it either.
        if keys.peek().is_some() {
            self.shared.context.store.look_ahead(keys);
            // None of the operations that follow took so long.
            clock::end();
        }
    }

    fn touches(&self, at: usize) -> Touches {
        let Shared { context, hasher, is_in_call_order, .. } = &*self.shared;
        let request = self.entries.get(at).and_then(Entry::held);
        let Some(request) = request.filter(|_| !is_in_call_order) else { return Touches::Nothing };
        if let Request::Chat(chat::Request::Unsubscribe { session }) = request {
            let failed = |entry: &&Entry| matches!(entry.state, Progress::Done(Err(_)));
            let earlier = self.entries.range(..at).rev().filter(|entry| !failed(entry));
            let earlier = earlier.map(|entry| entry.touches);
            let guess = || context.store.redis()?.guessed_owner(session);
            return Touches::of_end(session, earlier, guess, hasher);
        }
        Touches::of(request, hasher)
    }

    /// Takes in what is answered already.
    pub(super) fn push_error(&mut self, kind: Kind, error: Error) {
        let now = clock::begin();
        self.push(Entry {
            touches: Touches::Nothing,
            kind,
            bytes: memory::of_request(0),
            taken_at: now,
            answer_by: now,
            state: Progress::Done(Err(error)),
        });
    }

    fn push(&mut self, entry: Entry) {
        self.shared.context.metrics.requests.taken();
        self.bytes += entry.bytes;
        if self.entries.capacity() == 0 {
            self.entries = spares::queue();
        }
        self.entries.push_back(entry);
    }

    /// Whether a request has to wait for one of the first `before` in flight. A store that works
    /// in the order of the calls needs no help with it.
    fn must_wait(&self, touches: Touches, before: usize) -> bool {
        !self.shared.is_in_call_order
            && self
                .entries
                .iter()
                .take(before)
                .any(|earlier| !earlier.is_done() && earlier.touches.conflicts_with(touches))
    }

    /// Starts the work, and finishes it right away if it needs to wait for nothing.
    fn begin(&mut self, request: Request, call: Call, task: &mut TaskContext<'_>) -> Progress {
        let context = self.contexts.pop().unwrap_or_else(|| Arc::clone(&self.shared.context));
        let mut work = Work::on(request, context, call);
        match work.poll(task) {
            Poll::Ready((answer, context)) => {
                work.keep();
                self.contexts.push(context);
                Progress::Done(answer)
            }
            Poll::Pending => Progress::Working(work),
        }
    }

    /// Gives every waiting request a chance to go on; ready when none waits any more.
    pub(super) fn poll_work(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        // What touches everything holds up all that comes behind it: no use in asking each.
        let (mut waiting, mut is_barred) = (false, false);
        for at in 0..self.entries.len() {
            let Some(entry) = self.entries.get_mut(at) else { break };
            let is_bar = entry.touches == Touches::Everything;
            let is_waiting = match &mut entry.state {
                Progress::Done(_) => continue,
                Progress::Working(work) => match work.poll(task) {
                    Poll::Ready((answer, context)) => {
                        self.finish(at, answer, context);
                        false
                    }
                    Poll::Pending => true,
                },
                Progress::Held(..) if is_barred => true,
                Progress::Held(..) => !self.begin_held(at, task),
            };
            waiting |= is_waiting;
            is_barred |= is_waiting && is_bar;
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Begins a request, if it is held and nothing before it is in its way; whether it is done with
    /// that.
    fn begin_held(&mut self, at: usize, task: &mut TaskContext<'_>) -> bool {
        let Some(Entry { touches, state: Progress::Held(..), .. }) = self.entries.get(at) else {
            return false;
        };
        if self.must_wait(*touches, at) {
            return false;
        }
        let Some(entry) = self.entries.get_mut(at) else { return false };
        // Nobody sees what stands there meanwhile.
        let begun = Progress::Done(Err(Error::Late(Duration::ZERO)));
        let held = std::mem::replace(&mut entry.state, begun);
        let Progress::Held(request, call) = held else { return false };
        let next = self.begin(request, call, task);
        let is_done = matches!(next, Progress::Done(_));
        if let Some(entry) = self.entries.get_mut(at) {
            entry.state = next;
        }
        is_done
    }

    /// Puts the answer in the place of the work; what is left of that is kept.
    fn finish(&mut self, at: usize, answer: Answer, context: Arc<Context>) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        if let Progress::Working(work) = std::mem::replace(&mut entry.state, Progress::Done(answer))
        {
            work.keep();
            self.contexts.push(context);
        }
    }

    /// The oldest request, as far as figures tell requests apart, and its answer, if it is there.
    pub(super) fn next_answer(&self) -> Option<(Kind, &Answer)> {
        let Entry { kind, state, .. } = self.entries.front()?;
        match state {
            Progress::Done(answer) => Some((*kind, answer)),
            Progress::Held(..) | Progress::Working(_) => None,
        }
    }

    /// The oldest request is answered: with this error, or as it wished.
    pub(super) fn pop_answered(&mut self, error: Option<Code>) {
        let Some(Entry { kind, bytes, taken_at, state, .. }) = self.entries.pop_front() else {
            return;
        };
        self.bytes -= bytes;
        let requests = &self.shared.context.metrics.requests;
        match state {
            Progress::Done(_) => {
                let took = clock::begin().saturating_duration_since(taken_at);
                requests.answered(kind, error, took);
            }
            Progress::Held(..) | Progress::Working(_) => requests.dropped(1),
        }
    }

    /// All are done, and nobody hears the answers.
    pub(super) fn pop_unheard(&mut self) {
        while let Some((_, answer)) = self.next_answer() {
            let error = answer.as_ref().err().map(Error::code);
            self.pop_answered(error);
        }
    }

    /// When the first of the waiting requests must be answered.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        // A later one may have less time, and yet is not answered before this one.
        self.entries.iter().find(|entry| !entry.is_done()).map(|entry| entry.answer_by)
    }

    /// Answers every request whose time is over, and says whether there was one. What was begun
    /// goes on without the peer: it may be half-way through.
    pub(super) fn give_up_late(&mut self) -> bool {
        let now = Instant::now();
        let mut any = false;
        for entry in &mut self.entries {
            if entry.is_done() || entry.answer_by > now {
                continue;
            }
            any = true;
            let late = entry.late();
            if let Progress::Working(work) = std::mem::replace(&mut entry.state, late) {
                let late = Late::new(&self.shared, entry.bytes);
                self.shared.tasks.spawn(async move {
                    // The peer has its answer; nobody waits for this one.
                    drop(work.await);
                    drop(late);
                });
            }
        }
        any
    }
}

#[cfg(test)]
impl InFlight {
    /// Takes in a request whose work never ends.
    pub(super) fn hang(&mut self, timeout: std::time::Duration) {
        let now = Instant::now();
        self.push(Entry {
            touches: Touches::Nothing,
            kind: Kind::Invalid,
            bytes: memory::of_request(0),
            taken_at: now,
            answer_by: now + timeout,
            state: Progress::Working(Work::hanging()),
        });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.context.metrics.requests.dropped(self.entries.len());
    }
}

impl Entry {
    /// What has not begun.
    fn held(&self) -> Option<&Request> {
        match &self.state {
            Progress::Held(request, _) => Some(request),
            Progress::Working(_) | Progress::Done(_) => None,
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.state, Progress::Done(_))
    }

    fn late(&self) -> Progress {
        Progress::Done(Err(Error::Late(self.answer_by - self.taken_at)))
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::connection::tests::context;
    use crate::domain::UserId;
    use crate::domain::auth;

    #[tokio::test]
    async fn what_many_requests_at_once_needed_is_given_back() {
        let shared = Shared::new(context(), TaskTracker::new());
        let mut in_flight = InFlight::new(Arc::new(shared));
        for _ in 0..1000 {
            in_flight.push_error(Kind::Invalid, Error::Late(Duration::ZERO));
        }
        in_flight.pop_unheard();
        in_flight.give_back_spare();
        let kept = in_flight.entries.capacity() * size_of::<Entry>();
        assert!(kept <= 2048, "{kept} bytes");
    }

    #[tokio::test]
    async fn a_request_that_waits_takes_little_memory() {
        let user = UserId::parse("u1").unwrap();
        let request = Request::Auth(auth::Request::StudyTimeFrom { user });
        let call = Call { deadline: Instant::now(), turn: Turn::alone() };
        let work = route::answer(request, context(), call);
        assert!(size_of_val(&work) <= 1088, "{} bytes", size_of_val(&work));
    }
}
