//! The calls of a load on the gRPC server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::timeout_at;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::super::load::Window;
use super::super::messages::Script;
use super::super::peer::lock;
use super::super::tally::Tally;
use super::messages::{METHOD, Reply, Request, next};

/// How long making a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// One connection for each of so many.
pub(in super::super) async fn connect(
    address: SocketAddr,
    connections: usize,
) -> Result<Vec<Channel>, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true);
    let mut channels = Vec::with_capacity(connections);
    for _ in 0..connections {
        channels.push(endpoint.connect().await?);
    }
    Ok(channels)
}

/// One call after the other until the window ends; several of these share a connection, and its
/// script.
pub(in super::super) async fn call_and_wait(
    channel: Channel,
    window: Window,
    script: Arc<Mutex<Script>>,
    tally: Arc<Mutex<Tally>>,
) {
    let mut grpc = Grpc::new(channel);
    loop {
        let sent = Instant::now();
        if sent >= window.end {
            return;
        }
        let request = next(&mut script.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        lock(&tally).count_sent(1);
        let called = timeout_at(window.gives_up.into(), call(&mut grpc, request)).await;
        let Ok(called) = called else { return };
        let now = Instant::now();
        let mut tally = lock(&tally);
        match called {
            Ok(_) => tally.count_reply(b"{}"),
            Err(status) => tally.count_refusal(status.code().description()),
        }
        if window.counts(now) {
            tally.record(now - sent, now);
        }
    }
}

async fn call(grpc: &mut Grpc<Channel>, request: Request) -> Result<Reply, Status> {
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(METHOD);
    let codec: ProstCodec<Request, Reply> = ProstCodec::default();
    Ok(grpc.unary(tonic::Request::new(request), path, codec).await?.into_inner())
}
