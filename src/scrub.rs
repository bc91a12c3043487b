//! Walks over a store that several programs share, slowly, over and over, and mends what a crash
//! left behind. The other stores have nothing to mend: they change all about a user at once.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::running::Running;
use crate::domain::Context;
use crate::store::redis::RedisStore;
use crate::store::redis::scrub::{STEP_MAX, Step};
use crate::store::{Error, Result};

/// How often it is seen whether a pass is due, at the least: another daemon may have made one, or
/// have died over it.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// How long giving back the right to make passes may take when the daemon stops.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Keys in one step, and no more than a second's worth.
const STEP_KEYS_MAX: usize = 200;
/// The longest pause between two steps: much shorter than the right to make passes lasts.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Makes a pass whenever one is due, until `stop`. A step that is cut off then leaves at most what
/// the next pass mends.
pub async fn keep(context: Arc<Context>, stop: CancellationToken) {
    let Some(redis) = context.store.redis() else { return };
    if stop.run_until_cancelled(make_passes(&context.running, redis)).await.is_none() {
        // If Redis is away, the right to make passes runs out by itself.
        drop(timeout(LAST_WORDS, redis.end_pass()).await);
    }
}

async fn make_passes(running: &Running, redis: &RedisStore) {
    loop {
        let replaced = running.replaced();
        let interval = running.now().config.store.redis.scrub_interval;
        if !interval.is_zero() {
            match make_pass(running, redis, interval).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "a scrub is given up and begun again later");
                }
            }
        }
        let pause = if interval.is_zero() { CHECK_EVERY } else { interval.min(CHECK_EVERY) };
        drop(timeout(pause, replaced).await);
    }
}

/// Makes a pass if one is due.
async fn make_pass(running: &Running, redis: &RedisStore, interval: Duration) -> Result<()> {
    let Some(mut pass) = in_time(redis.begin_pass(interval)).await? else { return Ok(()) };
    loop {
        let replaced = running.replaced();
        let keys_per_second = running.now().config.store.redis.scrub_keys_per_second;
        match in_time(redis.next_step(&mut pass, STEP_KEYS_MAX.min(keys_per_second))).await? {
            Step::More(looked_at) => {
                drop(timeout(pace(looked_at, keys_per_second), replaced).await);
            }
            Step::Done(counted) => {
                tracing::info!(
                    users = counted.users,
                    sessions_live = counted.sessions_live,
                    rooms = counted.rooms,
                    "the store was looked through"
                );
                return Ok(());
            }
            Step::Void => {
                tracing::debug!("a scrub is given up: the servers changed, or another is at it");
                return Ok(());
            }
        }
    }
}

async fn in_time<T>(step: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(STEP_MAX, step).await.unwrap_or(Err(Error::Slow(STEP_MAX)))
}

/// How long so many keys have to last.
fn pace(keys: usize, keys_per_second: usize) -> Duration {
    let pause = Duration::from_secs(1).mul_f64(keys as f64 / keys_per_second.max(1) as f64);
    pause.min(PAUSE_MAX)
}
