//! Where a page begins that is read by SCAN, told to whoever asks for pages.

use crate::store::lookup::Cursor;

/// So far on one of the servers that have all keys. If these are others meanwhile, or have other
/// connections, a cursor of SCAN means nothing any more, and the pages begin anew: what comes twice
/// harms nobody, what is missing might.
pub(super) struct Place {
    /// Tells the servers and their connections from all others.
    mark: u64,
    pub(super) server: usize,
    pub(super) scanned: u64,
}

impl Place {
    /// A cursor of no servers.
    pub(super) const NOWHERE: Cursor = Cursor([0; 3]);

    /// Where the cursor points to, if it is one of these servers.
    pub(super) fn of(from: Option<Cursor>, mark: u64) -> Self {
        let Cursor([of_servers, server, scanned]) = from.unwrap_or(Self::NOWHERE);
        match usize::try_from(server) {
            Ok(server) if of_servers == mark => Self { mark, server, scanned },
            Ok(_) | Err(_) => Self { mark, server: 0, scanned: 0 },
        }
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor([self.mark, self.server as u64, self.scanned])
    }

    /// One step of SCAN was made, which answered this.
    pub(super) fn step_to(&mut self, scanned: u64) {
        self.scanned = scanned;
        self.server += usize::from(scanned == 0);
    }
}
