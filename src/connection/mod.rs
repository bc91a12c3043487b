//! One connection's life: read, work on requests, answer in order, write, until someone leaves.
//!
//! A connection is one task and spawns none. It reads as long as it may work on more requests and
//! the peer reads its replies; what a pass over the input makes of replies leaves in one write.

pub mod accept;
pub mod access;
pub mod account;
mod admission;
mod buffers;
mod closing;
pub mod crew;
mod deadlines;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed;
mod handshake;
mod in_flight;
mod input;
mod late;
mod members;
mod memory;
mod neighbours;
mod pace;
pub mod passed;
mod patience;
pub mod registry;
pub mod request;
pub mod route;
mod scan;
mod shared;
mod spares;
mod taking;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep, timeout_at};
use tokio_util::io::poll_read_buf;

use crate::clock;
use crate::config::Limits;
use crate::metrics::connections::{CloseReason, Connections};
use access::Granted;
use account::{Account, Wish};
use deadlines::Needs;
use frame::{BrokenFraming, Decoder, Framing};
use in_flight::InFlight;
use input::{Input, State};
use route::{Asked, Error, Said};
pub use shared::Shared;

/// Room made in the input buffer before each read.
const READ_BYTES: usize = 8 * 1024;
/// The most that is read at once. Less than what each connection has of its own: what comes behind a
/// frame must not take memory that the next one was not given.
const READ_BYTES_MAX: usize = 32 * 1024;
/// What is still read of a connection when the daemon stops. A peer that never pauses would keep
/// it from stopping.
const DRAIN_BYTES_MAX: usize = 256 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    framing: Framing,
    account: Arc<Account>,
    granted: Granted,
    shared: Arc<Shared>,
    input: Input,
    output: BytesMut,
    in_flight: InFlight,
    /// There once one of them was needed: most connections of most services never do.
    needs: Option<Box<Needs>>,
    /// Why nothing more is read, once that is so.
    close_reason: CloseReason,
}

/// How an exchange with a peer ended that did not break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exchanged {
    /// All that was read is answered, and written.
    All,
    /// For this reason the peer is not waited for any more that did not read its answers in time.
    CutShort(CloseReason),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection from its first byte on.
    pub fn new(stream: S, account: Arc<Account>, shared: Arc<Shared>) -> Self {
        let framing = account.origin.framing;
        let decoder = Decoder::new(framing, shared.limits().max_frame_bytes);
        Self {
            stream,
            framing,
            granted: shared.access.grant(account.caller()),
            account,
            input: Input::new(decoder),
            output: BytesMut::new(),
            in_flight: InFlight::new(Arc::clone(&shared)),
            needs: None,
            close_reason: CloseReason::Lost,
            shared,
        }
    }

    /// Serves the peer until it leaves, its stream breaks, an operator closes it, or the daemon
    /// stops. Every frame that was read is answered before, to a peer that reads. After that nothing
    /// is left to serve. It borrows, as a future that takes the connection would hold it twice.
    pub async fn serve(&mut self) -> io::Result<CloseReason> {
        match self.exchange().await {
            Ok(Exchanged::All) => {
                let reason = self.close_reason;
                self.linger().await.map(|()| reason)
            }
            Ok(Exchanged::CutShort(reason)) => {
                self.finish_unheard().await;
                Ok(reason)
            }
            Err(error) => {
                self.finish_unheard().await;
                Err(error)
            }
        }
    }

    async fn exchange(&mut self) -> io::Result<Exchanged> {
        let account = Arc::clone(&self.account);
        let mut heeded = Wish::Nothing;
        // Set when an operator closes the connection.
        let mut cut: Option<Pin<Box<Sleep>>> = None;
        loop {
            tokio::select! {
                biased;
                done = poll_fn(|task| self.poll_exchange(task)) => {
                    return done;
                }
                wish = poll_fn(|task| account.poll_wish(heeded, task)) => {
                    heeded = wish;
                    match wish {
                        Wish::Nothing => {}
                        Wish::Stop => {
                            self.needs().patience.hurry();
                            self.drain(CloseReason::Stopping);
                        }
                        Wish::Close => {
                            self.drain(CloseReason::Operator);
                            // By then every answer is there: what is left the peer doesn't read.
                            cut = Some(Box::pin(sleep(self.shared.limits().request_timeout)));
                        }
                    }
                }
                () = poll_fn(|task| poll_timer(cut.as_mut(), task)), if cut.is_some() => {
                    return Ok(Exchanged::CutShort(CloseReason::Operator));
                }
            }
        }
    }

    /// Reads what has arrived, and then nothing more.
    fn drain(&mut self, why: CloseReason) {
        if self.input.state == State::Open {
            self.input.state = State::Draining(DRAIN_BYTES_MAX, why);
        }
    }

    /// Nobody hears the answers; what was asked for is done all the same. What hangs goes on without
    /// the connection once its time is over, as it would if the peer heard.
    async fn finish_unheard(&mut self) {
        while let Some(answer_by) = self.in_flight.next_deadline() {
            let done = poll_fn(|task| self.in_flight.poll_work(task));
            // On the heap: few connections end so.
            if Box::pin(timeout_at(answer_by, done)).await.is_ok() {
                break;
            }
            self.in_flight.give_up_late();
        }
        self.in_flight.pop_unheard();
    }

    /// Does whatever can be done now; ready when all is read, answered and written, or the peer does
    /// not take what is written.
    fn poll_exchange(&mut self, task: &mut TaskContext<'_>) -> Poll<io::Result<Exchanged>> {
        let _pass = clock::Pass::begin();
        // Whether all of it is done shows in what can be answered.
        let _done: Poll<()> = self.in_flight.poll_work(task);
        let limits = self.shared.limits();
        loop {
            self.put_answers()?;
            if !self.may_take(&limits) {
                // Not read any further, it is not the peer that keeps a frame incomplete.
                self.end_frame();
            } else if self.poll_take(task, &limits)? {
                continue;
            }
            // Writing may make room for more requests, which are then taken at once.
            if !self.output.is_empty() && self.poll_flush(task)? {
                continue;
            }
            break;
        }
        // What TLS holds back the peer has not taken either.
        let is_flushed = Pin::new(&mut self.stream).poll_flush(task)?.is_ready();
        if !is_flushed {
            let left_bytes = self.output.len();
            self.needs().patience.wait_for_reader(left_bytes);
        } else if self.output.is_empty()
            && let Some(needs) = &mut self.needs
        {
            needs.patience.note_all_read();
        }
        self.account.in_flight.set(self.in_flight.len());
        self.settle_memory();
        if self.in_flight.is_empty() && self.output.is_empty() && is_flushed {
            if self.input.state == State::Closed {
                return Poll::Ready(Ok(Exchanged::All));
            }
            self.give_back_memory();
        }
        self.poll_deadlines(&limits, task).map(Ok)
    }

    fn may_take(&self, limits: &Limits) -> bool {
        self.in_flight.len() < limits.max_in_flight
            && self.output.len() < limits.max_unread_reply_bytes
    }

    fn poll_read(&mut self, task: &mut TaskContext<'_>) -> io::Result<bool> {
        if let State::Draining(0, why) = self.input.state {
            self.close_input(why);
            return Ok(false);
        }
        if self.input.buffer.capacity() == 0 {
            self.input.buffer = buffers::take();
        }
        self.input.buffer.reserve(READ_BYTES);
        let mut room = (&mut self.input.buffer).limit(READ_BYTES_MAX);
        match poll_read_buf(Pin::new(&mut self.stream), task, &mut room) {
            Poll::Ready(Ok(0)) => self.close_input(CloseReason::Peer),
            // TLS ended without goodbye: of whole messages nothing can be cut off unnoticed.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.close_input(CloseReason::Peer);
            }
            Poll::Ready(Ok(read)) => {
                self.figures().received(read);
                self.account.received_bytes.add(read);
                let is_first = self.account.received_bytes.get() == read as u64;
                if is_first && frame::is_tls(&self.input.buffer) {
                    self.break_off(BrokenFraming::Tls);
                }
                self.input.state = self.input.state.after_reading(read);
                return Ok(true);
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {
                if !self.input.buffer.is_empty() {
                    self.needs().patience.wait_for_frame();
                }
                // Nothing more has arrived, unless the runtime only wants others to have a turn.
                if let State::Draining(_, why) = self.input.state
                    && tokio::task::coop::has_budget_remaining()
                {
                    self.close_input(why);
                }
            }
        }
        Ok(false)
    }

    /// Nothing more is read; half a frame is dropped.
    fn close_input(&mut self, reason: CloseReason) {
        self.close_reason = reason;
        self.input.state = State::Closed;
        self.input.buffer = BytesMut::new();
    }

    /// Writes the answers that are next in order into the output buffer.
    fn put_answers(&mut self) -> io::Result<()> {
        let peer = self.account.origin.peer;
        while let Some((kind, answer)) = self.in_flight.next_answer() {
            if self.output.capacity() == 0 {
                self.output = buffers::take();
            }
            // An error here means that the framing can't carry any answer: the peer is told by
            // closing the connection.
            let asked = Asked { peer, kind };
            let said = route::put_answer(answer, asked, self.framing, &mut self.output)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let error = match &said {
                Said::Answer => answer.as_ref().err(),
                Said::Instead(error) => Some(error),
            };
            if let Some(error) = error {
                self.account.note_error(error.code(), error);
            }
            let code = error.map(Error::code);
            self.in_flight.pop_answered(code);
        }
        Ok(())
    }

    /// Writes as much as the peer takes; whether it took anything.
    fn poll_flush(&mut self, task: &mut TaskContext<'_>) -> io::Result<bool> {
        use bytes::Buf as _;
        let mut progress = false;
        self.note_output();
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(task, &self.output) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.output.advance(written);
                    if let Some(needs) = &mut self.needs {
                        needs.patience.note_reading(written);
                    }
                    self.figures().sent(written);
                    self.account.sent_bytes.add(written);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    let left_bytes = self.output.len();
                    self.needs().patience.wait_for_reader(left_bytes);
                    return Ok(progress);
                }
            }
            progress = true;
        }
        Ok(progress)
    }

    fn figures(&self) -> &Connections {
        &self.shared.context.metrics.connections
    }

    /// An idle connection costs little memory, whatever it needed before.
    fn give_back_memory(&mut self) {
        self.in_flight.give_back_spare();
        buffers::give_back(&mut self.input.buffer);
        buffers::give_back(&mut self.output);
        self.drop_share();
    }
}

fn poll_timer(timer: Option<&mut Pin<Box<Sleep>>>, task: &mut TaskContext<'_>) -> Poll<()> {
    timer.map_or(Poll::Pending, |timer| timer.as_mut().poll(task))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::Ordering::Relaxed;
    use std::task::Waker;

    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::sync::Notify;
    use tokio::time::Instant;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::config::Config;
    use crate::config::running::Running;
    use crate::domain::Context;
    use crate::store::{Observed, Store};
    use crate::upstream::Upstream;
    use account::Origin;

    pub(super) fn context() -> Arc<Context> {
        context_of(Config::default())
    }

    /// With a memory store, and nobody there to be called.
    fn context_of(config: Config) -> Arc<Context> {
        let (gateways, tasks) = (&config.gateways, TaskTracker::new());
        Arc::new(Context {
            store: Arc::new(Observed::new(Store::Memory(Default::default()))),
            upstream: Arc::new(Upstream::new(gateways, &Default::default(), &tasks)),
            running: Arc::new(Running::of(config)),
            day_closed: Notify::new(),
            metrics: Arc::default(),
        })
    }

    pub(super) fn connection<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Connection<S> {
        connection_by(stream, Config::default())
    }

    pub(super) fn connection_by<S: AsyncRead + AsyncWrite + Unpin>(
        stream: S,
        config: Config,
    ) -> Connection<S> {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let framing = Framing::Lf;
        let origin = Origin { peer: address, listener: address, framing, is_near: true };
        let shared = Shared::new(context_of(config), TaskTracker::new());
        Connection::new(stream, Arc::new(Account::new(1, origin)), Arc::new(shared))
    }

    #[tokio::test]
    async fn a_connection_keeps_no_large_buffer_once_all_is_answered() {
        for requests in 1..=200 {
            let (mut peer, stream) = duplex(1 << 20);
            let mut connection = connection(stream);
            peer.write_all(&b"{}\n".repeat(requests)).await.unwrap();
            let mut task = TaskContext::from_waker(Waker::noop());
            // With all of a task's budget: a write must not be put off.
            tokio::task::yield_now().await;
            assert!(connection.poll_exchange(&mut task).is_pending());
            assert!(connection.output.is_empty());
            assert_eq!(connection.account.requests.get(), requests as u64);
            for buffer in [&mut connection.input.buffer, &mut connection.output] {
                let is_large = buffer.try_reclaim(buffers::IDLE_BYTES_MAX + 1);
                assert!(!is_large, "{} bytes after {requests} requests", buffer.capacity());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_keeps_no_place_for_a_peer_that_is_gone() {
        let mut connection = connection(duplex(1).0);
        let limits = connection.shared.limits();
        connection.in_flight.hang(limits.request_timeout);
        let gone = timeout_at(Instant::now() + 2 * limits.request_timeout, async {
            connection.finish_unheard().await;
        });
        assert!(gone.await.is_ok());
        assert!(connection.in_flight.is_empty());
        assert_eq!(connection.shared.context.metrics.requests.late.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn a_connection_takes_little_memory_while_nothing_is_asked() {
        let mut connection = connection(duplex(1).0);
        let kept = size_of_val(&connection);
        let task = kept + size_of_val(&connection.serve());
        assert!(task <= 512, "{task} bytes");
    }
}
