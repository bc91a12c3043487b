//! The connections to Redis, counted: how many are open, and what happened to them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEvent {
    /// It was made.
    Opened,
    /// It could not be made.
    Failed,
    /// It broke, or is of no use any more.
    Lost,
}

/// Of one store, to all its servers.
#[derive(Debug, Default)]
pub struct Links {
    events: [AtomicU64; LinkEvent::ALL.len()],
    open: AtomicU64,
}

/// How they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkFigures {
    /// How often what happened.
    pub events: [(LinkEvent, u64); LinkEvent::ALL.len()],
    /// Open now.
    pub open: u64,
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub(super) struct Open<'a> {
    links: &'a Links,
}

impl LinkEvent {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Opened, Self::Failed, Self::Lost];

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}

impl Links {
    /// One more is open.
    pub(super) fn opened(&self) -> Open<'_> {
        self.count(LinkEvent::Opened);
        self.open.fetch_add(1, Relaxed);
        Open { links: self }
    }

    /// One could not be made.
    pub(super) fn failed(&self) {
        self.count(LinkEvent::Failed);
    }

    /// How they stand.
    pub fn figures(&self) -> LinkFigures {
        let events = LinkEvent::ALL.map(|event| {
            (event, self.events.get(event as usize).map_or(0, |count| count.load(Relaxed)))
        });
        LinkFigures { events, open: self.open.load(Relaxed) }
    }

    fn count(&self, event: LinkEvent) {
        if let Some(count) = self.events.get(event as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}

impl Open<'_> {
    /// It did not end by our wish.
    pub(super) fn lost(self) {
        self.links.count(LinkEvent::Lost);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.links.open.fetch_sub(1, Relaxed);
    }
}
