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
    /// Replies that waited at one moment, and of which the peer has not taken all.
    backlog: Option<Backlog>,
    stopping: bool,
}

#[derive(Debug, Clone, Copy)]
struct Backlog {
    since: Instant,
    left_bytes: usize,
}

/// What a peer was waited for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The rest of a frame.
    Frame,
    /// That it takes any of its replies, or all that waited at one moment.
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

    /// So much of its replies waits that the peer does not take.
    pub(super) fn wait_for_reader(&mut self, left_bytes: usize) {
        let since = *self.unread_since.get_or_insert_with(Instant::now);
        self.backlog.get_or_insert(Backlog { since, left_bytes });
    }

    /// The peer took so much of its replies. However little it is, it reads; but what waited longest
    /// has to be gone some time.
    pub(super) fn note_reading(&mut self, bytes: usize) {
        self.unread_since = None;
        self.backlog = self.backlog.filter(|backlog| backlog.left_bytes > bytes);
        if let Some(backlog) = &mut self.backlog {
            backlog.left_bytes -= bytes;
        }
    }

    /// The peer has taken all of its replies.
    pub(super) fn note_all_read(&mut self) {
        (self.unread_since, self.backlog) = (None, None);
    }

    /// The daemon stops: there is less time.
    pub(super) fn hurry(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        if let Some(backlog) = &mut self.backlog {
            backlog.since = Instant::now();
        }
    }

    /// When the first of them is over.
    pub(super) fn ends_at(&self, limits: &Limits) -> Option<Instant> {
        let frame = self.frame_since.map(|since| since + limits.frame_timeout);
        let unread =
            self.unread_since.map(|since| since + self.at_most(limits.unread_timeout, limits));
        let backlog = self
            .backlog
            .map(|backlog| backlog.since + self.at_most(limits.backlog_timeout, limits));
        frame.into_iter().chain(unread).chain(backlog).min()
    }

    /// What is over.
    pub(super) fn is_over(&self, now: Instant, limits: &Limits) -> Option<Over> {
        let has_lasted = |since: Option<Instant>, max: Duration| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= max)
        };
        let backlog_since = self.backlog.map(|backlog| backlog.since);
        if has_lasted(self.unread_since, self.at_most(limits.unread_timeout, limits))
            || has_lasted(backlog_since, self.at_most(limits.backlog_timeout, limits))
        {
            Some(Over::Unread)
        } else if has_lasted(self.frame_since, limits.frame_timeout) {
            Some(Over::Frame)
        } else {
            None
        }
    }

    /// As long as that, and while the daemon stops no longer than a share of the grace.
    fn at_most(&self, timeout: Duration, limits: &Limits) -> Duration {
        if self.stopping { timeout.min(limits.shutdown_grace / STOP_SHARE) } else { timeout }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::config::Config;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        let unread_timeout = 60 * SECOND;
        Limits { unread_timeout, backlog_timeout: 600 * SECOND, ..Config::default().limits }
    }

    /// A peer that finds so many bytes waiting at any time, and takes some every 10 s; how many
    /// seconds that goes on, if not for days.
    async fn lasts(waiting: usize, taken: usize) -> Option<u64> {
        let (mut patience, limits) = (Patience::default(), limits());
        for round in 0..100_000 {
            patience.wait_for_reader(waiting);
            advance(10 * SECOND).await;
            let is_over = patience.is_over(Instant::now(), &limits);
            assert_eq!(is_over.is_some(), patience.ends_at(&limits).unwrap() <= Instant::now());
            if is_over.is_some() {
                return Some(10 * (round + 1));
            }
            patience.note_reading(taken);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_its_replies_in_small_pieces_has_to_be_through_with_them_some_time() {
        assert_eq!(lasts(256 * 1024, 1).await, Some(600));
        assert_eq!(lasts(256 * 1024, 4096).await, Some(600));
        // What comes behind is not what waited: each time all that waited is taken, it begins anew.
        assert_eq!(lasts(256 * 1024, 4500).await, None);
        assert_eq!(lasts(1, 1).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_taken_all_of_its_replies_is_waited_for_no_more() {
        let mut patience = Patience::default();
        patience.wait_for_reader(100);
        patience.note_reading(1);
        assert!(patience.ends_at(&limits()).is_some());
        patience.note_all_read();
        assert_eq!(patience.ends_at(&limits()), None);
    }
}
