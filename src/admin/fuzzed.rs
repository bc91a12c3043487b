//! What a client of the admin server may send, for fuzzers: bytes, as they come from a socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::server::Asker;
use super::{Desk, routes};
use crate::config::Config;
use crate::config::running::Running;
use crate::connection::access::Access;
use crate::connection::registry::Registry;
use crate::domain::Context;
use crate::log::Filter;
use crate::nightly::Nightly;
use crate::store::memory::MemoryStore;
use crate::store::{Observed, Store};
use crate::upstream::Upstream;

/// Bytes on their way in either direction.
const IN_FLIGHT_MAX: usize = 1 << 20;

/// The server of a daemon that nobody is connected to.
struct Served {
    runtime: Runtime,
    router: Router,
}

thread_local! {
    static SERVED: Option<Served> = Served::new();
}

impl Served {
    fn new() -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let router = {
            let _within = runtime.enter();
            router()
        };
        Some(Self { runtime, router })
    }
}

fn router() -> Router {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let running = Arc::new(Running::of(Config::default()));
    let gateways = &running.current().config.gateways;
    let context = Arc::new(Context {
        store: Arc::new(Observed::new(Store::Memory(MemoryStore::default()))),
        upstream: Arc::new(Upstream::new(gateways, &Default::default(), &tasks)),
        running: Arc::clone(&running),
        day_closed: Notify::new(),
        metrics: Arc::default(),
    });
    let desk = Desk {
        crew: Arc::default(),
        context: Arc::clone(&context),
        health: Arc::default(),
        registry: Arc::new(Registry::new(1)),
        access: Arc::new(Access::new(&running.current().config, Arc::clone(&context.metrics))),
        nightly: Arc::new(Nightly::new(context, stop)),
        tasks,
        filter: Filter::of_no_log(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8091)),
    };
    let asker = Asker(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    routes(Arc::new(desk)).layer(Extension(asker))
}

/// A line that becomes a request for a path below the API, or, behind a line's end at the start,
/// the whole stream. Each request is answered, and none with a failure of the server.
pub(crate) fn admin(data: &[u8]) {
    let stream = match data.strip_prefix(b"\n") {
        Some(stream) => stream.to_vec(),
        None => {
            let path: String = data
                .iter()
                .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '%' })
                .collect();
            format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .into_bytes()
        }
    };
    SERVED.with(|served| {
        if let Some(Served { runtime, router }) = served {
            let answers = runtime.block_on(exchange(router.clone(), &stream));
            check(&answers);
        }
    });
}

async fn exchange(router: Router, stream: &[u8]) -> Vec<u8> {
    let (mut client, server) = tokio::io::duplex(IN_FLIGHT_MAX);
    let service = TowerToHyperService::new(router);
    let served = http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let asked = async {
        let mut answers = Vec::new();
        // The server may have closed already.
        let _sent = client.write_all(stream).await;
        let _ended = client.shutdown().await;
        let _read = client.read_to_end(&mut answers).await;
        answers
    };
    let (answers, _ended) = tokio::join!(asked, served);
    answers
}

fn check(answers: &[u8]) {
    let text = String::from_utf8_lossy(answers);
    assert!(answers.is_empty() || text.starts_with("HTTP/1."), "{text}");
    for failure in ["HTTP/1.1 500", "HTTP/1.1 501", "HTTP/1.1 502"] {
        assert!(!text.contains(failure), "{text}");
    }
}
