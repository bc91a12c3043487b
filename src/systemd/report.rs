//! What the service manager is told while the daemon lives.
//!
//! `READY` is said once the listeners are open and the store has answered. Ending a daemon whose
//! Redis is away would help nobody: it answers its peers (with errors), and connects when Redis is
//! there. So it asks for more time to start, half a minute at a time and as long as it is healthy
//! itself, and says in `STATUS` what it waits for. Once ready it stays so: a store that goes away
//! later is a matter of `STATUS`.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

use super::notify::Notifier;
use super::status::{self, RELOADING, Reload};
use super::vitals::{Ailment, StoreState, Vitals};
use crate::reload::Refused;

/// How often figures and health are looked at, unless the watchdog wants it more often.
const BEAT_MAX: Duration = Duration::from_secs(3);
/// The same until the daemon is ready: whoever started it waits for that.
const STARTING_BEAT_MAX: Duration = Duration::from_millis(250);
/// How long each sign of life may take, unless the watchdog wants it sooner.
const PATIENCE_MAX: Duration = Duration::from_secs(2);
/// How much longer a start may take, from each sign of life on.
const START_EXTENSION: Duration = Duration::from_secs(30);
/// What a stop may take beyond its grace period, which is when the store closes.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// Tells the service manager how the daemon is.
#[derive(Debug)]
pub struct Reporter {
    notifier: Notifier,
    vitals: Vitals,
    phase: Phase,
    /// The `STATUS` that was said last.
    status: String,
    /// What became of the latest reload.
    reload: Reload,
    /// `READY` is owed to a manager that heard `RELOADING`.
    owes_ready: bool,
    healthy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The store has not answered yet.
    Starting,
    Serving,
    Stopping,
}

impl Reporter {
    /// Of a daemon that has opened its listeners.
    pub fn new(notifier: Notifier, vitals: Vitals) -> Self {
        Self {
            notifier,
            vitals,
            phase: Phase::Starting,
            status: String::new(),
            reload: Reload::None,
            owes_ready: false,
            healthy: true,
        }
    }

    /// Reports until it is dropped, which may be at any time. It wants to be polled by a thread
    /// that is no worker of the runtime, so that it can tell when all of them are stuck.
    pub async fn report(&mut self) -> Infallible {
        if !self.notifier.has_manager() {
            return pending().await;
        }
        loop {
            self.beat().await;
            sleep(self.pause()).await;
        }
    }

    /// Says that the configuration is read again. A daemon that is not ready yet says nothing: it
    /// would have to say that it is ready afterwards.
    pub fn reloading(&mut self) {
        match self.phase {
            Phase::Starting | Phase::Stopping => {}
            Phase::Serving => {
                self.owes_ready = true;
                let mut told = vec![NotifyState::Reloading, NotifyState::Status(RELOADING)];
                // Managers from systemd 253 on tell by it which reload is meant.
                told.extend(NotifyState::monotonic_usec_now());
                if self.notifier.send(&told) {
                    RELOADING.clone_into(&mut self.status);
                }
            }
        }
    }

    /// Says what became of it: `refused` if nothing was changed.
    pub fn reloaded(&mut self, refused: Option<&Refused>) {
        self.reload = Reload::now(refused);
        self.say_ready_again();
    }

    /// Says that the daemon stops, and how long that may take.
    pub fn stopping(&mut self, grace: Duration) {
        self.phase = Phase::Stopping;
        self.owes_ready = false;
        let most = grace.saturating_add(STOP_MARGIN);
        self.notifier.send(&[NotifyState::Stopping, extension(most)]);
        self.say_status("stopping".to_owned());
    }

    async fn beat(&mut self) {
        let patience = self.within_watchdog(PATIENCE_MAX, 6);
        let checked = match self.phase {
            Phase::Starting | Phase::Serving => self.vitals.check_runtime(patience).await,
            Phase::Stopping => self.vitals.check_stopping(patience).await,
        };
        self.note_health(&checked);
        if let Err(ailment) = checked {
            // No sign of life: if it stays like this, the manager ends the daemon.
            return self.say_status(format!("not healthy: {ailment}"));
        }
        self.notifier.send(&[match self.phase {
            Phase::Starting => extension(START_EXTENSION),
            Phase::Serving | Phase::Stopping => NotifyState::Watchdog,
        }]);
        self.say_ready_again();
        let connections = self.vitals.connections();
        match self.phase {
            Phase::Starting => {
                let store = self.vitals.ask_store(patience).await;
                match store {
                    StoreState::Answers(_) => {
                        self.say_ready(status::serving(&self.vitals, &store, &self.reload));
                    }
                    StoreState::Fails(_) | StoreState::Silent(_) => {
                        self.say_status(status::waiting(&self.vitals, &store, &self.reload));
                    }
                }
            }
            Phase::Serving => {
                let store = self.vitals.ask_store(patience).await;
                self.say_status(status::serving(&self.vitals, &store, &self.reload));
            }
            Phase::Stopping => self.say_status(format!("stopping; connections: {connections}")),
        }
    }

    fn note_health(&mut self, checked: &Result<(), Ailment>) {
        match checked {
            Err(ailment) if self.healthy => tracing::error!("not healthy: {ailment}"),
            Ok(()) if !self.healthy => tracing::info!("healthy again"),
            Ok(()) | Err(_) => {}
        }
        self.healthy = checked.is_ok();
    }

    fn say_ready(&mut self, status: String) {
        // Said until it is heard: nothing else would tell the manager.
        if self.notifier.send(&[NotifyState::Ready, NotifyState::Status(&status)]) {
            self.phase = Phase::Serving;
            self.status = status;
        }
    }

    /// Ends what [`Reporter::reloading`] began. Said until it is heard, as in [`Self::say_ready`].
    fn say_ready_again(&mut self) {
        if self.owes_ready {
            let status = without_controls(&status::reloaded(&self.vitals, &self.reload));
            self.owes_ready =
                !self.notifier.send(&[NotifyState::Ready, NotifyState::Status(&status)]);
        }
    }

    fn say_status(&mut self, status: String) {
        // A line feed would end the word; what comes of a peer's error text may hold one.
        let status = without_controls(&status);
        if status != self.status && self.notifier.send(&[NotifyState::Status(&status)]) {
            self.status = status;
        }
    }

    fn pause(&self) -> Duration {
        let most = match self.phase {
            Phase::Starting => STARTING_BEAT_MAX,
            Phase::Serving | Phase::Stopping => BEAT_MAX,
        };
        self.within_watchdog(most, 4)
    }

    /// So much, or a part of the watchdog's time. From one sign of life to the next there are a
    /// pause of a quarter and, at the worst, four waits of a sixth each.
    fn within_watchdog(&self, most: Duration, part: u32) -> Duration {
        self.notifier.watchdog.map_or(most, |watchdog| most.min(watchdog / part))
    }
}

fn extension(by: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(by.as_micros()).unwrap_or(u32::MAX))
}

fn without_controls(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, mpsc};

    use tempfile::TempDir;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::config::running::Running;
    use crate::config::{Config, StoreUrl};
    use crate::connection::passed::Passed;
    use crate::daemon::Daemon;
    use crate::log::Filter;

    const WATCHDOG: Duration = Duration::from_millis(600);

    /// A daemon in memory, what reports of it, and the manager's socket once it is bound.
    async fn start(folder: &TempDir) -> (Daemon, Reporter, PathBuf) {
        let socket = folder.path().join("notify");
        let mut config = Config::default();
        config.store.url = StoreUrl::Memory;
        config.listen[0].address = "127.0.0.1:0".to_owned();
        config.admin.address = String::new();
        let running = Arc::new(Running::of(config));
        let daemon = Daemon::start(running, Filter::of_no_log(), Passed::default()).await.unwrap();
        let notifier = Notifier::new(Some(socket.as_os_str()), Some(WATCHDOG));
        let reporter = Reporter::new(notifier, daemon.vitals());
        (daemon, reporter, socket)
    }

    fn bind(socket: &Path) -> UnixDatagram {
        let manager = UnixDatagram::bind(socket).unwrap();
        manager.set_nonblocking(true).unwrap();
        manager
    }

    /// All that was said up to now.
    fn heard(manager: &UnixDatagram) -> Vec<String> {
        let (mut all, mut message) = (Vec::new(), [0; 1024]);
        while let Ok(length) = manager.recv(&mut message) {
            let text = std::str::from_utf8(&message[..length]).unwrap();
            all.extend(text.lines().map(str::to_owned));
        }
        all
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stuck_runtime_gives_no_sign_of_life_until_it_moves_again() {
        let folder = TempDir::new().unwrap();
        let (daemon, mut reporter, socket) = start(&folder).await;
        let manager = bind(&socket);
        while !heard(&manager).contains(&"WATCHDOG=1".to_owned()) {
            reporter.beat().await;
        }
        let (release, released) = mpsc::channel::<()>();
        let stuck = TaskTracker::new().spawn(async move { released.recv().is_ok() });
        while !reporter.status.starts_with("not healthy: worker") {
            reporter.beat().await;
        }
        heard(&manager);
        reporter.beat().await;
        reporter.beat().await;
        let said = heard(&manager);
        assert!(!said.contains(&"WATCHDOG=1".to_owned()), "{said:?}");
        release.send(()).unwrap();
        assert!(stuck.await.unwrap());
        while !heard(&manager).contains(&"WATCHDOG=1".to_owned()) {
            reporter.beat().await;
        }
        daemon.stop().await;
    }

    #[tokio::test]
    async fn ready_is_said_until_it_is_heard() {
        let folder = TempDir::new().unwrap();
        let (daemon, mut reporter, socket) = start(&folder).await;
        reporter.beat().await;
        assert_eq!(reporter.phase, Phase::Starting);
        let manager = bind(&socket);
        while reporter.phase == Phase::Starting {
            reporter.beat().await;
        }
        let said = heard(&manager);
        let ready = said.iter().position(|word| word == "READY=1").unwrap();
        assert_eq!(said[ready - 1], "EXTEND_TIMEOUT_USEC=30000000");
        daemon.stop().await;
    }
}
