//! Asking the store on behalf of an operator: not for long, and with a refusal if it fails.

use std::time::Duration;

use tokio::time::timeout;

use crate::admin::answer::Refusal;
use crate::store;

/// How long an operator waits for the store.
const STORE_WAIT_MAX: Duration = Duration::from_secs(5);

/// What the store answers. An operation that is given up goes on or not, as the store does it: what
/// is asked for here may be asked again.
pub(super) async fn ask<T>(question: impl Future<Output = store::Result<T>>) -> Result<T, Refusal> {
    match timeout(STORE_WAIT_MAX, question).await {
        Ok(answer) => answer.map_err(|error| Refusal::Unavailable(error.to_string())),
        Err(_) => Err(Refusal::Unavailable(store::Error::Slow(STORE_WAIT_MAX).to_string())),
    }
}
