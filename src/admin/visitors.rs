//! Who is connected to the admin server: so many at once. Whoever says nothing has to go when another
//! comes, so that no crowd of silent clients keeps an operator out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// All who are there, by their turn.
#[derive(Debug)]
pub(super) struct Visitors {
    max: usize,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    last_turn: u64,
    by_turn: BTreeMap<u64, Arc<Visitor>>,
}

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Visitor {
    /// A request of it is being answered.
    pub(super) is_asking: AtomicBool,
    /// Cancelled when it has to go.
    pub(super) leave: CancellationToken,
}

/// A visitor's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Visit {
    all: Arc<Visitors>,
    turn: u64,
    pub(super) visitor: Arc<Visitor>,
}

impl Visitors {
    pub(super) fn new(max: usize) -> Self {
        Self { max, present: Mutex::default() }
    }

    /// A place for one more. If all are taken, whoever has been there longest of those who ask for
    /// nothing has to go; `None` if all of them ask.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Visit> {
        let mut present = self.present();
        if present.by_turn.len() >= self.max {
            let mut silent = present.by_turn.iter().filter(|(_, one)| !one.is_asking.load(Relaxed));
            let turn = silent.next().map(|(turn, _)| *turn)?;
            let silent = present.by_turn.remove(&turn)?;
            silent.leave.cancel();
        }
        present.last_turn += 1;
        let (turn, visitor) = (present.last_turn, Arc::<Visitor>::default());
        present.by_turn.insert(turn, Arc::clone(&visitor));
        Some(Visit { all: Arc::clone(self), turn, visitor })
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        // Nothing that is done to it panics half-way.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.all.present().by_turn.remove(&self.turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silent_one_goes_and_nobody_who_asks() {
        let all = Arc::new(Visitors::new(3));
        let visits: Vec<_> = (0..3).map(|_| all.admit().unwrap()).collect();
        let has_left = |at: usize| visits[at].visitor.leave.is_cancelled();
        visits[0].visitor.is_asking.store(true, Relaxed);
        let fourth = all.admit().unwrap();
        assert_eq!([has_left(0), has_left(1), has_left(2)], [false, true, false]);
        for one in [&visits[2], &fourth] {
            one.visitor.is_asking.store(true, Relaxed);
        }
        assert!(all.admit().is_none(), "all of them ask");
        drop(fourth);
        assert!(all.admit().is_some());
        assert!(!has_left(0) && !has_left(2));
    }
}
