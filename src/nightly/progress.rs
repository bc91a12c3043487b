//! What the delivery is at, for those who watch it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::UnixMillis;
use crate::store::night::{Batch, ClosedDay, Night};

/// Where the night stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is to be done.
    Idle,
    /// Signaling lists, and its last frame has not come.
    Listing,
    /// Closed days are going to auth.
    Delivering,
    /// They should, and don't: something is tried again.
    Retrying,
    /// What is left can't be sent: it is too long for auth's frames.
    TooLong,
    /// Closed days are going to auth from another daemon.
    Elsewhere,
}

impl Stage {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::Listing,
        Self::Delivering,
        Self::Retrying,
        Self::TooLong,
        Self::Elsewhere,
    ];

    /// Its name on pages and in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Listing => "listing",
            Self::Delivering => "delivering",
            Self::Retrying => "retrying",
            Self::TooLong => "too_long",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// A frame on its way to auth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivering {
    /// The day it tells of.
    pub closed: ClosedDay,
    /// Its id.
    pub batch: String,
    /// Users in it.
    pub users: usize,
    /// How often this daemon has sent it, the time that is under way included.
    pub attempts: u64,
    /// When this daemon sent it first.
    pub since: UnixMillis,
    /// Why the latest attempt failed.
    pub last_error: Option<String>,
    /// When it is tried again, while it waits for that.
    pub next_attempt_at: Option<UnixMillis>,
}

/// What the delivery of this daemon is at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Doing {
    /// There was nothing to deliver when it last looked.
    #[default]
    Nothing,
    /// It is at this frame.
    Frame(Delivering),
    /// Another daemon delivers.
    Elsewhere,
    /// What is left can't be sent.
    TooLong {
        /// Users whose entry is too long.
        users: usize,
    },
    /// The store did not say what is to be delivered.
    Unknown {
        /// Why.
        error: String,
    },
}

impl Doing {
    /// Where the night stands, given how the store last told of it.
    pub fn stage(&self, night: Option<&Night>) -> Stage {
        match self {
            Self::Frame(Delivering { last_error: None, .. }) => Stage::Delivering,
            Self::Frame(Delivering { last_error: Some(_), .. }) | Self::Unknown { .. } => {
                Stage::Retrying
            }
            Self::Elsewhere => Stage::Elsewhere,
            Self::TooLong { .. } => Stage::TooLong,
            Self::Nothing => match night {
                // It is about to look.
                Some(night) if !night.undelivered.is_empty() => Stage::Delivering,
                Some(night) if night.listed_at.is_some() => Stage::Listing,
                Some(_) | None => Stage::Idle,
            },
        }
    }
}

/// What is known of the delivery now.
#[derive(Debug, Default)]
pub(super) struct Progress {
    doing: Mutex<Doing>,
}

impl Progress {
    pub(super) fn doing(&self) -> Doing {
        self.lock().clone()
    }

    pub(super) fn set(&self, doing: Doing) {
        *self.lock() = doing;
    }

    /// The frame is sent now; again, if it was the latest one already.
    pub(super) fn begin_attempt(&self, batch: &Batch) {
        let mut doing = self.lock();
        if let Doing::Frame(frame) = &mut *doing
            && frame.batch == batch.id
        {
            frame.attempts += 1;
            frame.next_attempt_at = None;
            return;
        }
        *doing = Doing::Frame(Delivering {
            closed: batch.closed,
            batch: batch.id.clone(),
            users: batch.users.len(),
            attempts: 1,
            since: UnixMillis::now(),
            last_error: None,
            next_attempt_at: None,
        });
    }

    /// Something about the frame failed.
    pub(super) fn note_error(&self, error: String) {
        if let Doing::Frame(frame) = &mut *self.lock() {
            frame.last_error = Some(error);
        }
    }

    /// Nothing is tried for so long.
    pub(super) fn note_pause(&self, pause: Duration) {
        if let Doing::Frame(frame) = &mut *self.lock() {
            let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            let at = UnixMillis::now().0.saturating_add(pause);
            frame.next_attempt_at = Some(UnixMillis(at));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Day, UserId, UserTime};

    fn batch(id: &str) -> Batch {
        let closed = ClosedDay { day: Day(3), closed_at: UnixMillis(7) };
        let user = UserId::parse("u1").unwrap();
        Batch { id: id.to_owned(), closed, users: vec![UserTime { user, study_time: None }] }
    }

    fn frame(progress: &Progress) -> Delivering {
        match progress.doing() {
            Doing::Frame(frame) => frame,
            other @ (Doing::Nothing
            | Doing::Elsewhere
            | Doing::TooLong { .. }
            | Doing::Unknown { .. }) => panic!("no frame: {other:?}"),
        }
    }

    #[test]
    fn a_frame_that_is_sent_again_counts_attempts_and_another_starts_over() {
        let progress = Progress::default();
        progress.begin_attempt(&batch("a"));
        let first = frame(&progress);
        assert_eq!((first.attempts, first.users, first.last_error), (1, 1, None));
        progress.note_error("refused".to_owned());
        progress.note_pause(Duration::from_secs(60));
        let paused = frame(&progress);
        assert!(paused.next_attempt_at >= Some(UnixMillis(first.since.0 + 60_000)));
        progress.begin_attempt(&batch("a"));
        let again = frame(&progress);
        assert_eq!((again.attempts, again.since, again.next_attempt_at), (2, first.since, None));
        assert_eq!(again.last_error.as_deref(), Some("refused"));
        progress.begin_attempt(&batch("b"));
        assert_eq!((frame(&progress).attempts, frame(&progress).last_error), (1, None));
    }

    #[test]
    fn the_stage_is_what_the_delivery_is_at_or_else_what_the_night_waits_for() {
        let closed = ClosedDay { day: Day(3), closed_at: UnixMillis(7) };
        let night = |listed_at, undelivered| Night { day: Day(4), listed_at, undelivered };
        let (idle, open) = (night(None, vec![]), night(Some(UnixMillis(9)), vec![]));
        let owed = night(Some(UnixMillis(9)), vec![closed]);
        assert_eq!(Doing::Nothing.stage(None), Stage::Idle);
        assert_eq!(Doing::Nothing.stage(Some(&idle)), Stage::Idle);
        assert_eq!(Doing::Nothing.stage(Some(&open)), Stage::Listing);
        assert_eq!(Doing::Nothing.stage(Some(&owed)), Stage::Delivering);
        assert_eq!(Doing::Elsewhere.stage(Some(&owed)), Stage::Elsewhere);
        assert_eq!(Doing::TooLong { users: 1 }.stage(Some(&owed)), Stage::TooLong);
        let progress = Progress::default();
        progress.begin_attempt(&batch("a"));
        assert_eq!(progress.doing().stage(Some(&owed)), Stage::Delivering);
        progress.note_error("refused".to_owned());
        assert_eq!(progress.doing().stage(Some(&owed)), Stage::Retrying);
        for (at, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, at);
        }
    }
}
