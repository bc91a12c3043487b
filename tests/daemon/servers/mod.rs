//! Servers that tests start: real processes on free ports, gone when dropped.

pub(crate) mod redis;

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
