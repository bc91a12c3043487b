//! Figures of which every thread keeps its own, so that threads which count don't wait for each
//! other's caches. Whoever reads adds them up.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

/// So many threads have a part alone: on 64 processors all. All beyond that share one.
const OWN_PARTS_MAX: usize = 130;

/// Places of threads that ended.
static FREE: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
static NEXT_PLACE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: Place = Place::take();
}

/// A thread's place, which no other has until the thread ends.
struct Place(usize);

impl Place {
    fn take() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
        Self(free.unwrap_or_else(|| NEXT_PLACE.fetch_add(1, Relaxed)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).insert(self.0);
    }
}

/// A `T` for every thread that has one of the first places, and one for all others.
#[derive(Debug)]
pub struct Spread<T> {
    all: Part<T>,
    own: Box<[Part<T>]>,
}

/// As far from its neighbours as a processor reads ahead: two cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part<T>(T);

/// A part on which a thread counts. It does not leave the thread.
#[derive(Debug)]
pub struct Here<'a, T> {
    /// The figures.
    pub part: &'a T,
    is_own: bool,
    _of_this_thread: PhantomData<*const ()>,
}

impl<T: Default> Default for Spread<T> {
    fn default() -> Self {
        // Those that serve connections, as many that work on what is common to all, and a few more.
        let threads = 2 * available_parallelism().map_or(1, usize::from) + 2;
        let own = (0..threads.min(OWN_PARTS_MAX)).map(|_| Part::default()).collect();
        Self { all: Part::default(), own }
    }
}

impl<T> Spread<T> {
    /// The part on which this thread counts.
    pub fn here(&self) -> Here<'_, T> {
        // A thread that is ending has given its place back.
        let own = PLACE.try_with(|Place(place)| self.own.get(*place)).ok().flatten();
        Here {
            part: &own.unwrap_or(&self.all).0,
            is_own: own.is_some(),
            _of_this_thread: PhantomData,
        }
    }

    /// All parts.
    pub fn parts(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.all).chain(&self.own).map(|part| &part.0)
    }

    /// The sum over all parts.
    pub fn sum(&self, figure: impl Fn(&T) -> u64) -> u64 {
        self.parts().map(figure).fold(0, u64::wrapping_add)
    }
}

impl<T> Here<'_, T> {
    /// So many more in a figure of this part. Where nobody else writes, adding need not be one step: that
    /// takes as long as a dozen others. Whoever acquires it sees all that the thread did before.
    pub fn add(&self, figure: &AtomicU64, more: u64) {
        if self.is_own {
            figure.store(figure.load(Relaxed).wrapping_add(more), Release);
        } else {
            figure.fetch_add(more, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_threads_counted_adds_up() {
        let spread = Spread::<AtomicU64>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * OWN_PARTS_MAX {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let here = spread.here();
                        here.add(here.part, 1);
                    }
                });
            }
        });
        assert_eq!(spread.sum(|part| part.load(Relaxed)), 2000 * OWN_PARTS_MAX as u64);
    }
}
