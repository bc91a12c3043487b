//! Study times that are set aside, each with the closed day it belongs to, until auth has them.

use std::slice::{Iter, IterMut};

use crate::domain::{Day, StudyTime};

/// A study time of a closed day; none if the user was there without one.
pub type SealedTime = (Day, Option<StudyTime>);

/// The study times of a user's closed days, the oldest first. Most users have none most of the time,
/// and then it takes the room of a pointer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealedTimes(
    #[expect(clippy::box_collection, reason = "an empty one must be small")]
    Option<Box<Vec<SealedTime>>>,
);

impl SealedTimes {
    /// Whether nothing is set aside.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |times| times.len())
    }

    /// Each with its day.
    pub fn iter(&self) -> Iter<'_, SealedTime> {
        self.0.as_deref().map(Vec::as_slice).unwrap_or_default().iter()
    }

    /// Each with its day.
    pub fn iter_mut(&mut self) -> IterMut<'_, SealedTime> {
        self.0.as_deref_mut().map(Vec::as_mut_slice).unwrap_or_default().iter_mut()
    }

    /// Sets one more aside, of a day that has none yet.
    pub fn push(&mut self, day: Day, study_time: Option<StudyTime>) {
        // Mostly the only one.
        self.0.get_or_insert_with(|| Box::new(Vec::with_capacity(1))).push((day, study_time));
    }

    /// Forgets the one of the day.
    pub fn remove(&mut self, day: Day) {
        if let Some(times) = &mut self.0 {
            times.retain(|(of_day, _)| *of_day != day);
            times.shrink_to_fit();
        }
        self.0.take_if(|times| times.is_empty());
    }
}

impl FromIterator<SealedTime> for SealedTimes {
    fn from_iter<T: IntoIterator<Item = SealedTime>>(times: T) -> Self {
        let mut sealed = Self::default();
        times.into_iter().for_each(|(day, study_time)| sealed.push(day, study_time));
        sealed
    }
}

impl<'a> IntoIterator for &'a SealedTimes {
    type Item = &'a SealedTime;
    type IntoIter = Iter<'a, SealedTime>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
