//! A Redis Cluster: which master has which slot, and going where a slot has moved.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{ConnectionInfo, ServerError, ServerErrorKind};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::{Address, Terms, at};
use super::call::{Call, Reply};
use super::links::Links;
use super::server::{Fault, Server};
use super::servers::{Layout, mark_of};
use super::shares::shares;
use super::slots::{Holding, SlotMap, slot_of};

/// How often the map is read when nobody complains.
const MAP_EVERY: Duration = Duration::from_secs(5);
/// How often while there is none.
const MAP_EVERY_AWAY: Duration = Duration::from_millis(500);
/// The shortest time between two readings.
const MAP_SPACING: Duration = Duration::from_millis(20);
/// How long one server may take to tell its map.
const MAP_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a request waits for the map it asked for.
const MAP_WAIT: Duration = Duration::from_millis(150);
/// How long a request waits for what it can do without.
const BESIDE_MAX: Duration = Duration::from_millis(500);
/// How often a call is sent on before we give up.
const HOPS_MAX: usize = 5;

/// The masters of a cluster.
#[derive(Clone)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    seeds: Vec<ConnectionInfo>,
    terms: Terms,
    links: Arc<Links>,
    tracker: TaskTracker,
    stop: CancellationToken,
    servers: Mutex<HashMap<String, Server>>,
    map: ArcSwapOption<SlotMap>,
    /// When the reading of the map that ended last was begun.
    read: watch::Sender<Instant>,
    wanted: Notify,
}

/// What a reply means for the way of its call.
enum Way {
    Arrived(Reply),
    /// The slot lives there.
    Moved(Server),
    /// The cluster is changing.
    Later(ServerError),
}

impl Cluster {
    /// Starts to keep the map and connections to all masters, until `stop`.
    pub(super) fn keep(
        seeds: Vec<ConnectionInfo>,
        terms: Terms,
        links: Arc<Links>,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            seeds,
            terms,
            links,
            tracker: tracker.clone(),
            stop: stop.clone(),
            servers: Mutex::new(HashMap::new()),
            map: ArcSwapOption::empty(),
            read: watch::Sender::new(Instant::now()),
            wanted: Notify::new(),
        });
        let keeper = shared.clone();
        tracker.spawn(async move { stop.run_until_cancelled_owned(keeper.keep_map()).await });
        Self { shared }
    }

    /// Makes the calls one after the other.
    pub(super) async fn in_order(&self, calls: &[Call]) -> Result<Vec<Reply>, Fault> {
        let mut replies = Vec::with_capacity(calls.len());
        for call in calls {
            let routed = self.route(call).await;
            let is_first = replies.is_empty();
            replies.push(routed.map_err(|fault| if is_first { fault } else { fault.midway() })?);
        }
        Ok(replies)
    }

    /// As [`Self::in_order`], with `beside` at the same time as the last call, and for no longer
    /// than [`BESIDE_MAX`].
    pub(super) async fn in_order_beside(
        &self,
        calls: &[Call],
        beside: &Call,
    ) -> Result<(Vec<Reply>, Option<Reply>), Fault> {
        let Some((last, first)) = calls.split_last() else { return Ok((Vec::new(), None)) };
        let mut replies = self.in_order(first).await?;
        let beside = timeout(BESIDE_MAX, self.route(beside));
        let (last, beside) = futures_util::future::join(self.route(last), beside).await;
        let is_first = replies.is_empty();
        replies.push(last.map_err(|fault| if is_first { fault } else { fault.midway() })?);
        Ok((replies, beside.ok().and_then(Result::ok)))
    }

    /// Makes the calls in any order: one pipeline a master, all masters at once.
    pub(super) async fn each(&self, calls: &[Call]) -> Result<Vec<Reply>, Fault> {
        if let [call] = calls {
            return Ok(vec![self.route(call).await?]);
        }
        let shares = shares(self, calls).await?;
        let sent = shares.iter().map(|share| share.server.send_once(&share.calls));
        let sent = futures_util::future::join_all(sent).await;
        let is_midway = sent.iter().any(|sent| !matches!(sent, Err(Fault::Away(_))));
        let mut replies: Vec<Option<Reply>> = calls.iter().map(|_| None).collect();
        for (share, answered) in shares.iter().zip(sent) {
            // What did not arrive is sent again, call by call, wherever it belongs now.
            let answered = answered.unwrap_or_default();
            for (place, reply) in share.places.iter().zip(answered) {
                if let (Some(slot), Way::Arrived(reply)) =
                    (replies.get_mut(*place), self.shared.way(reply))
                {
                    *slot = Some(reply);
                }
            }
        }
        let mut complete = Vec::with_capacity(calls.len());
        for (call, reply) in calls.iter().zip(replies) {
            complete.push(match reply {
                Some(reply) => reply,
                None => {
                    let routed = self.route(call).await;
                    routed.map_err(|fault| if is_midway { fault.midway() } else { fault })?
                }
            });
        }
        Ok(complete)
    }

    /// The servers that have slots, each once.
    async fn masters(&self) -> Result<Vec<Server>, Fault> {
        self.shared.refresh().await;
        let map = self.shared.map.load_full().ok_or_else(|| self.shared.away())?;
        Ok(map.masters().into_iter().map(|address| self.shared.server_at(address)).collect())
    }

    /// The servers that have slots, and a mark of which has which.
    pub(super) async fn survey(&self) -> Result<(Vec<Server>, u64), Fault> {
        let servers = self.masters().await?;
        let map = self.shared.map.load_full().ok_or_else(|| self.shared.away())?;
        Ok((servers, mark_of(&map)))
    }

    /// A key on each of them.
    pub(super) async fn key_on_each(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        if self.shared.map.load().is_none() {
            self.shared.refresh().await;
        }
        let map = self.shared.map.load_full().ok_or_else(|| self.shared.away())?;
        Ok(map.key_on_each(prefix))
    }

    /// Where all keys lie. Every master is asked for its own slots: others hear of a move later,
    /// and only those at its ends know of one that is under way.
    pub(super) async fn layout(&self) -> Result<Layout, Fault> {
        let servers = self.masters().await?;
        let ask = [Call::of_server("CLUSTER").arg("NODES")];
        let asked = servers.iter().map(|server| server.send(&ask));
        let asked = futures_util::future::try_join_all(asked).await?;
        let mut holdings = Vec::with_capacity(servers.len());
        for replies in asked {
            let reply = replies.into_iter().next().and_then(Result::ok);
            holdings.push(reply.as_ref().and_then(Holding::read).ok_or_else(unsettled)?);
        }
        if !Holding::are_all_slots(&holdings) {
            return Err(unsettled());
        }
        Layout::of(servers, holdings)
    }

    /// Sends the call to whoever has its slot, and on to where it has moved.
    async fn route(&self, call: &Call) -> Result<Reply, Fault> {
        let mut has_broken = false;
        let followed = self.follow(call, &mut has_broken).await;
        // What one attempt may have done is not undone by a later one that got nowhere.
        followed.map_err(|fault| if has_broken { fault.midway() } else { fault })
    }

    async fn follow(&self, call: &Call, has_broken: &mut bool) -> Result<Reply, Fault> {
        let slot = slot_of(call.key().as_bytes());
        let mut server = self.master_of(slot).await?;
        let mut has_failed = false;
        let mut refused = None;
        for _ in 0..HOPS_MAX {
            match self.send(&server, call).await {
                Ok(Way::Arrived(reply)) => return Ok(reply),
                Ok(Way::Moved(to)) => server = to,
                Ok(Way::Later(error)) => {
                    refused = Some(error);
                    self.shared.refresh().await;
                    sleep(MAP_SPACING).await;
                    server = self.master_of(slot).await?;
                }
                Err(fault) => {
                    *has_broken |= matches!(fault, Fault::Broken(_));
                    self.shared.refresh().await;
                    let now = self.master_of(slot).await?;
                    let is_hopeless = has_failed || matches!(fault, Fault::Away(_));
                    if is_hopeless && now.is_same(&server) {
                        return Err(fault);
                    }
                    (server, has_failed) = (now, true);
                }
            }
        }
        match refused {
            Some(error) => Err(Fault::Away(error.to_string())),
            None => Err(Fault::Away("the cluster sends us in circles".to_owned())),
        }
    }

    async fn send(&self, server: &Server, call: &Call) -> Result<Way, Fault> {
        let reply = server.send_once(std::slice::from_ref(call)).await?.pop();
        let reply = reply.ok_or_else(|| Fault::Broken("a reply is missing".to_owned()))?;
        if let Err(error) = &reply
            && error.kind() == Some(ServerErrorKind::Ask)
            && let Some(to) = self.shared.redirect(error)
        {
            return Ok(self.shared.way(to.send_asking(call).await?));
        }
        Ok(self.shared.way(reply))
    }

    pub(super) async fn master_of(&self, slot: u16) -> Result<Server, Fault> {
        if let Some(server) = self.shared.known_master_of(slot) {
            return Ok(server);
        }
        self.shared.refresh().await;
        self.shared.known_master_of(slot).ok_or_else(|| self.shared.away())
    }
}

/// Keys may be anywhere: there is no use in looking for them one server after the other.
fn unsettled() -> Fault {
    Fault::Away("slots of the cluster are moving or not served".to_owned())
}

impl Shared {
    async fn keep_map(self: Arc<Self>) {
        loop {
            let begun = Instant::now();
            let pause = match self.read_map().await {
                Some(map) => {
                    self.adopt(map);
                    MAP_EVERY
                }
                None => MAP_EVERY_AWAY,
            };
            self.read.send_replace(begun);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.wanted.notified() => sleep_until(begun + MAP_SPACING).await,
            }
        }
    }

    /// Asks one server after the other, connected ones first.
    async fn read_map(&self) -> Option<SlotMap> {
        let mut candidates: Vec<_> = self
            .servers()
            .iter()
            .map(|(address, server)| (address.clone(), server.clone()))
            .collect();
        candidates.sort_by_key(|(_, server)| server.connection_number().is_none());
        for seed in &self.seeds {
            let address = seed.addr().to_string();
            if !candidates.iter().any(|(known, _)| *known == address) {
                candidates.push((address.clone(), self.server_at(&address)));
            }
        }
        for (address, server) in candidates {
            let ask = Call::of_server("CLUSTER").arg("SLOTS");
            let asked = timeout(MAP_TIMEOUT, server.send_once(std::slice::from_ref(&ask))).await;
            let Ok(Ok(replies)) = asked else { continue };
            if let Some(Ok(value)) = replies.first()
                && let Some(map) = SlotMap::read(value, &address)
            {
                return Some(map);
            }
        }
        None
    }

    /// Connects to new masters, lets go of servers that are none any more.
    fn adopt(&self, map: SlotMap) {
        let masters = map.masters();
        for address in &masters {
            drop(self.server_at(address));
        }
        let is_needed = |address: &String| {
            masters.contains(&address.as_str())
                || self.seeds.iter().any(|seed| seed.addr().to_string() == *address)
        };
        self.servers().retain(|address, server| {
            let is_needed = is_needed(address);
            if !is_needed {
                server.stop();
            }
            is_needed
        });
        self.map.store(Some(Arc::new(map)));
    }

    /// Has the map read again, and waits for it a moment.
    async fn refresh(&self) {
        let asked = Instant::now();
        let mut read = self.read.subscribe();
        self.wanted.notify_one();
        let waited = timeout(MAP_WAIT, read.wait_for(|begun| *begun >= asked)).await;
        drop(waited);
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<String, Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server at `host:port`, connected to from now on.
    fn server_at(&self, address: &str) -> Server {
        let mut servers = self.servers();
        if let Some(server) = servers.get(address) {
            return server.clone();
        }
        let info = self.info_at(address);
        let stop = self.stop.child_token();
        let server = Server::keep(
            Address::Node(info),
            self.terms.clone(),
            Arc::clone(&self.links),
            &self.tracker,
            stop,
        );
        servers.insert(address.to_owned(), server.clone());
        server
    }

    /// How to log in at `host:port`: as at the first seed.
    #[expect(clippy::expect_used, reason = "a cluster's URL names one server at the least")]
    fn info_at(&self, address: &str) -> ConnectionInfo {
        let seed = self.seeds.first().expect("there is a seed").clone();
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        let (host, port) = (host.to_owned(), port.parse().unwrap_or(6379));
        at(seed, (host, port))
    }

    fn known_master_of(&self, slot: u16) -> Option<Server> {
        let map = self.map.load();
        let address = map.as_ref()?.master_of(slot)?;
        Some(self.server_at(address))
    }

    fn away(&self) -> Fault {
        Fault::Away("no server of the cluster has this slot".to_owned())
    }

    fn way(&self, reply: Reply) -> Way {
        let Err(error) = &reply else { return Way::Arrived(reply) };
        match error.kind() {
            Some(ServerErrorKind::Moved) => {
                self.wanted.notify_one();
                self.redirect(error).map_or_else(|| Way::Later(error.clone()), Way::Moved)
            }
            Some(
                ServerErrorKind::Ask | ServerErrorKind::TryAgain | ServerErrorKind::ClusterDown,
            ) => Way::Later(error.clone()),
            _ => Way::Arrived(reply),
        }
    }

    /// Where a MOVED or ASK points to: `slot host:port`.
    fn redirect(&self, error: &ServerError) -> Option<Server> {
        let address = error.details()?.split_ascii_whitespace().nth(1)?;
        (!address.starts_with(':')).then(|| self.server_at(address))
    }
}
