//! Figures of which every thread keeps its own, so that threads which count don't wait for each
//! other's caches. Whoever reads adds them up.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::available_parallelism;

/// More threads than this share.
const PARTS_MAX: usize = 16;

static NEXT_PLACE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: usize = NEXT_PLACE.fetch_add(1, Relaxed);
}

/// A `T` for every processor.
#[derive(Debug)]
pub struct Spread<T> {
    first: Part<T>,
    others: Box<[Part<T>]>,
}

/// As far from its neighbours as a processor reads ahead: two cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part<T>(T);

impl<T: Default> Default for Spread<T> {
    fn default() -> Self {
        let threads = available_parallelism().map_or(1, usize::from).min(PARTS_MAX);
        Self { first: Part::default(), others: (1..threads).map(|_| Part::default()).collect() }
    }
}

impl<T> Spread<T> {
    /// The part on which this thread counts.
    pub fn here(&self) -> &T {
        let place = PLACE.with(|place| place % (1 + self.others.len()));
        let other = place.checked_sub(1).and_then(|at| self.others.get(at));
        &other.unwrap_or(&self.first).0
    }

    /// All parts.
    pub fn parts(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.others).map(|part| &part.0)
    }

    /// The sum over all parts.
    pub fn sum(&self, figure: impl Fn(&T) -> u64) -> u64 {
        self.parts().map(figure).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn what_all_threads_counted_adds_up() {
        let spread = Spread::<AtomicU64>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * PARTS_MAX {
                scope.spawn(|| spread.here().fetch_add(1, Relaxed));
            }
        });
        assert_eq!(spread.sum(|part| part.load(Relaxed)), 2 * PARTS_MAX as u64);
    }
}
