//! Handing closed days to auth, frame by frame, by one daemon at a time.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::call::Call;
use super::frame::StoredBatch;
use super::records::Records;
use super::scan::{Progress, Walk};
use super::script::{DELETE_IF_EQUAL, END_DELIVERY, END_SWEEP, HOLD_LOCK};
use super::stored::{LOCK_KEY, NIGHT_KEY};
use super::{Deliverer, text_of};
use crate::crash::{self, Point};
use crate::domain::{Day, UnixMillis, UserId, UserTime};
use crate::store::night::{Batch, BatchFiller, BatchLimits, ClosedDay, NextBatch, Offer};
use crate::store::{Error, KeepOnline, Result};

/// The right to deliver lasts so much longer than a frame may be under way, without being renewed.
const LEASE_MARGIN: Duration = Duration::from_secs(3);
/// A frame leaves at the latest so long after the right to deliver was asked for. What was asked later,
/// or answered late, may have outlived it: then it is renewed first, so that no other daemon sends a
/// frame while ours is under way.
const SEND_WITHIN: Duration = Duration::from_secs(1);
/// How often it is renewed for one frame, while Redis is that slow.
const RENEWALS_MAX: usize = 4;

/// Delivers closed days.
pub(super) struct Delivery {
    records: Records,
    /// Who we are to the lock.
    token: String,
    /// How long the right to deliver lasts without being renewed: fits the frames that were last
    /// asked for.
    lease_millis: AtomicU64,
    /// When that was sent by which we have it: it lasts at least from then.
    claimed_at: Mutex<Option<Instant>>,
    round: Mutex<Option<Round>>,
}

/// Who may deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// We, and nobody else since we asked last.
    Kept,
    /// We, and others may have delivered meanwhile.
    Taken,
    /// Another daemon.
    Elsewhere,
}

/// One look at every closed day. It is only a memory of where we were: without it we start over.
#[derive(Default)]
struct Round {
    walk: Option<Walk>,
    /// Found and not yet in a frame, no user twice; at most a page.
    carry: VecDeque<UserTime>,
    /// Users of the walk's day whose entry does not fit any frame.
    too_long: usize,
    /// Days that were looked at to their end and hold only entries that do not fit.
    stuck: BTreeMap<Day, usize>,
}

fn lease_millis(call_max: Duration) -> u64 {
    u64::try_from(call_max.saturating_add(LEASE_MARGIN).as_millis()).unwrap_or(u64::MAX)
}

impl Delivery {
    pub(super) fn new(records: Records, deliverer: Deliverer) -> Self {
        let lease_millis = AtomicU64::new(lease_millis(Duration::ZERO));
        let (claimed_at, round) = (Mutex::new(None), Mutex::new(None));
        Self { records, token: deliverer.name, lease_millis, claimed_at, round }
    }

    pub(super) async fn next_batch(&self, limits: BatchLimits) -> Result<NextBatch> {
        self.lease_millis.store(lease_millis(limits.call_max), Relaxed);
        let night = self.records.night().await?.night;
        self.records.calendar.heard_of(night.day);
        if night.undelivered.is_empty() && self.records.outstanding_batch().await?.is_none() {
            return self.rest(NextBatch::Nothing).await;
        }
        if self.claim().await? == Right::Elsewhere {
            return Ok(NextBatch::Elsewhere);
        }
        crash::point(Point::RightHeld);
        self.records.calendar.settled().await;
        if !self.sweep().await? {
            return self.rest(NextBatch::Elsewhere).await;
        }
        if let Some(StoredBatch { batch, acknowledged }) = self.records.outstanding_batch().await? {
            match acknowledged {
                None if batch.fits(limits) => return self.send(batch).await,
                // It can't be sent any more, and nothing of it was acknowledged.
                None => {
                    self.keep_round(None);
                    self.records.forget_batch(&batch.id).await?;
                }
                Some(keep) => {
                    self.records.finish_batch(&batch, keep).await?;
                    crash::point(Point::FoundBatchFinished);
                }
            }
        }
        // Taken out while it is worked on: whoever comes between starts over, which is no harm.
        let mut round = self.take_round().unwrap_or_default();
        let next = self.form_next(&mut round, limits).await?;
        if let NextBatch::Send(batch) = next {
            self.keep_round(Some(round));
            return self.send(batch).await;
        }
        self.rest(next).await
    }

    /// The outstanding frame, with the right to send it for as long as that may take.
    async fn send(&self, batch: Batch) -> Result<NextBatch> {
        for _ in 0..RENEWALS_MAX {
            let claimed_at = *self.claimed_at.lock().unwrap_or_else(PoisonError::into_inner);
            if may_send(claimed_at, Instant::now()) {
                return Ok(NextBatch::Send(batch));
            }
            // If others had it meanwhile they may have sent the frame.
            if self.claim().await? != Right::Kept {
                return Ok(NextBatch::Elsewhere);
            }
        }
        Err(Error::Slow(SEND_WITHIN))
    }

    pub(super) async fn acknowledge_batch(&self, batch: &Batch, keep: KeepOnline) -> Result<()> {
        // A newer version may have taken over: then not even this is ours to write.
        self.records.calendar.today().await?;
        if self.records.mark_acknowledged(&batch.id, keep).await? {
            crash::point(Point::AcknowledgementMarked);
            self.claim().await?;
            self.records.finish_batch(batch, keep).await?;
        }
        Ok(())
    }

    /// Lets others deliver.
    pub(super) async fn rest(&self, next: NextBatch) -> Result<NextBatch> {
        self.keep_round(None);
        let unlock = Call::script(&DELETE_IF_EQUAL, LOCK_KEY).arg(self.token.as_str());
        self.records.servers.own(unlock).await?;
        Ok(next)
    }

    fn take_round(&self) -> Option<Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep_round(&self, round: Option<Round>) {
        *self.round.lock().unwrap_or_else(PoisonError::into_inner) = round;
    }

    /// Takes or renews the right to deliver. If it was not ours all the time, what we remember of
    /// where we were is of no use: others may have delivered it.
    async fn claim(&self) -> Result<Right> {
        let call = Call::script(&HOLD_LOCK, LOCK_KEY)
            .arg(self.token.as_str())
            .number(self.lease_millis.load(Relaxed));
        let asked = Instant::now();
        let held = self.records.servers.own(call).await?;
        let right = match text_of(&held).as_deref() {
            Some("kept") => Right::Kept,
            Some("taken") => Right::Taken,
            _ => Right::Elsewhere,
        };
        if right != Right::Kept {
            self.keep_round(None);
        }
        let claimed_at = (right != Right::Elsewhere).then_some(asked);
        *self.claimed_at.lock().unwrap_or_else(PoisonError::into_inner) = claimed_at;
        Ok(right)
    }

    /// Seals every record up to the running day, so that other programs see it too, and finds days
    /// that are sealed somewhere and not known to be undelivered: a record that could not be read
    /// when its day was delivered, or whose last write crossed the close of its day and came late.
    /// Says whether it is done: not if the right to deliver was lost meanwhile.
    async fn sweep(&self) -> Result<bool> {
        let night = self.records.night().await?;
        let today = night.night.day;
        if night.swept.is_none_or(|swept| swept >= today) {
            return Ok(true);
        }
        let mut known: HashSet<_> =
            night.night.undelivered.iter().map(|closed| closed.day).collect();
        let mut walk = self.records.walk(today).await?;
        loop {
            if self.claim().await? != Right::Kept {
                return Ok(false);
            }
            let (page, progress) = self.records.next_page(&mut walk).await?;
            crash::point(Point::PageSealed);
            for day in page.days {
                if day < today && known.insert(day) {
                    self.reopen(day).await?;
                }
            }
            match progress {
                Progress::More => {}
                Progress::Complete => break,
                Progress::Disturbed => walk = self.records.walk(today).await?,
            }
        }
        let call = Call::script(&END_SWEEP, NIGHT_KEY).number(today.0).number(today.0);
        self.records.servers.own(call).await?;
        crash::point(Point::Swept);
        Ok(true)
    }

    async fn reopen(&self, day: Day) -> Result<()> {
        let call =
            Call::command("HSETNX", NIGHT_KEY).arg(closed_field(day)).number(UnixMillis::now().0);
        self.records.servers.own(call).await?;
        Ok(())
    }

    /// The next frame, of the oldest day that has one.
    async fn form_next(&self, round: &mut Round, limits: BatchLimits) -> Result<NextBatch> {
        loop {
            let undelivered = self.records.night().await?.night.undelivered;
            let open = undelivered.iter().find(|closed| !round.stuck.contains_key(&closed.day));
            let Some(closed) = open else {
                let users = round.stuck.values().sum();
                return Ok(if users > 0 {
                    NextBatch::TooLong { users }
                } else {
                    NextBatch::Nothing
                });
            };
            if let Some(users) = self.fill(round, closed.day, limits).await? {
                if self.claim().await? != Right::Kept {
                    return Ok(NextBatch::Elsewhere);
                }
                let batch = Batch { id: Batch::new_id(), closed: *closed, users };
                let stored = self.records.form_batch(&batch).await?;
                if stored.batch.id != batch.id {
                    // One that was done with is there again, as after a fail-over to a replica that
                    // had heard less: what is formed here is in no frame, and is looked for anew.
                    return Ok(NextBatch::Elsewhere);
                }
                return Ok(NextBatch::Send(batch));
            }
            self.end_day(round, *closed).await?;
        }
    }

    /// Collects a frame's worth of the day from where the walk stands; `None` at its end.
    async fn fill(
        &self,
        round: &mut Round,
        day: Day,
        limits: BatchLimits,
    ) -> Result<Option<Vec<UserTime>>> {
        if round.walk.as_ref().is_some_and(|walk| walk.day() != day) {
            *round = Round { stuck: std::mem::take(&mut round.stuck), ..Round::default() };
        }
        let mut filler = BatchFiller::new(limits);
        let mut taken = HashSet::new();
        loop {
            if !round.fill_from_carry(&mut filler, &mut taken) {
                break;
            }
            let walk = match &mut round.walk {
                Some(walk) => walk,
                None => round.walk.insert(self.records.walk(day).await?),
            };
            if walk.is_over() {
                break;
            }
            let (page, progress) = self.records.next_page(walk).await?;
            round.carry_on_with(page.sealed, &taken);
            if progress == Progress::Disturbed {
                (round.walk, round.too_long) = (None, 0);
            }
        }
        Ok(filler.finish())
    }

    /// The day was looked at to its end.
    async fn end_day(&self, round: &mut Round, closed: ClosedDay) -> Result<()> {
        round.walk = None;
        let too_long = std::mem::take(&mut round.too_long);
        if too_long > 0 {
            round.stuck.insert(closed.day, too_long);
            return Ok(());
        }
        let today = self.records.calendar.today().await?;
        let call = Call::script(&END_DELIVERY, NIGHT_KEY)
            .number(today.day.0)
            .number(closed.day.0)
            .number(UnixMillis::now().0);
        self.records.servers.own(call).await?;
        crash::point(Point::DayEnded);
        Ok(())
    }
}

impl Round {
    /// Takes a page's users, except those who are in the frame that is being filled: a walk may
    /// pass a user twice, and when the next frame is filled that user is done. Who was in an
    /// earlier frame has nothing sealed any more when a later page is read.
    fn carry_on_with(&mut self, sealed: Vec<UserTime>, taken: &HashSet<UserId>) {
        self.carry.extend(sealed.into_iter().filter(|entry| !taken.contains(&entry.user)));
    }

    /// Moves what was found into the frame; says whether the frame wants more than there was.
    fn fill_from_carry(&mut self, filler: &mut BatchFiller, taken: &mut HashSet<UserId>) -> bool {
        while let Some(entry) = self.carry.front() {
            if filler.is_full() {
                return false;
            }
            match filler.offer(entry.clone()) {
                Offer::Full => return false,
                Offer::Taken => {
                    taken.insert(entry.user.clone());
                }
                Offer::TooLong => self.too_long += 1,
            }
            self.carry.pop_front();
        }
        !filler.is_full()
    }
}

/// Whether the right that was asked for then lasts for as long as a frame may be under way from now.
fn may_send(claimed_at: Option<Instant>, now: Instant) -> bool {
    claimed_at.is_some_and(|at| now.saturating_duration_since(at) <= SEND_WITHIN)
}

fn closed_field(day: Day) -> String {
    format!("closed:{}", day.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: &[&str]) -> Vec<UserTime> {
        let entry = |id: &&str| UserTime { user: UserId::parse(id).unwrap(), study_time: None };
        ids.iter().map(entry).collect()
    }

    #[test]
    fn a_frame_leaves_only_while_the_right_to_send_it_outlasts_it_for_certain() {
        let asked = Instant::now();
        assert!(!may_send(None, asked));
        for call_max in [Duration::ZERO, Duration::from_secs(7)] {
            let lease = Duration::from_millis(lease_millis(call_max));
            for waited in (0..=lease.as_millis()).step_by(50) {
                let leaves = asked + Duration::from_millis(u64::try_from(waited).unwrap());
                let is_over = leaves + call_max + Duration::from_secs(1) > asked + lease;
                assert!(!(may_send(Some(asked), leaves) && is_over), "{waited} ms, {call_max:?}");
            }
        }
        // What two questions may take that are answered in time is too much.
        assert!(!may_send(Some(asked), asked + Duration::from_secs(2)));
        assert!(may_send(Some(asked), asked + Duration::from_millis(500)));
    }

    #[test]
    fn a_user_whom_the_walk_passes_twice_is_in_one_frame() {
        let (mut round, mut taken) = (Round::default(), HashSet::new());
        let mut filler = BatchFiller::new(BatchLimits {
            users_max: 2,
            entries_bytes_max: 2000,
            call_max: Duration::ZERO,
        });
        round.carry_on_with(page(&["u1"]), &taken);
        assert!(round.fill_from_carry(&mut filler, &mut taken));
        round.carry_on_with(page(&["u2", "u1", "u3"]), &taken);
        assert!(!round.fill_from_carry(&mut filler, &mut taken));
        assert_eq!(filler.finish().unwrap(), page(&["u1", "u2"]));
        assert_eq!(Vec::from(round.carry), page(&["u3"]));
    }
}
