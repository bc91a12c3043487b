//! The night: closes a day whose last frame never came, and delivers closed days to auth.
//!
//! Both are loops over operations of the store that leave their mark and may be repeated, so that
//! a daemon which dies anywhere in them is carried on by the next one, here or elsewhere.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::domain::{Context, UnixMillis};
use crate::store::night::ClosedDay;
use crate::store::{Batch, BatchLimits, KeepOnline, NextBatch, StateStore};
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

/// The night's work on one daemon.
#[derive(Debug)]
pub struct Nightly {
    context: Arc<Context>,
    stop: CancellationToken,
}

impl Nightly {
    /// For the given store and gateways.
    pub fn new(context: Arc<Context>, stop: CancellationToken) -> Self {
        Self { context, stop }
    }

    /// Closes nights that got no SCHEDULER_LAST (contract §5.4), until the daemon stops.
    pub async fn close_overdue_days(&self) {
        while !self.stop.is_cancelled() {
            let last_timeout = self.context.running.now().config.rollover.last_timeout;
            match self.context.store.close_overdue_day(UnixMillis::now(), last_timeout).await {
                Ok(Some(day)) => {
                    tracing::warn!(
                        day = day.0,
                        "no SCHEDULER_LAST came within {last_timeout:?}, the day was closed without"
                    );
                    self.context.day_closed.notify_one();
                }
                Ok(None) => {}
                Err(error) => tracing::debug!("whether the night is overdue is unknown: {error}"),
            }
            self.pause(OVERDUE_POLL, pending()).await;
        }
    }

    /// Delivers closed days (contract §5.2), until the daemon stops. A frame that is under way then
    /// is seen to its end.
    pub async fn deliver(&self) {
        let mut pause = Pause::default();
        while !self.stop.is_cancelled() {
            // One for the whole round: what is asked for is what can be sent. A reload ends the wait
            // after it, for it may have mended what the wait is for.
            let replaced = self.context.running.replaced();
            let loaded = self.context.running.current();
            let (config, retry_max) = (&loaded.config, loaded.config.rollover.retry_max);
            match self.context.store.next_batch(limits(config)).await {
                Ok(NextBatch::Send(batch)) => match self.deliver_batch(&batch, config).await {
                    Ok(()) => pause = Pause::default(),
                    Err(error) => {
                        self.context.metrics.nights.batches_retried.fetch_add(1, Relaxed);
                        tracing::warn!(
                            batch = batch.id,
                            day = batch.closed.day.0,
                            users = batch.users.len(),
                            "auth did not acknowledge a frame, it is sent again: {error}"
                        );
                        self.pause(pause.next(retry_max), replaced).await;
                    }
                },
                Ok(NextBatch::Nothing | NextBatch::Elsewhere) => {
                    self.idle(IDLE_POLL, replaced).await
                }
                Ok(NextBatch::TooLong { users }) => {
                    tracing::error!(
                        users,
                        frame_bytes_max = frame_bytes_max(&config.gateways.auth),
                        "study times stay undelivered: each alone is longer than auth's frames"
                    );
                    self.idle(TOO_LONG_PAUSE, replaced).await;
                }
                Err(error) => {
                    tracing::debug!("what is to be delivered is unknown: {error}");
                    self.pause(pause.next(retry_max), replaced).await;
                }
            }
        }
    }

    /// Until a day is closed here, or may have been elsewhere.
    async fn idle(&self, at_most: Duration, replaced: impl Future<Output = ()>) {
        tokio::select! {
            () = self.context.day_closed.notified() => {}
            () = self.pause(at_most, replaced) => {}
        }
    }

    /// Waits, unless the daemon stops or its configuration is replaced.
    async fn pause(&self, duration: Duration, replaced: impl Future<Output = ()>) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = replaced => {}
            () = sleep(duration) => {}
        }
    }

    async fn deliver_batch(&self, batch: &Batch, config: &Config) -> Result<(), CallError> {
        let rollover = &config.rollover;
        let date = date_of(batch.closed, rollover.time_zone.zone());
        let stamp = message::Stamp { day: &date, batch: &batch.id };
        let stamp = rollover.stamp.then_some(stamp);
        let message = message::ClosedTimes { users: &batch.users, stamp }.to_json();
        let deadline = Instant::now() + config.gateways.auth.call_max();
        self.context.upstream.auth.call(&message, deadline).await?;
        // The frame is with auth. If this can't be written down it is sent again: that is the
        // only way to be sure, and why frames can be stamped.
        let mut pause = Pause::default();
        let keep = if rollover.keep_online { KeepOnline::Yes } else { KeepOnline::No };
        while let Err(error) = self.context.store.acknowledge_batch(batch, keep).await {
            tracing::warn!(batch = batch.id, "an acknowledgement is not written down yet: {error}");
            if self.stop.is_cancelled() {
                return Ok(());
            }
            self.pause(pause.next(rollover.retry_max), pending()).await;
        }
        let nights = &self.context.metrics.nights;
        nights.batches_delivered.fetch_add(1, Relaxed);
        nights.users_delivered.fetch_add(batch.users.len() as u64, Relaxed);
        tracing::debug!(
            batch = batch.id,
            day = batch.closed.day.0,
            users = batch.users.len(),
            "delivered"
        );
        Ok(())
    }
}

fn limits(config: &Config) -> BatchLimits {
    let stamp = config.rollover.stamp.then_some(message::Stamp::SAMPLE);
    let envelope = message::ClosedTimes::envelope_bytes(stamp);
    BatchLimits {
        users_max: config.rollover.batch_users,
        entries_bytes_max: frame_bytes_max(&config.gateways.auth).saturating_sub(envelope),
    }
}

fn frame_bytes_max(auth: &config::Gateway) -> usize {
    auth.max_frame_bytes.min(auth.framing.payload_bytes_max())
}

/// The date of the study day that was closed: the one on which it was running 24 hours before its
/// end. Auth dates what it gets by the same rule, from the moment it gets it.
fn date_of(closed: ClosedDay, time_zone: &jiff::tz::TimeZone) -> String {
    let millis = i64::try_from(closed.closed_at.0).unwrap_or(i64::MAX);
    let closed_at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    let day_before =
        closed_at.checked_sub(jiff::SignedDuration::from_hours(24)).unwrap_or(jiff::Timestamp::MIN);
    day_before.to_zoned(time_zone.clone()).date().to_string()
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
