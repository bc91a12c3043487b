//! The configuration in force: shared by all parts of the daemon, replaced as a whole by a reload.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::{ArcSwap, Guard};
use ring::digest::{SHA256, digest};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::effective::{self, Change};
use super::key::Effect;
use super::mistake::Errors;
use super::{Config, Sources, certificates, draft};
use crate::domain::UnixMillis;
use crate::tls::InForce;

/// Bytes of the digest that are shown, two digits each. It tells configurations apart that differ
/// by accident; it is no proof against somebody who means to deceive.
const DIGEST_BYTES: usize = 8;

/// The configuration in force, and the sources it is read from again.
pub struct Running {
    /// `None` for a configuration that was made by hand: it stays as it is.
    sources: Option<Sources>,
    current: ArcSwap<Loaded>,
    replaced: Notify,
    /// What became of reloads.
    pub reloads: Reloads,
}

/// Reloads since the daemon started, by what came of them.
#[derive(Debug, Default)]
pub struct Reloads {
    /// Those that were put in force, whether they changed anything or not.
    pub applied: AtomicU64,
    /// Those that changed nothing because the sources were wrong.
    pub refused: AtomicU64,
}

impl Reloads {
    /// One more.
    pub(crate) fn count(&self, applied: bool) {
        let counter = if applied { &self.applied } else { &self.refused };
        counter.fetch_add(1, Relaxed);
    }
}

/// A configuration in force.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the daemon goes by. After a reload, keys that need a restart still have the values with
    /// which the daemon started.
    pub config: Config,
    /// The certificates and keys that it names, as they were when it was read.
    pub tls: InForce,
    /// Lower-case hex over all keys and their values, but for what is secret: two daemons that differ
    /// in a password alone have the same.
    pub digest: String,
    /// When it was read.
    pub loaded_at: UnixMillis,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The keys whose value in the sources takes effect with a restart only, in the order of the
    /// reference; empty if all of them are as they are there.
    pub needs_restart: Vec<String>,
}

/// What the sources say now, checked and not in force.
#[derive(Debug)]
pub struct Reading {
    /// What is different from the configuration in force.
    pub changes: Vec<Change>,
    /// What would be in force.
    pub loaded: Loaded,
}

impl Running {
    /// The configuration that the sources make, or everything that is wrong with them.
    pub fn load(sources: Sources) -> Result<Self, Errors> {
        let (config, tls) = super::load_with_certificates(&sources)?;
        let file = sources.file.clone();
        Ok(Self::new(Loaded::new(config, tls, file, Vec::new()), Some(sources)))
    }

    /// A configuration that comes from no source; reading it again changes nothing. It names no
    /// certificates.
    pub fn of(config: Config) -> Self {
        Self::new(Loaded::new(config, InForce::default(), None, Vec::new()), None)
    }

    fn new(loaded: Loaded, sources: Option<Sources>) -> Self {
        let current = ArcSwap::from_pointee(loaded);
        Self { sources, current, replaced: Notify::new(), reloads: Reloads::default() }
    }

    /// The configuration in force, for as long as the caller wants to go by it.
    pub fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    /// The configuration in force, for a look: cheaper, and not to be held while waiting.
    pub fn now(&self) -> Guard<Arc<Loaded>> {
        self.current.load()
    }

    /// Reads all sources again. Nothing changes by that alone.
    pub fn read_again(&self) -> Result<Reading, Errors> {
        let current = self.current();
        let Some(sources) = &self.sources else {
            let loaded = Loaded { loaded_at: UnixMillis::now(), ..Loaded::clone(&current) };
            return Ok(Reading { changes: Vec::new(), loaded });
        };
        let (config, places) = draft(sources).finish()?;
        let changes = effective::changes(&current.config, &config);
        let waits = |change: &&Change| change.effect == Effect::Restart;
        let needs_restart = changes.iter().filter(waits).map(|change| change.key.clone()).collect();
        // What waits for a restart is read as well: that it is wrong should be known before that.
        let read = |config: &Config| {
            InForce::read(config, sources.credentials.as_deref())
                .map_err(|wrong| certificates::mistakes(wrong, &places))
        };
        let told = read(&config)?;
        let config = effective::with_live_keys(&current.config, &config);
        let tls = if changes.is_empty() { told } else { read(&config)? };
        let loaded = Loaded::new(config, tls, current.file.clone(), needs_restart);
        Ok(Reading { changes, loaded })
    }

    /// From now on this is in force.
    pub fn replace(&self, loaded: Loaded) {
        self.current.store(Arc::new(loaded));
        self.replaced.notify_waiters();
    }

    /// The next time that the configuration is replaced, seen from this call on.
    pub fn replaced(&self) -> Notified<'_> {
        self.replaced.notified()
    }
}

impl fmt::Debug for Running {
    /// Without the sources: an environment is full of secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Loaded {
    fn new(
        config: Config,
        tls: InForce,
        file: Option<PathBuf>,
        needs_restart: Vec<String>,
    ) -> Self {
        let digest = digest_of(&config);
        Self { config, tls, digest, loaded_at: UnixMillis::now(), file, needs_restart }
    }
}

fn digest_of(config: &Config) -> String {
    let mut text = String::new();
    for (key, value) in config.listed() {
        text.extend([key.as_str(), "\0", &value, "\0"]);
    }
    let mut hex = String::new();
    for byte in digest(&SHA256, text.as_bytes()).as_ref().iter().take(DIGEST_BYTES) {
        // Writing into a text does not fail.
        let _written = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::config::{Secret, StoreUrl};

    fn digest_with(change: fn(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        Running::of(config).current().digest.clone()
    }

    fn of_file(file: &Path, text: &str) -> Running {
        fs::write(file, text).unwrap();
        Running::load(Sources { file: Some(file.to_owned()), ..Sources::default() }).unwrap()
    }

    #[test]
    fn the_digest_stands_for_every_value_but_secrets() {
        let plain = digest_with(|_| {});
        assert_eq!(plain.len(), 2 * DIGEST_BYTES);
        assert_eq!(plain, digest_with(|_| {}));
        assert_ne!(plain, digest_with(|config| config.rollover.stamp = true));
        assert_ne!(plain, digest_with(|config| config.listen.clear()));
        let redis = |url: &str| StoreUrl::Redis(Secret::new(url));
        let mut urls = ["redis://u:one@h:1/0", "redis://u:two@h:1/0", "redis://u:one@g:1/0"]
            .map(|url| {
                let mut config = Config::default();
                config.store.url = redis(url);
                Running::of(config).current().digest.clone()
            })
            .to_vec();
        urls.dedup();
        assert_eq!(urls.len(), 2);
    }

    #[test]
    fn a_reading_changes_nothing_before_it_is_put_in_force() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("stated.toml");
        let running = of_file(&file, "rollover.batch_users = 5");
        let before = running.current();
        fs::write(&file, "rollover.batch_users = 6\nadmin.address = \"\"").unwrap();
        let Reading { changes, loaded } = running.read_again().unwrap();
        let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, ["rollover.batch_users", "admin.address"]);
        assert!(Arc::ptr_eq(&running.current(), &before));
        running.replace(loaded);
        let after = running.current();
        assert_eq!(after.config.rollover.batch_users, 6);
        // What waits for a restart is as it was, and named.
        assert_eq!(after.config.admin, before.config.admin);
        assert_eq!(after.needs_restart, ["admin.address"]);
        assert_eq!(after.file.as_ref(), Some(&file));
        assert_ne!(after.digest, before.digest);
        // What is put back as it was waits no more.
        fs::write(&file, "rollover.batch_users = 5").unwrap();
        let Reading { changes, loaded } = running.read_again().unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!((&loaded.digest, loaded.needs_restart.is_empty()), (&before.digest, true));
    }

    #[test]
    fn a_wrong_source_is_told_and_leaves_everything_as_it_was() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("stated.toml");
        let running = of_file(&file, "limits.max_in_flight = 5");
        let before = running.current();
        fs::write(&file, "limits.max_in_flight = 0\nlimits.max_connections = 3\nnonsense = 1")
            .unwrap();
        assert_eq!(running.read_again().unwrap_err().mistakes.len(), 2);
        assert!(Arc::ptr_eq(&running.current(), &before));
    }
}
