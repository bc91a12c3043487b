//! Looks at the daemon and at what it needs, over and over, and keeps what was found.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::dependency::{Dependency, Standing};
use crate::domain::{Context, UserId};
use crate::store::{self, Night, StateStore};
use crate::systemd::vitals::Vitals;
use crate::upstream::Gateway;

/// The name of the one dependency without which nothing works.
pub(super) const STORE: &str = "store";
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two proofs that the store takes changes, while it does: each costs a sync of the log, or
/// a write on every master. While it does not, every look tries.
const PROVE_EVERY: Duration = Duration::from_secs(5);
/// How long each sign of life may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who has not looked for so long is stuck.
const STALE_AFTER: Duration = Duration::from_secs(20);
/// The user whose study time is read to see whether the store serves. Nobody has this id, and
/// reading makes no record: the night must find nobody to tell auth about.
const CANARY: &str = "stated:canary";

/// What was last found out.
#[derive(Debug)]
pub struct Health {
    picture: watch::Sender<Picture>,
}

/// The daemon and its dependencies at one moment.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Whether it lets nobody in any more.
    pub stopping: bool,
    /// The store, then the peers.
    pub dependencies: Vec<Dependency>,
    /// Where the night stood when the store last answered.
    pub night: Option<Night>,
    /// What keeps the process from serving.
    ailment: Option<String>,
    looked_at: Instant,
}

impl Default for Health {
    fn default() -> Self {
        let dependencies = vec![
            Dependency::new(STORE, true),
            Dependency::new("room", false),
            Dependency::new("signaling", false),
            Dependency::new("auth", false),
        ];
        let looked_at = Instant::now();
        let picture =
            Picture { stopping: false, dependencies, night: None, ailment: None, looked_at };
        Self { picture: watch::Sender::new(picture) }
    }
}

impl Health {
    /// What was found last.
    pub fn picture(&self) -> Picture {
        self.picture.borrow().clone()
    }

    /// What keeps the process from serving, if anything.
    pub fn ailment(&self) -> Option<String> {
        let picture = self.picture.borrow();
        if picture.looked_at.elapsed() > STALE_AFTER {
            return Some(format!("nothing was found out for {STALE_AFTER:?}"));
        }
        picture.ailment.clone()
    }

    /// Looks until `stop`.
    pub async fn look(&self, context: Arc<Context>, mut vitals: Vitals, stop: CancellationToken) {
        let mut proved_at = None;
        loop {
            let asked = ask_store(&context, &mut proved_at);
            let (ailment, store) = tokio::select! {
                () = stop.cancelled() => return,
                found = async { tokio::join!(ailment(&mut vitals), asked) } => found,
            };
            let stopping = vitals.is_stopping();
            self.picture.send_modify(|picture| {
                picture.ailment = ailment;
                picture.stopping = stopping;
                picture.looked_at = Instant::now();
                picture.take_in(&context, store);
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}

impl Picture {
    fn take_in(&mut self, context: &Context, store: Result<Night, String>) {
        let mut store = Some(store.map(|night| self.night = Some(night)));
        for dependency in &mut self.dependencies {
            let gateways = context.upstream.gateways();
            let peer = gateways.into_iter().find(|gateway| gateway.peer() == dependency.name);
            let Some(found) = peer.map_or_else(|| store.take(), look_at_peer) else { continue };
            let before = dependency.standing;
            if dependency.observe(found) {
                tell(dependency, before);
            }
        }
    }
}

/// Says what is believed now. What a peer's pool says of it is enough for the log; of the store
/// nobody else says that it takes no changes, as long as nobody asks for one. So many looks in a row
/// have to agree that this can't flood the log.
fn tell(dependency: &Dependency, before: Standing) {
    let (name, state) = (dependency.name, dependency.standing.name());
    let error = dependency.error.as_deref();
    match dependency.standing {
        Standing::Down if dependency.is_required => {
            let why = error.unwrap_or("unknown");
            tracing::warn!(dependency = name, "unready, {name} is down: {why}");
        }
        Standing::Up if dependency.is_required && before == Standing::Down => {
            tracing::info!(dependency = name, "{name} is up again");
        }
        Standing::Unknown | Standing::Up | Standing::Down => {
            tracing::debug!(dependency = name, state, error, "{name} is {state}");
        }
    }
}

async fn ailment(vitals: &mut Vitals) -> Option<String> {
    let checked = if vitals.is_stopping() {
        vitals.check_stopping(PATIENCE).await
    } else {
        vitals.check_runtime(PATIENCE).await
    };
    match checked {
        Ok(()) => None,
        Err(ailment) => {
            // A listener that was closed meanwhile ails from nothing.
            let was_stopped = vitals.is_stopping() && !ailment.is_of_runtime();
            (!was_stopped).then(|| ailment.to_string())
        }
    }
}

/// Does what requests do, on their way: makes a change if the latest proof that this works is old,
/// or something has failed since; reads a user's study time, and reads where the night stands.
async fn ask_store(context: &Context, proved_at: &mut Option<Instant>) -> Result<Night, String> {
    let proof = proved_at.take().filter(|at| at.elapsed() < PROVE_EVERY);
    let asked = async {
        if proof.is_none() {
            context.store.prove_writable().await?;
        }
        if let Ok(user) = UserId::parse(CANARY) {
            context.store.study_time(&user).await?;
        }
        context.store.night().await
    };
    let asked: Result<Result<_, store::Error>, _> = timeout(PATIENCE, asked).await;
    match asked {
        Ok(Ok(night)) => {
            *proved_at = proof.or_else(|| Some(Instant::now()));
            Ok(night)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the store did not answer within {PATIENCE:?}")),
    }
}

/// How the latest attempt to connect went; `None` if there was none. Nothing is sent to a peer to
/// find out.
fn look_at_peer(gateway: &Gateway) -> Option<Result<(), String>> {
    use std::sync::atomic::Ordering::Relaxed;
    let counters = gateway.counters();
    let tried = counters.opened.load(Relaxed) + counters.failed.load(Relaxed) > 0;
    tried.then(|| match gateway.is_reachable() {
        true => Ok(()),
        false => Err("the latest attempt to connect failed".to_owned()),
    })
}
