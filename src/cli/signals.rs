//! What the process is told by signals.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals the daemon listens to. From [`Signals::listen`] on none of them ends the process by
/// itself, and one that comes before somebody waits for it is not lost. Several of one kind that come
/// before that count as one.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What is wanted of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// To stop; by which signal.
    Stop(&'static str),
    /// To read its configuration again.
    Reload,
}

impl Signals {
    /// Within a runtime.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            // The one that would do most harm first.
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next one. It may be dropped while it waits.
    pub(super) async fn next(&mut self) -> Wanted {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Wanted::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Wanted::Stop("SIGINT"),
            _ = self.hangup.recv() => Wanted::Reload,
        }
    }
}
