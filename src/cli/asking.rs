//! The runtime in which a command asks a daemon.

use std::future::Future;

use super::api::Error;

/// Runs it to its end, on this thread alone.
pub(super) fn run<T>(asking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::Runtime)?;
    let done = runtime.block_on(asking);
    // A look-up of a name may still be under way, and nobody waits for it.
    runtime.shutdown_background();
    done
}
