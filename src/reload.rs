//! A reload: what the sources say now takes the place of what was in force, and no connection is
//! dropped for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::Effect;
use crate::config::effective::Change;
use crate::config::mistake::Errors;
use crate::config::running::{Loaded, Reading, Running};
use crate::log;
use crate::throttle;
use crate::tls::InForce;

/// How long reading the sources may take. A file may lie on a server that hangs.
const READ_MAX: Duration = Duration::from_secs(5);

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The sources are wrong.
    #[error(transparent)]
    Configuration(#[from] Errors),
    /// The file is a pipe or the like: what was read of it at the start is gone.
    #[error("{} is no regular file, so it can't be read again", .0.display())]
    NotAgain(PathBuf),
    /// The sources could not be read in time.
    #[error("the sources could not be read within {0:?}")]
    Slow(Duration),
    /// Reading them failed in a way that says nothing about them.
    #[error("the sources could not be read")]
    Unread(#[from] tokio::task::JoinError),
    /// The log takes no other filter.
    #[error("log.level can't be changed")]
    Log(#[from] log::FilterError),
}

/// Reads the sources again, and puts in force what they say if all of it is right. `apply` tells the
/// parts of the daemon that keep something of the configuration; it comes before everybody else
/// goes by the new one. Calls come one after the other.
pub async fn run(
    running: &Arc<Running>,
    filter: &log::Filter,
    apply: impl FnOnce(&Loaded),
) -> Result<Arc<Loaded>, Refused> {
    tracing::info!("reload: the configuration is read again");
    let reloaded = read(running).await.and_then(|reading| {
        set_log(&reading, filter)?;
        apply(&reading.loaded);
        tell_certificates(&running.now().tls, &reading.loaded.tls);
        running.replace(reading.loaded);
        Ok(running.current())
    });
    running.reloads.count(reloaded.is_ok());
    match &reloaded {
        Ok(loaded) => tell_reloaded(loaded),
        Err(refused) => tell_refused(refused),
    }
    reloaded
}

/// What the sources say. They are read by a thread that may hang with a file: nobody else waits.
async fn read(running: &Arc<Running>) -> Result<Reading, Refused> {
    let file = running.now().file.clone();
    let reader = Arc::clone(running);
    let read = spawn_blocking(move || match file {
        Some(file) if file.metadata().is_ok_and(|found| !found.is_file()) => {
            Err(Refused::NotAgain(file))
        }
        Some(_) | None => Ok(reader.read_again()?),
    });
    timeout(READ_MAX, read).await.map_err(|_| Refused::Slow(READ_MAX))??
}

/// The log comes first, for its filter is the only thing that might still say no.
fn set_log(reading: &Reading, filter: &log::Filter) -> Result<(), Refused> {
    let tell_all = || reading.changes.iter().for_each(tell);
    // They are told by the filter that lets them through: a reload that silences the log is seen.
    let are_told_before = tracing::enabled!(tracing::Level::INFO);
    if are_told_before {
        tell_all();
    }
    filter.set(&reading.loaded.config.log.level)?;
    if !are_told_before {
        tell_all();
    }
    throttle::allow(reading.loaded.config.log.max_repeats as u64);
    Ok(())
}

fn tell(change: &Change) {
    let Change { key, old, new, effect } = change;
    match effect {
        Effect::Live => tracing::info!(key, old, new, "changed: {change}"),
        Effect::Restart => tracing::warn!(key, old, new, "needs a restart: {change}"),
    }
}

/// A renewed file is no change of the configuration, and yet what operators reload for.
fn tell_certificates(old: &InForce, new: &InForce) {
    let old = old.certificates();
    for (key, certificate) in new.certificates() {
        if !old.contains(&(key.clone(), certificate)) {
            tracing::info!(key, "another certificate: {key} is {certificate}");
        }
    }
}

fn tell_reloaded(loaded: &Loaded) {
    for doubt in loaded.config.doubts().into_iter().chain(loaded.tls.doubts()) {
        tracing::warn!("{doubt}");
    }
    tracing::info!(digest = loaded.digest, "reloaded");
}

fn tell_refused(refused: &Refused) {
    match refused {
        Refused::Configuration(errors) => {
            for mistake in &errors.mistakes {
                tracing::error!("reload refused, nothing is changed: {mistake}");
            }
        }
        Refused::NotAgain(_) | Refused::Slow(_) | Refused::Unread(_) | Refused::Log(_) => {
            tracing::error!("reload refused, nothing is changed: {}", log::chain(refused));
        }
    }
}
