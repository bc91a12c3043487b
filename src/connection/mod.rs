//! One connection's life: read, work on requests, answer in order, write, until someone leaves.
//!
//! A connection is one task and spawns none. It reads as long as it may work on more requests and
//! the peer reads its replies; what a pass over the input makes of replies leaves in one write.

pub mod accept;
pub mod frame;
pub mod request;
pub mod route;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::BytesMut;
use hashbrown::DefaultHashBuilder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::{CancellationToken, ReusableBoxFuture};
use tokio_util::task::TaskTracker;

use crate::config::Limits;
use crate::domain::{Call, Context};
use crate::upstream::{Turn, Turns};
use frame::{Decoder, Framing};
use request::Request;
use route::{Answer, Error, Touches};

/// Room made in the input buffer before each read.
const READ_BYTES: usize = 8 * 1024;
/// Buffers of an idle connection that are larger are given back.
const IDLE_BUFFER_BYTES: usize = 1024;
/// How long a closing connection waits for the peer to close too, so that replies on their way are
/// not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
/// Handlers get this much less than `request_timeout`, so that they can still say what went wrong.
const ANSWER_MARGIN: u32 = 32;

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// What handlers may touch.
    pub context: Arc<Context>,
    /// `[limits]`
    pub limits: Limits,
    /// Where work goes on whose request was answered for being late.
    pub tasks: TaskTracker,
    /// Cancelled when the daemon stops.
    pub stop: CancellationToken,
    /// One hasher, so that hashes of one connection compare.
    pub hasher: DefaultHashBuilder,
}

/// One connection.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    framing: Framing,
    shared: Arc<Shared>,
    input: Input,
    output: BytesMut,
    /// Requests that were read and not answered, the oldest first.
    in_flight: VecDeque<InFlight>,
    /// Allocations of finished work, for the next request that has to wait.
    spare: Vec<Work>,
    turns: Turns,
    timer: Option<Pin<Box<Sleep>>>,
}

type Work = ReusableBoxFuture<'static, Answer>;

#[derive(Debug)]
struct Input {
    buffer: BytesMut,
    decoder: Decoder,
    state: InputState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputState {
    Open,
    /// The daemon stops: what has arrived is still read.
    Draining,
    /// The peer closed its side, or its stream can't be trusted any more.
    Closed,
}

#[derive(Debug)]
struct InFlight {
    touches: Touches,
    deadline: Instant,
    state: Progress,
}

#[derive(Debug)]
enum Progress {
    /// Waits for an earlier request that touches the same.
    Held(Request, Call),
    Working(Work),
    Done(Answer),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection from its first byte on.
    pub fn new(stream: S, framing: Framing, shared: Arc<Shared>) -> Self {
        let decoder = Decoder::new(framing, shared.limits.max_frame_bytes);
        Self {
            stream,
            framing,
            input: Input { buffer: BytesMut::new(), decoder, state: InputState::Open },
            output: BytesMut::new(),
            in_flight: VecDeque::new(),
            spare: Vec::new(),
            turns: Turns::default(),
            timer: None,
            shared,
        }
    }

    /// Serves the peer until it leaves, its stream breaks, or the daemon stops. Every frame that
    /// was read is answered before.
    pub async fn serve(mut self) -> io::Result<()> {
        if let Err(error) = self.exchange().await {
            // The peer is gone; what it asked for before is done all the same.
            poll_fn(|task| self.poll_unanswered(task)).await;
            return Err(error);
        }
        self.linger().await
    }

    async fn exchange(&mut self) -> io::Result<()> {
        let stop = self.shared.stop.clone();
        let mut stopped = pin!(stop.cancelled());
        loop {
            tokio::select! {
                biased;
                done = poll_fn(|task| self.poll_exchange(task)) => return done,
                () = &mut stopped, if self.input.state == InputState::Open => {
                    self.input.state = InputState::Draining;
                }
            }
        }
    }

    /// Works on what was read until all of it is done.
    fn poll_unanswered(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        self.poll_work(task);
        let waiting = self.in_flight.iter().any(|entry| !matches!(entry.state, Progress::Done(_)));
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Does whatever can be done now; ready when all is read, answered and written.
    fn poll_exchange(&mut self, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.poll_work(task);
        loop {
            self.put_answers()?;
            if self.may_take() && self.poll_take(task)? {
                continue;
            }
            // Writing may make room for more requests, which are then taken at once.
            if !self.output.is_empty() && self.poll_flush(task)? {
                continue;
            }
            break;
        }
        if self.in_flight.is_empty() && self.output.is_empty() {
            if self.input.state == InputState::Closed {
                return Poll::Ready(Ok(()));
            }
            self.give_back_buffers();
        }
        self.poll_deadlines(task);
        Poll::Pending
    }

    fn may_take(&self) -> bool {
        self.in_flight.len() < self.shared.limits.max_in_flight
            && self.output.len() < self.shared.limits.max_unread_reply_bytes
    }

    /// Takes one frame into work or reads more input; whether there was either.
    fn poll_take(&mut self, task: &mut TaskContext<'_>) -> io::Result<bool> {
        if self.input.state == InputState::Closed {
            return Ok(false);
        }
        match self.input.decoder.find(&self.input.buffer) {
            Ok(Some(found)) => {
                let request = Request::decode(&self.input.buffer[found.start..found.end]);
                self.input.decoder.consume(&mut self.input.buffer, found);
                self.start(request, task);
                Ok(true)
            }
            Ok(None) => self.poll_read(task),
            Err(broken) => {
                self.push(Touches::Nothing, Progress::Done(Err(broken.into())));
                self.close_input();
                Ok(true)
            }
        }
    }

    fn poll_read(&mut self, task: &mut TaskContext<'_>) -> io::Result<bool> {
        self.input.buffer.reserve(READ_BYTES);
        match poll_read_buf(Pin::new(&mut self.stream), task, &mut self.input.buffer) {
            Poll::Ready(Ok(0)) => self.close_input(),
            Poll::Ready(Ok(_)) => return Ok(true),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {
                // Nothing more has arrived, unless the runtime only wants others to have a turn.
                let draining = self.input.state == InputState::Draining;
                if draining && tokio::task::coop::has_budget_remaining() {
                    self.close_input();
                }
            }
        }
        Ok(false)
    }

    /// Nothing more is read; half a frame is dropped.
    fn close_input(&mut self) {
        self.input.state = InputState::Closed;
        self.input.buffer = BytesMut::new();
    }

    fn start(&mut self, request: Result<Request, request::Error>, task: &mut TaskContext<'_>) {
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                return self.push(Touches::Nothing, Progress::Done(Err(error.into())));
            }
        };
        let turn = match route::forwards_about(&request) {
            Some(user) => self.turns.next(user),
            None => Turn::alone(),
        };
        let timeout = self.shared.limits.request_timeout;
        let deadline = Instant::now() + timeout - timeout / ANSWER_MARGIN;
        let call = Call { deadline, turn };
        let touches = Touches::of(&request, &self.shared.hasher);
        if self.must_wait(touches, self.in_flight.len()) {
            return self.push(touches, Progress::Held(request, call));
        }
        let progress = self.begin(request, call, task);
        self.push(touches, progress);
    }

    fn push(&mut self, touches: Touches, state: Progress) {
        let deadline = Instant::now() + self.shared.limits.request_timeout;
        self.in_flight.push_back(InFlight { touches, deadline, state });
    }

    /// Whether a request has to wait for one of the first `before` in flight. A store that works
    /// in the order of the calls needs no help with it.
    fn must_wait(&self, touches: Touches, before: usize) -> bool {
        use crate::store::StateStore as _;
        !self.shared.context.store.in_call_order()
            && self.in_flight.iter().take(before).any(|earlier| {
                !matches!(earlier.state, Progress::Done(_))
                    && earlier.touches.conflicts_with(touches)
            })
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

    /// Gives every waiting request a chance to go on.
    fn poll_work(&mut self, task: &mut TaskContext<'_>) {
        for at in 0..self.in_flight.len() {
            let Some(entry) = self.in_flight.get_mut(at) else { return };
            let next = match &mut entry.state {
                Progress::Done(_) => continue,
                Progress::Working(work) => match work.poll(task) {
                    Poll::Ready(answer) => Progress::Done(answer),
                    Poll::Pending => continue,
                },
                Progress::Held(..) => {
                    let touches = entry.touches;
                    if self.must_wait(touches, at) {
                        continue;
                    }
                    self.release(at, task)
                }
            };
            self.replace(at, next);
        }
    }

    /// Starts a held request.
    fn release(&mut self, at: usize, task: &mut TaskContext<'_>) -> Progress {
        let late = Progress::Done(Err(Error::Late(self.shared.limits.request_timeout)));
        match std::mem::replace(&mut self.in_flight[at].state, late) {
            Progress::Held(request, call) => self.begin(request, call, task),
            other @ (Progress::Working(_) | Progress::Done(_)) => other,
        }
    }

    fn replace(&mut self, at: usize, next: Progress) {
        let Some(entry) = self.in_flight.get_mut(at) else { return };
        if let Progress::Working(work) = std::mem::replace(&mut entry.state, next)
            && self.spare.len() < self.shared.limits.max_in_flight
        {
            self.spare.push(work);
        }
    }

    /// Writes the answers that are next in order into the output buffer.
    fn put_answers(&mut self) -> io::Result<()> {
        while let Some(InFlight { state: Progress::Done(answer), .. }) = self.in_flight.front() {
            // An error here means that the framing can't carry any answer: the peer is told by
            // closing the connection.
            route::put_answer(answer, self.framing, &mut self.output)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.in_flight.pop_front();
        }
        Ok(())
    }

    /// Writes as much as the peer takes; whether it took anything.
    fn poll_flush(&mut self, task: &mut TaskContext<'_>) -> io::Result<bool> {
        use bytes::Buf as _;
        let mut progress = false;
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(task, &self.output) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => self.output.advance(written),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(progress),
            }
            progress = true;
        }
        Ok(progress)
    }

    /// Answers requests that took too long, and wakes the task when the next would.
    fn poll_deadlines(&mut self, task: &mut TaskContext<'_>) {
        while let Some(next) = self.next_deadline() {
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            // The timer is not moved with every request: it may ring early and is then set anew.
            if timer.is_elapsed() {
                timer.as_mut().reset(next);
            }
            if timer.as_mut().poll(task).is_pending() {
                return;
            }
            if self.give_up_late() {
                // Their answers are put and written in the next pass.
                task.waker().wake_by_ref();
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let waiting = |entry: &&InFlight| !matches!(entry.state, Progress::Done(_));
        self.in_flight.iter().find(waiting).map(|entry| entry.deadline)
    }

    /// Answers every request whose time is over; what was begun goes on without the peer.
    fn give_up_late(&mut self) -> bool {
        let now = Instant::now();
        let timeout = self.shared.limits.request_timeout;
        let mut any = false;
        for entry in &mut self.in_flight {
            if matches!(entry.state, Progress::Done(_)) || entry.deadline > now {
                continue;
            }
            any = true;
            let late = Progress::Done(Err(Error::Late(timeout)));
            if let Progress::Working(work) = std::mem::replace(&mut entry.state, late) {
                self.shared.tasks.spawn(async move {
                    let _answered_already = work.await;
                });
            }
        }
        any
    }

    fn give_back_buffers(&mut self) {
        for buffer in [&mut self.input.buffer, &mut self.output] {
            if buffer.is_empty() && buffer.capacity() > IDLE_BUFFER_BYTES {
                *buffer = BytesMut::new();
            }
        }
    }

    /// Closes so that the peer gets everything that was written: a socket closed over unread input
    /// would be reset.
    async fn linger(mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut discarded = [0; 1024];
        let until_closed = async {
            while self.stream.read(&mut discarded).await? > 0 {}
            Ok(())
        };
        tokio::time::timeout(LINGER, until_closed).await.unwrap_or(Ok(()))
    }
}
