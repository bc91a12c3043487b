//! How long a peer may keep its connection waiting: with the rest of a frame, and with taking its
//! replies. A peer that has said nothing may say nothing for ever.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;

/// A stop waits for this part of its grace period for a peer that takes none of its replies: what
/// follows the connections needs some of it too.
const STOP_SHARE: u32 = 4;

/// What one peer is waited for, and since when.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// A frame has begun and is not complete.
    frame_since: Option<Instant>,
    /// Replies wait, and the peer has taken none of them.
    unread_since: Option<Instant>,
    stopping: bool,
}

/// What a peer was waited for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The rest of a frame.
    Frame,
    /// That it takes any of its replies.
    Unread,
}

impl Patience {
    /// A frame has begun. However slowly more of it comes, its time goes on.
    pub(super) fn wait_for_frame(&mut self) {
        self.frame_since.get_or_insert_with(Instant::now);
    }

    /// It is complete, or it is not the peer that keeps it from being so.
    pub(super) fn end_frame(&mut self) {
        self.frame_since = None;
    }

    /// Replies wait that the peer does not take.
    pub(super) fn wait_for_reader(&mut self) {
        self.unread_since.get_or_insert_with(Instant::now);
    }

    /// The peer took some of its replies, or all.
    pub(super) fn note_reading(&mut self) {
        self.unread_since = None;
    }

    /// The daemon stops: there is less time.
    pub(super) fn hurry(&mut self) {
        self.stopping = true;
    }

    /// When the first of the two is over.
    pub(super) fn ends_at(&self, limits: &Limits) -> Option<Instant> {
        let frame = self.frame_since.map(|since| since + limits.frame_timeout);
        let unread = self.unread_since.map(|since| since + self.unread_max(limits));
        frame.into_iter().chain(unread).min()
    }

    /// What is over.
    pub(super) fn is_over(&self, now: Instant, limits: &Limits) -> Option<Over> {
        let has_lasted = |since: Option<Instant>, max: Duration| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= max)
        };
        if has_lasted(self.unread_since, self.unread_max(limits)) {
            Some(Over::Unread)
        } else if has_lasted(self.frame_since, limits.frame_timeout) {
            Some(Over::Frame)
        } else {
            None
        }
    }

    fn unread_max(&self, limits: &Limits) -> Duration {
        if self.stopping {
            limits.unread_timeout.min(limits.shutdown_grace / STOP_SHARE)
        } else {
            limits.unread_timeout
        }
    }
}
