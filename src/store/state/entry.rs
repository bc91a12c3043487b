//! What is kept of a user, and how a day ends in it.

use super::sealed::SealedTimes;
use crate::domain::{Day, Record, RoomId, SessionId, StudyTime, UserId};

/// What is kept of a user.
///
/// Invariants: `closed` holds each day at most once, in rising order, all older than `day`.
/// `live` implies that `session` is there and that the session table leads to this entry.
///
/// Two cache lines, and in no third one: looking an entry up is waiting for memory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(align(64))]
pub struct Entry {
    /// Whose it is.
    pub user: UserId,
    /// The last room.
    pub room: Option<RoomId>,
    /// The last session, live or not.
    pub session: Option<SessionId>,
    /// The study time of `day`.
    pub study_time: Option<StudyTime>,
    /// The day `study_time` belongs to. The running day's successor, if the user was listed
    /// tonight and a newer time has come since.
    pub day: Day,
    /// Whether `session` resolves to the user.
    pub live: bool,
    /// Whether `study_time` is the last word of tonight's listing on `day`.
    pub listed: bool,
    /// Whether anything was written since the previous day was sealed.
    pub fresh: bool,
    /// Study times of closed days that auth has not acknowledged.
    pub closed: SealedTimes,
    /// Journal position of the latest change; not part of what is stored.
    pub stamp: u64,
}

impl Entry {
    /// An entry of somebody of whom nothing is known yet.
    pub(crate) fn new(user: UserId, day: Day) -> Self {
        Self {
            user,
            room: None,
            session: None,
            study_time: None,
            day,
            live: false,
            listed: false,
            fresh: true,
            closed: SealedTimes::default(),
            stamp: 0,
        }
    }

    /// Sets aside what belongs to a closed day. A record that nobody has written to since the last
    /// close, and whose older time still waits for auth, has nothing new to tell.
    pub(super) fn settle(&mut self, today: Day) {
        if self.day >= today {
            return;
        }
        if self.has_news() {
            self.closed.push(self.day, self.study_time.take());
        }
        self.study_time = None;
        self.day = today;
        self.listed = false;
        self.fresh = false;
    }

    /// Whether the end of its day sets the study time aside for auth.
    fn has_news(&self) -> bool {
        self.fresh || self.closed.is_empty()
    }

    /// What auth would be told of `today`, the running day, if it were closed now and the entry
    /// settled: a study time or that there is none, or nothing of the user.
    pub fn told_if_closed(&self, today: Day) -> Option<Option<&StudyTime>> {
        if self.day == today && self.has_news() {
            return Some(self.study_time.as_ref());
        }
        self.closed.iter().find(|(closed, _)| *closed == today).map(|(_, time)| time.as_ref())
    }

    /// The newest study time; tonight's listing, if there was one, is thereby the last word on its
    /// day, and the newer time is the next day's (contract §5.1).
    pub(super) fn record_study_time(&mut self, study_time: StudyTime, today: Day) {
        if self.listed && self.day == today {
            self.closed.push(today, self.study_time.take());
            self.day = today.next();
            self.listed = false;
        }
        self.study_time = Some(study_time);
        self.fresh = true;
    }

    /// The running day's last word, as signaling lists it at night.
    pub(super) fn list_study_time(&mut self, study_time: Option<StudyTime>, today: Day) {
        self.fresh = true;
        if self.day == today {
            self.listed = true;
            self.study_time = study_time.or(self.study_time.take());
        } else if let (Some(time), Some(sealed)) = (study_time, self.sealed_mut(today)) {
            *sealed = Some(time);
        }
    }

    pub(super) fn sealed_mut(&mut self, day: Day) -> Option<&mut Option<StudyTime>> {
        self.closed.iter_mut().find(|(closed, _)| *closed == day).map(|(_, time)| time)
    }

    pub(super) fn record(&self, today: Day) -> Record {
        Record {
            user: self.user.clone(),
            room: self.room,
            session: self.session.clone(),
            study_time: self.study_time_on(today).cloned(),
        }
    }

    pub(super) fn study_time_on(&self, today: Day) -> Option<&StudyTime> {
        if self.day < today { None } else { self.study_time.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lies_in_two_cache_lines() {
        assert_eq!((size_of::<Option<Entry>>(), align_of::<Entry>()), (128, 64));
    }
}
