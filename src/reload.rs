//! A reload: what the sources say now takes the place of what was in force, and no connection is
//! dropped for it.

use std::sync::Arc;

use crate::config::Effect;
use crate::config::effective::Change;
use crate::config::mistake::Errors;
use crate::config::running::{Loaded, Reading, Running};
use crate::log;
use crate::throttle;

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The sources are wrong.
    #[error(transparent)]
    Configuration(#[from] Errors),
    /// The log takes no other filter.
    #[error("log.level can't be changed")]
    Log(#[from] log::FilterError),
}

/// Reads the sources again, and puts in force what they say if all of it is right. `apply` tells the
/// parts of the daemon that keep something of the configuration; it comes before everybody else
/// goes by the new one. Calls come one after the other.
pub fn run(
    running: &Running,
    filter: &log::Filter,
    apply: impl FnOnce(&Loaded),
) -> Result<Arc<Loaded>, Refused> {
    tracing::info!("reload: the configuration is read again");
    let reloaded = read(running, filter).map(|reading| {
        apply(&reading.loaded);
        running.replace(reading.loaded);
        running.current()
    });
    running.reloads.count(reloaded.is_ok());
    match &reloaded {
        Ok(loaded) => tell_reloaded(loaded),
        Err(refused) => tell_refused(refused),
    }
    reloaded
}

/// What the sources say, and with that filter, the only thing that might still say no.
fn read(running: &Running, filter: &log::Filter) -> Result<Reading, Refused> {
    let reading = running.read_again()?;
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
    Ok(reading)
}

fn tell(change: &Change) {
    let Change { key, old, new, effect } = change;
    match effect {
        Effect::Live => tracing::info!(key, old, new, "changed: {change}"),
        Effect::Restart => tracing::warn!(key, old, new, "needs a restart: {change}"),
    }
}

fn tell_reloaded(loaded: &Loaded) {
    for doubt in loaded.config.doubts() {
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
        Refused::Log(_) => {
            tracing::error!("reload refused, nothing is changed: {}", log::chain(refused));
        }
    }
}
