//! The HTTP server: few connections, each with its limits, none that stopping does not wait for.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::visitors::{Visitor, Visitors};
use crate::config::ADMIN_ADDRESS;
use crate::config::running::Running;
use crate::connection::accept::BindError;
use crate::throttle::{Cause, admits};
use crate::tls::{HandshakeFailure, Listening};

/// Connections at once; whoever comes then takes the place of one that asks for nothing.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take over a request's head, and stay away between two requests.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// How long a client may take over a handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// The longest head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a connection may last. It also ends one whose client never reads.
const CONNECTION_MAX: Duration = Duration::from_secs(10 * 60);
/// How long an answer under way gets when the daemon stops.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(1);
/// Pause after a failed accept: it fails when descriptors run out, and again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound admin server.
#[derive(Debug)]
pub struct Server {
    socket: TcpListener,
    /// Where it listens really.
    pub address: SocketAddr,
}

/// The other end of the connection on which a request came: an extension of each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker(pub(super) SocketAddr);

/// The router, told with each request who asks.
#[derive(Debug, Clone)]
struct Introduced {
    router: TowerToHyperService<Router>,
    asker: Asker,
    visitor: Arc<Visitor>,
}

impl Introduced {
    fn new(router: Router, peer: SocketAddr, visitor: Arc<Visitor>) -> Self {
        Self { router: TowerToHyperService::new(router), asker: Asker(peer), visitor }
    }
}

impl Service<Request<Incoming>> for Introduced {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.asker);
        let (answer, visitor) = (self.router.call(request), Arc::clone(&self.visitor));
        Box::pin(async move {
            visitor.is_asking.store(true, Relaxed);
            let answer = answer.await;
            visitor.is_asking.store(false, Relaxed);
            answer
        })
    }
}

impl Server {
    /// Binds `admin.address`; `None` if there is to be no server, or if nobody asked for one and
    /// another daemon is there already.
    pub async fn bind(address: &str) -> Result<Option<Self>, BindError> {
        if address.is_empty() {
            return Ok(None);
        }
        match Self::open(address).await {
            Ok(server) => Ok(Some(server)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && address == ADMIN_ADDRESS => {
                tracing::warn!(
                    address,
                    "no health and metrics over HTTP: the default address is taken; give each \
                     daemon its own admin.address"
                );
                Ok(None)
            }
            Err(source) => Err(BindError { address: address.to_owned(), source }),
        }
    }

    async fn open(address: &str) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { address: socket.local_addr()?, socket })
    }

    /// Answers until `stop`; each connection is a task of `tasks`.
    pub async fn serve(
        self,
        router: Router,
        running: Arc<Running>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) {
        let visitors = Arc::new(Visitors::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(visit) = visitors.admit() else {
                        if admits(Cause::AdminAcceptFailed) {
                            tracing::warn!(
                                connections = CONNECTIONS_MAX,
                                "the admin server turns a client away: all places are taken"
                            );
                        }
                        continue;
                    };
                    let router = router.clone();
                    let acceptor = running.now().tls.admin.as_ref().map(Listening::acceptor);
                    let stop = stop.clone();
                    tasks.spawn(async move {
                        let visitor = Arc::clone(&visit.visitor);
                        let leave = visitor.leave.clone();
                        let service = Introduced::new(router, peer, visitor);
                        let answered = async {
                            match acceptor {
                                None => answer(stream, service, stop).await,
                                Some(acceptor) => {
                                    answer_over_tls(stream, acceptor, service, stop).await;
                                }
                            }
                        };
                        let _told_to_leave = leave.run_until_cancelled(answered).await;
                        drop(visit);
                    });
                }
                Err(error) => {
                    if admits(Cause::AdminAcceptFailed) {
                        let address = self.address;
                        tracing::error!(%address, "the admin server can't accept: {error}");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Shakes hands with a client, then answers it. One that is turned away is told so by TLS.
async fn answer_over_tls(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    service: Introduced,
    stop: CancellationToken,
) {
    let Asker(peer) = service.asker;
    let agreed = timeout(HANDSHAKE_MAX, acceptor.accept(stream));
    let failure = match stop.run_until_cancelled(agreed).await {
        None => return,
        Some(Ok(Ok(stream))) => return answer(stream, service, stop).await,
        Some(Err(_)) => HandshakeFailure::TimedOut.to_string(),
        Some(Ok(Err(error))) => {
            HandshakeFailure::of(&error).map_or_else(|| error.to_string(), |why| why.to_string())
        }
    };
    if admits(Cause::AdminRefused) {
        tracing::warn!(%peer, "the admin server can't speak TLS with a client: {failure}");
    }
}

/// Answers one client's requests. How its connection ends is the client's business.
async fn answer<S>(stream: S, service: Introduced, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = timeout(CONNECTION_MAX, connection.as_mut()) => drop(ended),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            drop(timeout(LAST_ANSWER_MAX, connection).await);
        }
    }
}
