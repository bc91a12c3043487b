//! A number of places that can be changed while some are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// Places, as many as were last allowed. Clones are the same places.
///
/// Invariant: free places and taken ones together are `max + excess`. Excess is what fewer places
/// were allowed than are taken; each place that is given back, or found free, makes up for one.
#[derive(Debug, Clone)]
pub struct Places(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    free: Arc<Semaphore>,
    max: AtomicUsize,
    excess: AtomicUsize,
}

/// A place that is taken, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    /// Always there until it is dropped.
    permit: Option<OwnedSemaphorePermit>,
    counts: Arc<Counts>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// All are taken.
    Full,
    /// None is given any more.
    Closed,
}

impl Places {
    /// `max` places, all free.
    pub fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Counts {
            free: Arc::new(Semaphore::new(max)),
            max: AtomicUsize::new(max),
            excess: AtomicUsize::new(0),
        }))
    }

    /// A place if one is free.
    pub fn try_take(&self) -> Result<Place, NoPlace> {
        loop {
            let permit = Arc::clone(&self.0.free).try_acquire_owned().map_err(NoPlace::from)?;
            if let Some(place) = self.0.place(permit) {
                return Ok(place);
            }
        }
    }

    /// A place, as soon as one is free; first come, first served.
    pub async fn take(&self) -> Result<Place, NoPlace> {
        loop {
            let permit = Arc::clone(&self.0.free).acquire_owned().await.map_err(NoPlace::from)?;
            if let Some(place) = self.0.place(permit) {
                return Ok(place);
            }
        }
    }

    /// Allows so many from now on. Nobody loses a place: if more are taken, none is free until
    /// enough were given back. Two calls at once count one after the other only if their caller
    /// sees to it.
    pub fn allow(&self, max: usize) {
        let counts = &self.0;
        let max = max.min(Semaphore::MAX_PERMITS);
        let before = counts.max.swap(max, SeqCst);
        for _ in before..max {
            if !counts.make_up_for_one() {
                counts.free.add_permits(1);
            }
        }
        counts.excess.fetch_add(before.saturating_sub(max), SeqCst);
        // What is free makes up first.
        while counts.excess.load(SeqCst) > 0 {
            let Ok(permit) = Arc::clone(&counts.free).try_acquire_owned() else { return };
            drop(counts.place(permit));
        }
    }

    /// Gives no places any more.
    pub fn close(&self) {
        self.0.free.close();
    }

    /// How many are allowed.
    pub fn max(&self) -> usize {
        self.0.max.load(Relaxed)
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        let all = self.0.max.load(SeqCst) + self.0.excess.load(SeqCst);
        all.saturating_sub(self.0.free.available_permits())
    }
}

impl Counts {
    /// A place, unless it has to make up for one that there should not be.
    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Option<Place> {
        if self.make_up_for_one() {
            permit.forget();
            return None;
        }
        Some(Place { permit: Some(permit), counts: Arc::clone(self) })
    }

    fn make_up_for_one(&self) -> bool {
        // Nearly always there is no excess, and this is one load.
        let less = |excess: usize| excess.checked_sub(1);
        self.excess.load(SeqCst) > 0 && self.excess.fetch_update(SeqCst, SeqCst, less).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && self.counts.make_up_for_one()
        {
            permit.forget();
        }
    }
}

impl From<TryAcquireError> for NoPlace {
    fn from(error: TryAcquireError) -> Self {
        match error {
            TryAcquireError::NoPermits => Self::Full,
            TryAcquireError::Closed => Self::Closed,
        }
    }
}

impl From<AcquireError> for NoPlace {
    fn from(_: AcquireError) -> Self {
        Self::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Places, count: usize) -> Vec<Place> {
        (0..count).map(|_| places.try_take().unwrap()).collect()
    }

    fn assert_full(places: &Places) {
        assert_eq!(places.try_take().unwrap_err(), NoPlace::Full);
    }

    #[test]
    fn more_places_can_be_taken_at_once() {
        let places = Places::new(1);
        let mut taken = take(&places, 1);
        assert_full(&places);
        places.allow(3);
        taken.extend(take(&places, 2));
        assert_full(&places);
        assert_eq!((places.max(), places.taken()), (3, 3));
    }

    #[test]
    fn of_fewer_places_none_is_free_until_enough_were_given_back() {
        let places = Places::new(5);
        let mut taken = take(&places, 4);
        places.allow(2);
        assert_eq!((places.max(), places.taken()), (2, 4));
        for _ in 0..2 {
            assert_full(&places);
            taken.pop();
        }
        assert_full(&places);
        taken.pop();
        assert_eq!(places.taken(), 1);
        taken.extend(take(&places, 1));
        assert_full(&places);
        // What was too many is forgiven when more are allowed again.
        places.allow(1);
        places.allow(4);
        taken.extend(take(&places, 2));
        assert_full(&places);
        drop(taken);
        assert_eq!(places.taken(), 0);
        assert_eq!(take(&places, 4).len(), 4);
    }

    #[tokio::test]
    async fn whoever_waits_gets_a_place_when_more_are_allowed_and_none_when_it_is_closed() {
        let places = Places::new(0);
        let (place, ()) = tokio::join!(places.take(), async { places.allow(1) });
        let _place = place.unwrap();
        let (none, ()) = tokio::join!(places.take(), async { places.close() });
        assert_eq!(none.unwrap_err(), NoPlace::Closed);
        assert_eq!(places.try_take().unwrap_err(), NoPlace::Closed);
    }
}
