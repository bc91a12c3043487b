//! The door: a place, a socket, a task.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::{Access, is_near};
use super::account::{Account, Origin};
use super::crew::Crew;
use super::frame::Framing;
use super::neighbours::{Neighbour, Neighbours};
use super::passed::Passed;
use super::registry::{Registered, Registry};
use super::{Connection, Shared, handshake};
use crate::config::{Config, Listen};
use crate::domain::Context;
use crate::metrics::connections::{CloseReason, Counted, TurnedAway};
use crate::net::{self, TcpListener, TcpStream, lookup_host};
use crate::places::{Place, Places};
use crate::throttle::{Cause, admits};
use crate::tls;

/// Connections that the kernel keeps while all workers are busy.
const BACKLOG: u32 = 1024;
/// Pause after a failed accept: it fails when descriptors run out, and again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a new connection waits for a place when all are taken.
const PLACE_WAIT: Duration = Duration::from_millis(50);
/// How long a connection is silent before the kernel asks whether the peer's machine is there.
/// Nothing of it reaches the peer's program.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// A listener could not be opened (CHAT-022).
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}")]
pub struct BindError {
    /// As it is configured.
    pub address: String,
    /// Why.
    pub source: io::Error,
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Where it listens really; a configured port 0 has become a number.
    pub address: SocketAddr,
    /// What is spoken there.
    pub framing: Framing,
    /// Its place in the configuration.
    index: usize,
    /// Whether it was opened by whoever started the daemon.
    pub passed: bool,
    bell: mpsc::Sender<oneshot::Sender<()>>,
    rings: mpsc::Receiver<oneshot::Sender<()>>,
}

/// Asks whether somebody accepts at a listener.
#[derive(Debug, Clone)]
pub struct Bell {
    /// Where the listener listens.
    pub address: SocketAddr,
    rings: mpsc::Sender<oneshot::Sender<()>>,
}

/// Everything that accepting needs, for all listeners together.
#[derive(Debug)]
pub struct Door {
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    crew: Arc<Crew>,
    places: Places,
    neighbours: Arc<Neighbours>,
    /// Cancelled when nobody is let in any more.
    closed: CancellationToken,
}

/// A peer that was let in, and what is to be settled when it goes.
#[derive(Debug)]
struct Guest {
    peer: SocketAddr,
    counted: Counted,
    registered: Registered,
    _counted_in: (Place, Neighbour),
}

impl Listener {
    /// Takes the passed socket that listens at an address of the host; if there is none, opens the
    /// first of the addresses that can be had.
    /// It is the `index`th of the configuration.
    pub async fn open(
        index: usize,
        listen: &Listen,
        passed: &mut Passed,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { address: listen.address.clone(), source };
        let addresses: Vec<_> = lookup_host(&listen.address).await.map_err(failed)?.collect();
        if let Some(socket) = addresses.iter().find_map(|address| passed.take(*address)) {
            let socket = TcpListener::from_std(socket).map_err(failed)?;
            return Self::new(socket, index, listen.framing, true).map_err(failed);
        }
        let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in addresses {
            match net::listen(address, BACKLOG) {
                Ok(socket) => {
                    return Self::new(socket, index, listen.framing, false).map_err(failed);
                }
                Err(error) => last_error = error,
            }
        }
        Err(failed(last_error))
    }

    fn new(socket: TcpListener, index: usize, framing: Framing, passed: bool) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let (bell, rings) = mpsc::channel(1);
        Ok(Self { socket, address, framing, index, passed, bell, rings })
    }

    /// The bell that rings at this listener.
    pub fn bell(&self) -> Bell {
        Bell { address: self.address, rings: self.bell.clone() }
    }
}

impl Bell {
    /// Rings, and waits for whoever accepts there to hear it; `false` if nobody does any more.
    pub async fn ring(&self) -> bool {
        let (heard, hear) = oneshot::channel();
        self.rings.send(heard).await.is_ok() && hear.await.is_ok()
    }
}

impl Door {
    /// A door with `limits.max_connections` places.
    pub fn new(
        context: Arc<Context>,
        registry: Arc<Registry>,
        crew: Arc<Crew>,
        tasks: TaskTracker,
    ) -> Self {
        let places = Places::new(context.running.now().config.limits.max_connections);
        let shared = Arc::new(Shared::new(context, tasks));
        let closed = CancellationToken::new();
        Self { shared, registry, crew, places, neighbours: Arc::default(), closed }
    }

    /// Connections being served.
    pub fn connections(&self) -> usize {
        self.places.taken()
    }

    /// Goes by this configuration from now on. Nobody who is in has to leave.
    pub fn go_by(&self, config: &Config) {
        self.places.allow(config.limits.max_connections);
        self.shared.memory.allow(config.limits.max_buffer_bytes);
        self.shared.access.go_by(config);
    }

    /// Who may speak.
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.shared.access)
    }

    /// Whether nobody is let in any more.
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Lets nobody in any more. Whoever is in stays.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Those who are in are to leave: what they said is answered, and nothing more is read.
    pub fn stop(&self) {
        self.registry.stop();
    }

    /// Accepts until the door is closed.
    pub async fn accept(&self, mut listener: Listener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.closed.cancelled() => return,
                Some(heard) = listener.rings.recv() => {
                    // Whoever rang may have given up waiting.
                    let _gone = heard.send(());
                    continue;
                }
                accepted = listener.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.wait_for_descriptors(&stream, &mut listener).await;
                    let here = stream.local_addr().unwrap_or(listener.address);
                    let is_near = is_near(peer.ip(), here.ip());
                    let Listener { address, framing, index, .. } = listener;
                    let origin = Origin { peer, listener: address, framing, is_near };
                    self.admit(stream, origin, self.acceptor(index)).await;
                }
                Err(error) => self.pause(listener.address, &error).await,
            }
        }
    }

    /// Waits while peers have all the descriptors that are for them: the store and the gateways need
    /// some too. Those who come meanwhile wait in the listener's queue.
    async fn wait_for_descriptors(&self, newest: &TcpStream, listener: &mut Listener) {
        while net::are_descriptors_short(newest) && !self.is_closed() {
            // A restart would not help: somebody is here, and waits.
            while let Ok(heard) = listener.rings.try_recv() {
                let _gone = heard.send(());
            }
            self.pause(listener.address, &"file descriptors run out").await;
        }
    }

    /// A connection can't be accepted, and so can't the next one for a moment.
    async fn pause(&self, address: SocketAddr, why: &(dyn Display + Sync)) {
        self.shared.context.metrics.connections.accept_pauses.fetch_add(1, Relaxed);
        if admits(Cause::AcceptFailed) {
            tracing::error!(%address, "a connection can't be accepted: {why}");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    /// What shakes hands at a listener now, if there is TLS.
    fn acceptor(&self, index: usize) -> Option<TlsAcceptor> {
        self.shared.context.running.now().tls.listening(index).map(tls::Listening::acceptor)
    }

    /// A place; if all are taken, one that is given back in a moment. A peer that closes a connection
    /// and opens another must not be turned away because the daemon hears of the two in the other
    /// order. Nobody else is held up by the wait, as nobody else would find a place.
    async fn place(&self) -> Option<Place> {
        tokio::time::timeout(PLACE_WAIT, self.places.take()).await.ok()?.ok()
    }

    /// A place among those of the peer's address, if there is one. It is not waited for: that would
    /// hold up everybody else.
    fn neighbour(&self, peer: SocketAddr) -> Option<Neighbour> {
        let context = &self.shared.context;
        let max = context.running.now().config.limits.max_connections_per_address;
        let neighbour = self.neighbours.admit(peer.ip(), max);
        if neighbour.is_none() {
            context.metrics.connections.turn_away(TurnedAway::OfAddress);
            if admits(Cause::TurnedAway) {
                tracing::warn!(
                    %peer,
                    max_connections_per_address = max,
                    "a peer is turned away: its address has all the connections that one may have"
                );
            }
        }
        neighbour
    }

    /// Serves the peer in a task of its own, if there is a place.
    async fn admit(&self, stream: TcpStream, origin: Origin, acceptor: Option<TlsAcceptor>) {
        let peer = origin.peer;
        let metrics = &self.shared.context.metrics;
        if let Err(why) = self.shared.access.admit(origin.caller(), acceptor.is_some()) {
            metrics.connections.deny(why);
            if admits(Cause::Denied) {
                let reason = why.name();
                tracing::warn!(%peer, reason, "a peer is denied a connection: {}", why.in_words());
            }
            return;
        }
        let Some(neighbour) = self.neighbour(peer) else { return };
        let Some(place) = self.place().await else {
            metrics.connections.turn_away(TurnedAway::All);
            if admits(Cause::TurnedAway) {
                let max_connections = self.places.max();
                tracing::warn!(
                    %peer,
                    max_connections,
                    "a peer is turned away: all places are taken"
                );
            }
            return;
        };
        let berth = self.crew.berth();
        let stream = match berth.adopt(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::error!(%peer, "a peer can't be served: {error}");
                return;
            }
        };
        if let Err(error) = set_options(&stream) {
            tracing::debug!(%peer, "the peer's socket keeps its defaults: {error}");
        }
        let counted = Counted::new(Arc::clone(metrics));
        let registered = self.registry.register(origin);
        let (account, shared) = (registered.account(), Arc::clone(&self.shared));
        let guest = Guest { peer, counted, registered, _counted_in: (place, neighbour) };
        tracing::debug!(%peer, "a peer connected");
        // Two tasks, as one that could be both would be as large as the larger.
        match acceptor {
            None => {
                let mut connection = Connection::new(stream, account, shared);
                let served = async move { guest.leave(connection.serve().await) };
                berth.spawn(&self.shared.tasks, served);
            }
            Some(acceptor) => {
                let served = serve_over_tls(stream, acceptor, account, shared);
                berth.spawn(&self.shared.tasks, async move { guest.leave(served.await) });
            }
        }
    }
}

/// Serves a peer from its handshake on.
async fn serve_over_tls(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    account: Arc<Account>,
    shared: Arc<Shared>,
) -> io::Result<CloseReason> {
    // On the heap, where its room is given back when hands are shaken.
    match Box::pin(handshake::shake(stream, acceptor, &account, &shared)).await {
        Ok(stream) => Connection::new(stream, account, shared).serve().await,
        Err(reason) => Ok(reason),
    }
}

impl Guest {
    /// It was served, and goes.
    fn leave(self, served: io::Result<CloseReason>) {
        let Self { peer, counted, registered, _counted_in } = self;
        let reason = served.as_ref().map_or(CloseReason::Lost, |reason| *reason);
        counted.close(reason);
        registered.close(reason);
        match served {
            Ok(reason) => tracing::debug!(%peer, reason = reason.name(), "a peer disconnected"),
            Err(error) => {
                tracing::debug!(%peer, reason = reason.name(), "a peer was lost: {error}")
            }
        }
    }
}

/// Replies leave at once, and a peer whose machine vanished is noticed at last.
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
    net::keep_alive(stream, &keepalive)
}
