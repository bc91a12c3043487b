//! A unary tonic server over the memory store: what the daemon does for a message, done for a call.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status, body::Body};
use tonic_prost::ProstCodec;

use super::messages::{Kind, Reply, Request, SERVICE, Time};
use crate::domain::{InvalidWord, RoomId, SessionId, StudyTime, UnixMillis, UserId, UserTime};
use crate::store::memory::MemoryStore;
use crate::store::{self, StateStore};

/// As long as the suite's daemons wait for the end of a night.
const LAST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The service, one for each connection.
#[derive(Debug, Clone)]
struct Door(Arc<MemoryStore>);

/// What answers one call.
struct Answering(Arc<MemoryStore>);

/// Serves until the process is ended; tells where once it listens.
pub(in super::super) fn serve(tell: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let incoming = incoming.with_nodelay(Some(true));
        tell(incoming.local_addr()?);
        let door = Door(Arc::new(MemoryStore::default()));
        let server = Server::builder().add_service(door);
        server.serve_with_incoming(incoming).await.map_err(io::Error::other)
    })
}

impl NamedService for Door {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _task: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answering = Answering(Arc::clone(&self.0));
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc.unary(answering, request).await)
        })
    }
}

impl UnaryService<Request> for Answering {
    type Response = Reply;
    type Future = BoxFuture<Response<Reply>, Status>;

    fn call(&mut self, request: tonic::Request<Request>) -> Self::Future {
        let store = Arc::clone(&self.0);
        Box::pin(async move { Ok(Response::new(answer(&store, request.into_inner()).await?)) })
    }
}

async fn answer(store: &MemoryStore, request: Request) -> Result<Reply, Status> {
    let kind = request.kind.ok_or_else(|| Status::invalid_argument("an empty request"))?;
    let users = match kind {
        Kind::Enter(visit) => {
            let (user, session) = (word(UserId::parse(&visit.user))?, session(&visit.session)?);
            let room = Some(RoomId(visit.room));
            store.open_session(&user, room, &session).await.map_err(failed)?;
            vec![Time { user: visit.user, study_time: None }]
        }
        Kind::Leave(text) => {
            let record = store.close_session(&session(&text)?).await.map_err(failed)?;
            let record =
                record.ok_or_else(|| Status::not_found("the session resolves to nobody"))?;
            vec![Time { user: record.user.as_str().to_owned(), study_time: None }]
        }
        Kind::Read(text) => {
            let time = store.study_time(&word(UserId::parse(&text))?).await.map_err(failed)?;
            vec![Time { user: text, study_time: time.map(|time| time.as_str().to_owned()) }]
        }
        Kind::Record(time) => {
            let UserTime { user, study_time } = entry(&time)?;
            let study_time = study_time.ok_or_else(|| Status::invalid_argument("no study time"))?;
            store.record_study_time(&user, &study_time).await.map_err(failed)?;
            vec![time]
        }
        Kind::Schedule(times) => {
            let entries = times.users.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
            let at = UnixMillis::now();
            store.list_study_times(&entries, at, LAST_TIMEOUT).await.map_err(failed)?;
            times.users
        }
    };
    Ok(Reply { users })
}

fn entry(time: &Time) -> Result<UserTime, Status> {
    let study_time = time.study_time.as_deref().map(StudyTime::parse).transpose();
    Ok(UserTime { user: word(UserId::parse(&time.user))?, study_time: word(study_time)? })
}

fn session(text: &str) -> Result<SessionId, Status> {
    word(SessionId::parse(text))
}

fn word<T>(parsed: Result<T, InvalidWord>) -> Result<T, Status> {
    parsed.map_err(|error| Status::invalid_argument(error.to_string()))
}

fn failed(error: store::Error) -> Status {
    Status::unavailable(error.to_string())
}
