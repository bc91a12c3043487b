//! The daemon: opened in the order of what it needs, stopped in the order of what it owes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::health::Health;
use crate::admin::server::Server;
use crate::admin::{self, Desk};
use crate::config::running::{Loaded, Running};
use crate::config::{Config, StoreUrl};
use crate::connection::accept::{Bell, BindError, Door, Listener};
use crate::connection::crew::Crew;
use crate::connection::passed::{Passed, PassedError};
use crate::connection::registry::Registry;
use crate::domain::Context;
use crate::error::Code;
use crate::log::{Filter, chain};
use crate::nightly::Nightly;
use crate::reload::{self, Refused};
use crate::scrub;
use crate::store::embedded::{self, EmbeddedStore};
use crate::store::memory::MemoryStore;
use crate::store::redis::{Deliverer, RedisStore};
use crate::store::{Observed, StateStore, Store};
use crate::systemd::vitals::Vitals;
use crate::throttle;
use crate::tls::Texts;
use crate::upstream::Upstream;

/// The last steps get this long each even if the grace period is over.
const CLOSE_MIN: Duration = Duration::from_secs(2);

/// How long those who were let in last have to say what they came for.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address can't be had.
    #[error("{} {}", Code::TcpBindFailed.code(), Code::TcpBindFailed.name())]
    Bind(#[source] BindError),
    /// A socket was passed that is not to be listened on.
    #[error("the listeners and the passed sockets don't agree")]
    Passed(#[from] PassedError),
    /// The address that was chosen for the admin server can't be had.
    #[error("the admin server can't be started")]
    Admin(#[source] BindError),
    /// The embedded store's folder can't be opened.
    #[error("the store can't be opened")]
    Embedded(#[from] embedded::OpenError),
    /// The Redis store's configuration makes no sense to the Redis client.
    #[error("the store can't be opened")]
    Redis(#[from] crate::store::Error),
    /// The threads that serve connections can't be started.
    #[error("the threads that serve connections can't be started")]
    Crew(#[source] io::Error),
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    /// Where it listens, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
    context: Arc<Context>,
    /// What connections to Redis go by.
    redis_tls: Arc<ArcSwapOption<Texts>>,
    registry: Arc<Registry>,
    nightly: Arc<Nightly>,
    door: Arc<Door>,
    bells: Vec<Bell>,
    crew: Arc<Crew>,
    /// Cancelled when no more requests are to be read.
    stop_serving: CancellationToken,
    /// Cancelled when nothing is owed to anybody any more.
    stop_rest: CancellationToken,
    /// Listeners, connections and requests under way, and the night.
    serving: TaskTracker,
    /// What serving relies on: the gateways' and the store's own tasks.
    rest: TaskTracker,
}

impl Daemon {
    /// Opens the store and the listeners, and serves. Passed sockets take the place of listeners
    /// with the same address.
    pub async fn start(
        running: Arc<Running>,
        filter: Filter,
        mut passed: Passed,
    ) -> Result<Self, StartError> {
        let loaded = running.current();
        let config = &loaded.config;
        // The addresses first: a second daemon on the same host is told so before it touches a
        // store.
        let mut listeners = Vec::with_capacity(config.listen.len());
        for (index, listen) in config.listen.iter().enumerate() {
            let opened = Listener::open(index, listen, &mut passed).await;
            listeners.push(opened.map_err(StartError::Bind)?);
        }
        passed.finish()?;
        let admin = Server::bind(&config.admin.address).await.map_err(StartError::Admin)?;
        let (stop_serving, stop_rest) = (CancellationToken::new(), CancellationToken::new());
        let (serving, rest) = (TaskTracker::new(), TaskTracker::new());
        let redis_tls = Arc::new(ArcSwapOption::from_pointee(loaded.tls.redis.clone()));
        let tls = Arc::clone(&redis_tls);
        let store = open_store(config, tls, name(&listeners), &rest, &stop_rest)?;
        let context = Arc::new(Context {
            store: Arc::new(Observed::new(store)),
            upstream: Arc::new(Upstream::new(&config.gateways, &loaded.tls.gateways, &rest)),
            running,
            day_closed: Notify::new(),
            metrics: Arc::default(),
        });
        let nightly = Arc::new(Nightly::new(Arc::clone(&context), stop_serving.clone()));
        let registry = Arc::new(Registry::new(config.admin.closed_connections_max));
        let crew = Arc::new(Crew::muster(connection_threads(config)).map_err(StartError::Crew)?);
        let door = Door::new(
            Arc::clone(&context),
            Arc::clone(&registry),
            Arc::clone(&crew),
            serving.clone(),
        );
        let door = Arc::new(door);
        let addresses = listeners.iter().map(|listener| listener.address).collect();
        let bells = listeners.iter().map(Listener::bell).collect();
        let daemon = Self {
            addresses,
            context,
            redis_tls,
            registry,
            nightly,
            door,
            bells,
            crew,
            stop_serving,
            stop_rest,
            serving,
            rest,
        };
        let stop = daemon.stop_rest.clone();
        daemon.rest.spawn(async move { throttle::tell(stop).await });
        daemon.start_night();
        daemon.start_scrub();
        daemon.open_doors(listeners);
        if let Some(server) = admin {
            daemon.start_admin(server, filter);
        }
        Ok(daemon)
    }

    /// What tells whether the daemon is alive and well.
    pub fn vitals(&self) -> Vitals {
        let (context, door) = (Arc::clone(&self.context), Arc::clone(&self.door));
        let (tasks, crew) = (self.serving.clone(), Arc::clone(&self.crew));
        Vitals::new(context, door, self.bells.clone(), tasks, crew)
    }

    /// Reads the configuration again and goes by it, or says what is wrong with it and goes on as
    /// before.
    pub async fn reload(&self, filter: &Filter) -> Result<Arc<Loaded>, Refused> {
        reload::run(&self.context.running, filter, |loaded| {
            self.door.go_by(&loaded.config);
            self.context.upstream.go_by(&loaded.config.gateways, &loaded.tls.gateways);
            self.redis_tls.store(loaded.tls.redis.clone().map(Arc::new));
        })
        .await
    }

    /// All that its parts share.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The night's work, for whoever may command it.
    pub fn nightly(&self) -> Arc<Nightly> {
        Arc::clone(&self.nightly)
    }

    fn open_doors(&self, listeners: Vec<Listener>) {
        for listener in listeners {
            tracing::info!(
                address = %listener.address,
                framing = listener.framing.name(),
                passed = listener.passed,
                "listening"
            );
            let door = Arc::clone(&self.door);
            self.serving.spawn(async move { door.accept(listener).await });
        }
    }

    /// It answers until all else is done, so that a stop can be watched.
    fn start_admin(&self, server: Server, filter: Filter) {
        tracing::info!(address = %server.address, "health and metrics are served");
        let (context, health) = (Arc::clone(&self.context), Arc::new(Health::default()));
        let router = admin::routes(Arc::new(Desk {
            context: Arc::clone(&context),
            health: Arc::clone(&health),
            registry: Arc::clone(&self.registry),
            access: self.door.access(),
            crew: Arc::clone(&self.crew),
            nightly: Arc::clone(&self.nightly),
            tasks: self.serving.clone(),
            filter,
            address: server.address,
        }));
        let (vitals, stop) = (self.vitals(), self.stop_rest.clone());
        self.rest.spawn(async move { health.look(context, vitals, stop).await });
        let (tasks, stop) = (self.rest.clone(), self.stop_rest.clone());
        let running = Arc::clone(&self.context.running);
        self.rest.spawn(async move { server.serve(router, running, tasks, stop).await });
    }

    fn start_night(&self) {
        let (closer, deliverer) = (Arc::clone(&self.nightly), Arc::clone(&self.nightly));
        self.serving.spawn(async move { closer.close_overdue_days().await });
        self.serving.spawn(async move { deliverer.deliver().await });
    }

    fn start_scrub(&self) {
        let context = Arc::clone(&self.context);
        self.serving.spawn(scrub::keep(context, self.stop_serving.clone()));
    }

    /// Stops: no new connections, then no new requests, what was read is answered, what is owed to peers is sent, all
    /// within `limits.shutdown_grace`.
    pub async fn stop(self) {
        let deadline = Instant::now() + self.context.running.now().config.limits.shutdown_grace;
        // Whoever comes now waits in a passed socket for the next daemon. A connection that was
        // accepted a moment ago can't be given back: its request is still on the way.
        self.door.close();
        sleep_until(deadline.min(Instant::now() + LAST_WORDS)).await;
        self.stop_serving.cancel();
        self.door.stop();
        self.serving.close();
        if timeout_at(deadline, self.serving.wait()).await.is_err() {
            tracing::warn!(
                tasks = self.serving.len(),
                "the grace period is over, connections are cut that are not through yet"
            );
        }
        self.context.upstream.shutdown(deadline).await;
        self.close_store(deadline).await;
        self.stop_rest.cancel();
        self.rest.close();
        if timeout_at(at_least(deadline), self.rest.wait()).await.is_err() {
            tracing::warn!(tasks = self.rest.len(), "the grace period is over, tasks are cut off");
        }
        if !self.crew.dismiss(at_least(deadline)).await {
            tracing::warn!(
                "threads that serve connections are blocked, and left to the process's end"
            );
        }
        tracing::info!("stopped");
    }

    async fn close_store(&self, deadline: Instant) {
        match timeout_at(at_least(deadline), self.context.store.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!("the store did not close as it should: {}", chain(&error));
            }
            Err(_) => {
                tracing::warn!("the store did not close in time; what it acknowledged is safe")
            }
        }
    }
}

/// How many threads serve connections. A simulated host has one, on which everything runs.
fn connection_threads(config: &Config) -> usize {
    match config.limits.connection_threads {
        _ if cfg!(feature = "simulation") => 0,
        0 => available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

fn at_least(deadline: Instant) -> Instant {
    deadline.max(Instant::now() + CLOSE_MIN)
}

/// A name that no other running daemon has. Whoever listens where this one does, after a crash,
/// gets the same: it can only be its successor, as an address has one listener. A passed socket may
/// be listened on by two for a while, so that proves nothing.
fn name(listeners: &[Listener]) -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let network = std::fs::read_link("/proc/self/ns/net").ok();
    match (listeners.first(), machine, network) {
        (Some(first), Some(machine), Some(network)) if !first.passed => {
            format!("{}/{}/{}", machine.trim(), network.display(), first.address)
        }
        _ => format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
    }
}

fn open_store(
    config: &Config,
    tls: Arc<ArcSwapOption<Texts>>,
    name: String,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Store, StartError> {
    match &config.store.url {
        StoreUrl::Memory => {
            tracing::warn!("the store is memory: it is gone when the daemon stops");
            Ok(Store::Memory(MemoryStore::default()))
        }
        StoreUrl::Embedded(dir) => {
            let store = EmbeddedStore::open(dir)?;
            tracing::info!(dir = %dir.display(), "embedded store opened");
            Ok(Store::Embedded(store))
        }
        StoreUrl::Redis(_) | StoreUrl::RedisCluster(_) | StoreUrl::RedisSentinel { .. } => {
            let deliverer = Deliverer { name };
            Ok(Store::Redis(RedisStore::open(&config.store, tls, deliverer, tasks, stop)?))
        }
    }
}
