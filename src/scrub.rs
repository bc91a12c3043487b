//! Walks over a store that several programs share, slowly, over and over, and mends what a crash
//! left behind. The other stores have nothing to mend: they change all about a user at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::store::Observed;
use crate::store::redis::RedisStore;
use crate::store::redis::scrub::{STEP_MAX, Step};

/// How often it is seen whether a pass is due, at the least: another daemon may have made one, or
/// have died over it.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// Keys in one step.
const STEP_KEYS: usize = 200;

/// Makes a pass whenever one is due, until `stop`. A step that is cut off then leaves at most what
/// the next pass mends.
pub async fn keep(store: Arc<Observed>, config: config::Redis, stop: CancellationToken) {
    let Some(redis) = store.redis().filter(|_| !config.scrub_interval.is_zero()) else { return };
    loop {
        let ended = stop.run_until_cancelled(make_pass(redis, &config)).await;
        if ended.is_none() {
            // If Redis is away, the right to make passes runs out by itself.
            drop(timeout(config.command_timeout, redis.end_pass()).await);
            return;
        }
        let pause = config.scrub_interval.min(CHECK_EVERY);
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Makes a pass if one is due.
async fn make_pass(redis: &RedisStore, config: &config::Redis) {
    let begun = timeout(STEP_MAX, redis.begin_pass(config.scrub_interval)).await;
    let mut pass = match begun {
        Ok(Ok(Some(pass))) => pass,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            tracing::debug!(%error, "whether a scrub is due is unknown");
            return;
        }
        Err(_) => return,
    };
    loop {
        match timeout(STEP_MAX, redis.next_step(&mut pass, STEP_KEYS)).await {
            Ok(Ok(Step::More(looked_at))) => sleep(pace(looked_at, config)).await,
            Ok(Ok(Step::Done(counted))) => {
                tracing::info!(
                    users = counted.users,
                    sessions_live = counted.sessions_live,
                    rooms = counted.rooms,
                    "the store was looked through"
                );
                return;
            }
            Ok(Ok(Step::Void)) => {
                tracing::debug!("a scrub is given up: the servers changed, or another is at it");
                return;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "a scrub is given up and begun again later");
                return;
            }
            Err(_) => {
                tracing::warn!("a scrub is given up and begun again later: a step took too long");
                return;
            }
        }
    }
}

/// How long so many keys have to last.
fn pace(keys: usize, config: &config::Redis) -> Duration {
    Duration::from_secs(1).mul_f64(keys as f64 / config.scrub_keys_per_second.max(1) as f64)
}
