//! Whether a connection may carry one call after another.
//!
//! A reply does not say what it answers. Once a peer has answered twice, its second answer may come
//! after the next message, and be taken for the reply to that. It can be kept apart only by closing
//! the connection with the first answer.

use std::time::Duration;

use tokio::time::Instant;

/// How long the connections of a peer that said something unasked are used for one call each.
const DISTRUST_FOR: Duration = Duration::from_secs(600);

/// How many calls a connection may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// One after the other, as long as the peer answers each once.
    WhileTrusted,
    /// One: a reply taken for another's would lose what can't be told again.
    Never,
}

/// Whether a peer is relied on to answer once.
#[derive(Debug)]
pub(super) struct Trust {
    reuse: Reuse,
    distrusted_until: Option<Instant>,
}

impl Trust {
    pub(super) fn new(reuse: Reuse) -> Self {
        Self { reuse, distrusted_until: None }
    }

    pub(super) fn holds(&self, now: Instant) -> bool {
        match self.reuse {
            Reuse::WhileTrusted => self.distrusted_until.is_none_or(|until| until <= now),
            Reuse::Never => false,
        }
    }

    /// The peer said something unasked. Returns whether it was trusted until now.
    pub(super) fn lose(&mut self, now: Instant) -> bool {
        let held = self.holds(now);
        self.distrusted_until = Some(now + DISTRUST_FOR);
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_comes_back_when_a_peer_has_answered_once_for_long_enough() {
        let (mut trust, now) = (Trust::new(Reuse::WhileTrusted), Instant::now());
        assert!(trust.holds(now));
        assert!(trust.lose(now) && !trust.lose(now));
        assert!(!trust.holds(now + DISTRUST_FOR / 2));
        assert!(trust.holds(now + DISTRUST_FOR));
        assert!(!Trust::new(Reuse::Never).holds(now));
    }
}
