//! The one timer of a connection: it is there once something has to be done by a certain time.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use super::memory::Share;
use super::pace::Pace;
use super::patience::{Over, Patience};
use super::{Connection, Exchanged};
use crate::config::Limits;
use crate::metrics::connections::CloseReason;

/// What only some connections need: those that wait, are waited for, or take much memory.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) patience: Patience,
    pub(super) pace: Pace,
    /// There while more memory is needed than what is each connection's own.
    pub(super) share: Option<Share>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Answers requests that took too long, reads on where reading paused for a while, and ends with
    /// a peer that was waited for too long; wakes the task when the next of these is due. Ready if
    /// nothing is to be written to the peer any more.
    pub(super) fn poll_deadlines(
        &mut self,
        limits: &Limits,
        task: &mut TaskContext<'_>,
    ) -> Poll<Exchanged> {
        while let Some(next) = self.next_deadline(limits) {
            let needs = self.needs.get_or_insert_default();
            let timer = needs.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
            // The timer is not moved with every request: it may ring early and is then set anew. It
            // would ring late after a reload that shortened the time.
            if timer.is_elapsed() || timer.deadline() > next {
                timer.as_mut().reset(next);
            }
            if timer.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if needs.pace.resumes_at().is_some_and(|at| at <= now) {
                needs.pace.forget();
                task.waker().wake_by_ref();
            }
            match needs.patience.is_over(now, limits) {
                Some(Over::Unread) => return Poll::Ready(Exchanged::CutShort(CloseReason::Unread)),
                Some(Over::Frame) => {
                    needs.patience.end_frame();
                    self.close_input(CloseReason::PartialFrame);
                    task.waker().wake_by_ref();
                }
                None => {}
            }
            if self.in_flight.give_up_late() {
                // Their answers are put and written in the next pass.
                task.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    fn next_deadline(&self, limits: &Limits) -> Option<Instant> {
        let answer = self.in_flight.next_deadline();
        let needs = self.needs.as_ref();
        let peer = needs.and_then(|needs| needs.patience.ends_at(limits));
        let pace = needs.and_then(|needs| needs.pace.resumes_at());
        answer.into_iter().chain(peer).chain(pace).min()
    }

    pub(super) fn needs(&mut self) -> &mut Needs {
        self.needs.get_or_insert_default()
    }

    /// A frame is complete, or it is not the peer that keeps it from being so.
    pub(super) fn end_frame(&mut self) {
        if let Some(needs) = &mut self.needs {
            needs.patience.end_frame();
        }
    }
}
