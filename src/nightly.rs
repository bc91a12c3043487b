//! The night: closes a day whose last frame never came, and delivers closed days to auth.
//!
//! Both are loops over operations of the store that leave their mark and may be repeated, so that
//! a daemon which dies anywhere in them is carried on by the next one, here or elsewhere.

mod progress;

use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::{BoxFuture, MaybeDone, maybe_done, poll_immediate};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub use self::progress::{Delivering, Doing, Stage};

use self::progress::Progress;
use crate::config::{self, Config};
use crate::crash::{self, Point};
use crate::domain::{Context, Day, UnixMillis};
use crate::store::night::ClosedDay;
use crate::store::{self, Batch, BatchLimits, KeepOnline, NextBatch, StateStore};
use crate::upstream::{CallError, message};

/// How often the clock is compared with the latest listing.
const OVERDUE_POLL: Duration = Duration::from_millis(200);
/// How often it is asked for undelivered days if nobody in this process closed one: another
/// daemon may have, or may have died over one.
const IDLE_POLL: Duration = Duration::from_secs(2);
/// The first pause after a frame that was not acknowledged; it doubles up to
/// `rollover.retry_max`.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(250);
/// How long a daemon waits with study times that fit no frame before it looks at them again.
const TOO_LONG_PAUSE: Duration = Duration::from_secs(60);
/// Frames that auth may have before it is written down of the first of them: so many, and the one
/// under way, are repeated after a crash. Auth is not kept waiting for the store, nor the store for
/// auth.
const UNWRITTEN_MAX: usize = 8;

/// The night's work on one daemon.
#[derive(Debug)]
pub struct Nightly {
    context: Arc<Context>,
    /// Told when an operator does not want to wait for the next attempt.
    hurry: Notify,
    progress: Progress,
    stop: CancellationToken,
}

/// How the delivery goes on after a step.
#[derive(Debug)]
enum After {
    /// At once: there may be more.
    Success,
    /// After a pause that grows with each failure.
    Failure,
    /// When a day is closed, or after so long.
    Rest(Duration),
}

/// Frames that auth has, the oldest first, while that is being written down.
type Unwritten = VecDeque<Acknowledging>;

/// A frame that auth has.
struct Acknowledging {
    batch: Arc<Batch>,
    written: MaybeDone<BoxFuture<'static, store::Result<()>>>,
}

/// Whether all was written down that had to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Down,
    /// The daemon stops before that.
    NotBeforeTheStop,
}

impl Acknowledging {
    fn has_failed(&self) -> bool {
        matches!(self.written, MaybeDone::Done(Err(_)))
    }
}

impl Nightly {
    /// For the given store and gateways.
    pub fn new(context: Arc<Context>, stop: CancellationToken) -> Self {
        Self { context, hurry: Notify::new(), progress: Progress::default(), stop }
    }

    /// Closes the running day because an operator wants it, as a SCHEDULER_LAST without users does;
    /// returns the day. After an error it is open, or its state unknown: then the store's history
    /// tells.
    pub async fn close_now(&self) -> store::Result<Day> {
        let closed = self.context.store.close_day_by_hand(UnixMillis::now()).await;
        // An error may be about the answer alone.
        self.context.day_closed.notify_one();
        let day = closed?;
        tracing::info!(day = day.0, "an operator closed the day, its study times go to auth");
        Ok(day)
    }

    /// Lets the delivery look for work, or try again what failed, without any pause, and begin with
    /// short pauses anew. Returns at once; what comes of it, [`Self::doing`] tells.
    pub fn deliver_now(&self) {
        self.hurry.notify_one();
    }

    /// What the delivery is at, on this daemon.
    pub fn doing(&self) -> Doing {
        self.progress.doing()
    }

    /// The frame that the delivery is at, on this daemon.
    pub fn delivering(&self) -> Option<Delivering> {
        match self.doing() {
            Doing::Frame(frame) => Some(frame),
            Doing::Nothing | Doing::Elsewhere | Doing::TooLong { .. } | Doing::Unknown { .. } => {
                None
            }
        }
    }

    /// The date of the study day that was closed: the one on which it was running 24 hours before
    /// its end. Auth dates what it gets by the same rule, from the moment it gets it.
    pub fn date_of(&self, closed: ClosedDay) -> String {
        date_of(closed, &self.context.running.now().config)
    }

    /// Closes nights that got no SCHEDULER_LAST (contract §5.4), until the daemon stops.
    pub async fn close_overdue_days(&self) {
        while !self.stop.is_cancelled() {
            let last_timeout = self.context.running.now().config.rollover.last_timeout;
            match self.context.store.close_overdue_day(UnixMillis::now(), last_timeout).await {
                Ok(Some(day)) => {
                    crash::point(Point::OverdueDayClosed);
                    tracing::warn!(
                        day = day.0,
                        "no SCHEDULER_LAST came within {last_timeout:?}, the day was closed without"
                    );
                    self.context.day_closed.notify_one();
                }
                Ok(None) => {}
                Err(error) => tracing::debug!("whether the night is overdue is unknown: {error}"),
            }
            self.rest(OVERDUE_POLL).await;
        }
    }

    /// Delivers closed days (contract §5.2), until the daemon stops. A frame that is under way then
    /// is seen to its end.
    pub async fn deliver(&self) {
        let mut pause = Pause::default();
        let mut unwritten = Unwritten::new();
        while !self.stop.is_cancelled() {
            // One for the whole round: what is asked for is what can be sent. A reload ends the wait
            // after it, for it may have mended what the wait is for.
            let replaced = self.context.running.replaced();
            let loaded = self.context.running.current();
            match self.deliver_next(&mut unwritten, &loaded.config).await {
                After::Success => pause = Pause::default(),
                After::Rest(at_most) => self.idle(at_most, replaced).await,
                After::Failure => self.back_off(&mut pause, &loaded.config, replaced).await,
            }
        }
        let config = &self.context.running.current().config;
        self.write_down(&mut unwritten, 0, config).await;
    }

    async fn deliver_next(&self, unwritten: &mut Unwritten, config: &Config) -> After {
        let next = self.context.store.next_batch(limits(config)).await;
        if !matches!(next, Ok(NextBatch::Send(_))) {
            // Now that nothing else is to be done, nothing is left half done.
            self.write_down(unwritten, 0, config).await;
        }
        match next {
            Ok(NextBatch::Send(batch)) => self.deliver_batch(batch, unwritten, config).await,
            Ok(NextBatch::Nothing) => {
                self.progress.set(Doing::Nothing);
                After::Rest(IDLE_POLL)
            }
            Ok(NextBatch::Elsewhere) => {
                self.progress.set(Doing::Elsewhere);
                After::Rest(IDLE_POLL)
            }
            Ok(NextBatch::TooLong { users }) => {
                tracing::error!(
                    users,
                    frame_bytes_max = frame_bytes_max(&config.gateways.auth),
                    "study times stay undelivered: each alone is longer than auth's frames"
                );
                self.progress.set(Doing::TooLong { users });
                After::Rest(TOO_LONG_PAUSE)
            }
            Err(error) => {
                tracing::debug!("what is to be delivered is unknown: {error}");
                self.progress.set(Doing::Unknown { error: error.to_string() });
                After::Failure
            }
        }
    }

    async fn deliver_batch(
        &self,
        batch: Batch,
        unwritten: &mut Unwritten,
        config: &Config,
    ) -> After {
        self.progress.begin_attempt(&batch);
        crash::point(Point::FrameFormed);
        if let Err(error) = self.send(&batch, config).await {
            self.context.metrics.nights.batches_retried.fetch_add(1, Relaxed);
            tracing::warn!(
                batch = batch.id,
                day = batch.closed.day.0,
                users = batch.users.len(),
                "auth did not acknowledge a frame, it is sent again: {error}"
            );
            self.progress.note_error(error.to_string());
            self.write_down(unwritten, 0, config).await;
            return After::Failure;
        }
        crash::point(Point::FrameAnswered);
        let begun = self.begin_writing(batch, config).await;
        // Where the store does not know yet that auth has the frame, as operations don't take effect
        // in the order of the calls, or as it refused this one, the next question would be answered
        // with the same frame.
        let is_known = self.context.store.in_call_order() && !begun.has_failed();
        unwritten.push_back(begun);
        self.write_down(unwritten, if is_known { UNWRITTEN_MAX } else { 0 }, config).await;
        After::Success
    }

    /// Begins to write down that auth has the frame: the store knows from now on, unless it refuses.
    async fn begin_writing(&self, batch: Batch, config: &Config) -> Acknowledging {
        let keep = keep_online(config);
        let (store, batch) = (Arc::clone(&self.context.store), Arc::new(batch));
        let of_write = Arc::clone(&batch);
        let write = async move { store.acknowledge_batch(&of_write, keep).await };
        let mut written = maybe_done(Box::pin(write) as BoxFuture<'static, _>);
        // Whether it is done already, whoever waits for it sees.
        let _done: Option<()> = poll_immediate(&mut written).await;
        Acknowledging { batch, written }
    }

    /// Waits until at most so many frames are not written down. If the daemon stops before that,
    /// they are sent again by the next one.
    async fn write_down(&self, unwritten: &mut Unwritten, at_most: usize, config: &Config) {
        while unwritten.len() > at_most {
            let Some(Acknowledging { batch, mut written }) = unwritten.pop_front() else { return };
            (&mut written).await;
            let first = Pin::new(&mut written).take_output().unwrap_or(Ok(()));
            match self.see_written(&batch, first, config).await {
                Written::Down => {
                    crash::point(Point::FrameAcknowledged);
                    self.count_delivered(&batch);
                }
                Written::NotBeforeTheStop => return unwritten.clear(),
            }
        }
    }

    fn count_delivered(&self, batch: &Batch) {
        let nights = &self.context.metrics.nights;
        nights.batches_delivered.fetch_add(1, Relaxed);
        nights.users_delivered.fetch_add(batch.users.len() as u64, Relaxed);
        tracing::debug!(
            batch = batch.id,
            day = batch.closed.day.0,
            users = batch.users.len(),
            "auth acknowledged a frame of a closed day"
        );
    }

    /// Tries until it is written down that auth has the frame, after the first attempt ended so. If
    /// this can't be done the frame is sent again: that is the only way to be sure, and why frames
    /// can be stamped.
    async fn see_written(
        &self,
        batch: &Batch,
        first: store::Result<()>,
        config: &Config,
    ) -> Written {
        let mut attempt = first;
        let mut pause = Pause::default();
        loop {
            let Err(error) = attempt else { return Written::Down };
            tracing::warn!(batch = batch.id, "an acknowledgement is not written down yet: {error}");
            self.progress.note_error(error.to_string());
            if self.stop.is_cancelled() {
                return Written::NotBeforeTheStop;
            }
            self.back_off(&mut pause, config, pending()).await;
            attempt = self.context.store.acknowledge_batch(batch, keep_online(config)).await;
        }
    }

    async fn send(&self, batch: &Batch, config: &Config) -> Result<(), CallError> {
        let date = date_of(batch.closed, config);
        let stamp = message::Stamp { day: &date, batch: &batch.id };
        let stamp = config.rollover.stamp.then_some(stamp);
        let message = message::ClosedTimes { users: &batch.users, stamp }.to_json();
        let deadline = Instant::now() + limits(config).call_max;
        self.context.upstream.auth.call(&message, deadline).await.map(|_| ())
    }

    /// Until a day is closed here, or may have been elsewhere, or an operator wants it.
    async fn idle(&self, at_most: Duration, replaced: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.context.day_closed.notified() => {}
            () = self.hurry.notified() => {}
            () = replaced => {}
            () = self.rest(at_most) => {}
        }
    }

    /// Waits, longer each time, unless the configuration is replaced or an operator wants no more of
    /// waiting.
    async fn back_off(
        &self,
        pause: &mut Pause,
        config: &Config,
        replaced: impl Future<Output = ()>,
    ) {
        let length = pause.next(config.rollover.retry_max);
        self.progress.note_pause(length);
        tokio::select! {
            biased;
            () = self.hurry.notified() => *pause = Pause::default(),
            () = replaced => {}
            () = self.rest(length) => {}
        }
    }

    /// Waits, unless the daemon stops.
    async fn rest(&self, duration: Duration) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = sleep(duration) => {}
        }
    }
}

fn keep_online(config: &Config) -> KeepOnline {
    if config.rollover.keep_online { KeepOnline::Yes } else { KeepOnline::No }
}

fn limits(config: &Config) -> BatchLimits {
    let stamp = config.rollover.stamp.then_some(message::Stamp::SAMPLE);
    let envelope = message::ClosedTimes::envelope_bytes(stamp);
    BatchLimits {
        users_max: config.rollover.batch_users,
        entries_bytes_max: frame_bytes_max(&config.gateways.auth).saturating_sub(envelope),
        call_max: config.gateways.auth.call_max(),
    }
}

fn frame_bytes_max(auth: &config::Gateway) -> usize {
    auth.max_frame_bytes.min(auth.framing.payload_bytes_max())
}

/// As [`Nightly::date_of`].
fn date_of(closed: ClosedDay, config: &Config) -> String {
    let millis = i64::try_from(closed.closed_at.0).unwrap_or(i64::MAX);
    let closed_at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    let day_before =
        closed_at.checked_sub(jiff::SignedDuration::from_hours(24)).unwrap_or(jiff::Timestamp::MIN);
    day_before.to_zoned(config.rollover.time_zone.zone().clone()).date().to_string()
}

/// A pause that grows while nothing succeeds.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
}

impl Pause {
    fn next(&mut self, max: Duration) -> Duration {
        let doubled = RETRY_PAUSE_MIN.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        // Somewhere in the upper half, so that several daemons do not ask in step.
        let share = 0.5 + fastrand::f64() / 2.0;
        doubled.min(max).mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::config::running::Running;
    use crate::domain::{StudyTime, UserId};
    use crate::store::embedded::EmbeddedStore;
    use crate::store::{Observed, Store};
    use crate::upstream::Upstream;

    /// Acknowledges every frame; of as many bytes as these tests send, each comes in one piece.
    async fn auth() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        TaskTracker::new().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut frame = [0; 4096];
                while stream.read(&mut frame).await.is_ok_and(|bytes| bytes > 0) {
                    stream.write_all(&[0; 4]).await.unwrap();
                }
            }
        });
        address
    }

    async fn nightly_on(store: EmbeddedStore) -> Nightly {
        let mut config = Config::default();
        config.gateways.auth.address = auth().await;
        config.rollover.batch_users = 1;
        let upstream = Upstream::new(&config.gateways, &Default::default(), &TaskTracker::new());
        let context = Context {
            store: Arc::new(Observed::new(Store::Embedded(store))),
            upstream: Arc::new(upstream),
            running: Arc::new(Running::of(config)),
            day_closed: Notify::new(),
            metrics: Arc::default(),
        };
        Nightly::new(Arc::new(context), CancellationToken::new())
    }

    async fn next_batch(nightly: &Nightly, config: &Config) -> Batch {
        match nightly.context.store.next_batch(limits(config)).await.unwrap() {
            NextBatch::Send(batch) => batch,
            other @ (NextBatch::Nothing | NextBatch::Elsewhere | NextBatch::TooLong { .. }) => {
                panic!("{other:?}")
            }
        }
    }

    #[tokio::test]
    async fn a_frame_whose_acknowledgement_the_store_refuses_is_not_sent_again() {
        let dir = tempfile::tempdir().unwrap();
        let (store, refuse) = EmbeddedStore::open_with_switch(dir.path());
        let nightly = nightly_on(store).await;
        let config = &nightly.context.running.current().config;
        for user in ["u1", "u2"] {
            let (user, time) = (UserId::parse(user).unwrap(), StudyTime::parse("1").unwrap());
            nightly.context.store.record_study_time(&user, &time).await.unwrap();
        }
        nightly.close_now().await.unwrap();
        let first = next_batch(&nightly, config).await;
        refuse(true);
        let mut unwritten = Unwritten::new();
        {
            let mut delivering = pin!(nightly.deliver_batch(first.clone(), &mut unwritten, config));
            let refused = async {
                while nightly.delivering().is_none_or(|frame| frame.last_error.is_none()) {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let has_ended = tokio::select! {
                biased;
                _ = &mut delivering => true,
                () = refused => false,
            };
            refuse(false);
            if !has_ended {
                delivering.await;
            }
        }
        assert_ne!(next_batch(&nightly, config).await, first);
    }
}
