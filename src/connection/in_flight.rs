//! Requests of one connection that were read and not answered: worked on side by side, answered in
//! order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use tokio::time::Instant;
use tokio_util::sync::ReusableBoxFuture;

use super::late::Late;
use super::request::Request;
use super::route::{self, Answer, Error, Touches};
use super::{Shared, memory};
use crate::clock;
use crate::config::Limits;
use crate::domain::{Call, chat};
use crate::error::Code;
use crate::metrics::requests::Kind;
use crate::store::StateStore;
use crate::upstream::{Turn, Turns};

/// Room for so many requests is kept by an idle connection: what the first of them makes.
const IDLE_ENTRIES: usize = 4;
/// Handlers get this part of `request_timeout` less, so that they can still say what went wrong.
const ANSWER_MARGIN: u32 = 32;

/// The requests in flight, the oldest first.
#[derive(Debug)]
pub(super) struct InFlight {
    shared: Arc<Shared>,
    entries: VecDeque<Entry>,
    /// Allocations of finished work, for the next requests.
    spare: Vec<Work>,
    turns: Turns,
    /// What the requests in flight take, by their frames' lengths.
    bytes: usize,
}

type Work = ReusableBoxFuture<'static, Answer>;

#[derive(Debug)]
struct Entry {
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
        let (entries, spare) = (VecDeque::new(), Vec::new());
        Self { shared, entries, spare, turns: Turns::default(), bytes: 0 }
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

    /// Gives back what was kept for later requests, but for a few.
    pub(super) fn give_back_spare(&mut self) {
        self.spare.truncate(1);
        self.spare.shrink_to(1);
        self.entries.shrink_to(IDLE_ENTRIES);
    }

    /// Takes in what was decoded of a frame so long and starts it, unless it has to wait for an
    /// earlier one.
    pub(super) fn start(
        &mut self,
        request: Request,
        frame_bytes: usize,
        limits: &Limits,
        task: &mut TaskContext<'_>,
    ) {
        if Late::are_too_many(&self.shared, limits.max_late_requests) {
            return self.push_error(Kind::of(&request), Error::Crowded);
        }
        let timeout = limits.request_timeout;
        let turn = match route::forwards_about(&request) {
            Some(user) => self.turns.next(user),
            None => Turn::alone(),
        };
        let (kind, taken_at) = (Kind::of(&request), clock::begin());
        let answer_by = taken_at + timeout;
        let call = Call { deadline: answer_by - timeout / ANSWER_MARGIN, turn };
        let touches = self.touches(&request);
        let state = if self.must_wait(touches, self.entries.len()) {
            Progress::Held(request, call)
        } else {
            self.begin(request, call, task)
        };
        let bytes = memory::of_request(frame_bytes);
        self.push(Entry { touches, kind, bytes, taken_at, answer_by, state });
    }

    fn touches(&self, request: &Request) -> Touches {
        let Shared { context, hasher, .. } = &*self.shared;
        if context.store.in_call_order() {
            return Touches::Nothing;
        }
        if let Request::Chat(chat::Request::Unsubscribe { session }) = request {
            let failed = |entry: &&Entry| matches!(entry.state, Progress::Done(Err(_)));
            let earlier = self.entries.iter().rev().filter(|entry| !failed(entry));
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
        self.entries.push_back(entry);
    }

    /// Whether a request has to wait for one of the first `before` in flight. A store that works
    /// in the order of the calls needs no help with it.
    fn must_wait(&self, touches: Touches, before: usize) -> bool {
        !self.shared.context.store.in_call_order()
            && self
                .entries
                .iter()
                .take(before)
                .any(|earlier| !earlier.is_done() && earlier.touches.conflicts_with(touches))
    }

    /// Starts the work, and finishes it right away if it needs to wait for nothing.
    fn begin(&mut self, request: Request, call: Call, task: &mut TaskContext<'_>) -> Progress {
        let answer = route::answer(request, Arc::clone(&self.shared.context), call);
        let mut work = match self.spare.pop() {
            Some(mut spare) => {
                spare.set(answer);
                spare
            }
            None => ReusableBoxFuture::new(answer),
        };
        match work.poll(task) {
            Poll::Ready(answer) => {
                self.spare.push(work);
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
            let next = match &mut entry.state {
                Progress::Done(_) => continue,
                Progress::Working(work) => work.poll(task).map(Progress::Done),
                Progress::Held(..) if is_barred => Poll::Pending,
                Progress::Held(..) => self.poll_held(at, task),
            };
            let is_waiting = !matches!(next, Poll::Ready(Progress::Done(_)));
            if let Poll::Ready(next) = next {
                self.replace(at, next);
            }
            waiting |= is_waiting;
            is_barred |= is_waiting && is_bar;
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Starts a held request as soon as nothing before it is in its way.
    fn poll_held(&mut self, at: usize, task: &mut TaskContext<'_>) -> Poll<Progress> {
        let Some(entry) = self.entries.get(at) else { return Poll::Pending };
        if self.must_wait(entry.touches, at) {
            return Poll::Pending;
        }
        let Some(entry) = self.entries.get_mut(at) else { return Poll::Pending };
        let late = entry.late();
        match std::mem::replace(&mut entry.state, late) {
            Progress::Held(request, call) => Poll::Ready(self.begin(request, call, task)),
            other @ (Progress::Working(_) | Progress::Done(_)) => Poll::Ready(other),
        }
    }

    /// Puts `next` in the place of what was there; the allocation of finished work is kept. There
    /// are never more of them than requests were in flight at once.
    fn replace(&mut self, at: usize, next: Progress) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        if let Progress::Working(work) = std::mem::replace(&mut entry.state, next) {
            self.spare.push(work);
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
            state: Progress::Working(ReusableBoxFuture::new(std::future::pending())),
        });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.context.metrics.requests.dropped(self.entries.len());
    }
}

impl Entry {
    fn is_done(&self) -> bool {
        matches!(self.state, Progress::Done(_))
    }

    fn late(&self) -> Progress {
        Progress::Done(Err(Error::Late(self.answer_by - self.taken_at)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
