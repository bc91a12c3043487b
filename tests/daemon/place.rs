//! Where a daemon under test keeps its state.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use stated::config::{Secret, StoreUrl};

use crate::servers::redis::{RedisCluster, RedisSentinel, RedisServer};

/// Where a store keeps the state. What it names outlives the daemons that use it, and goes with
/// the last clone.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) url: String,
    /// The folder of an embedded store.
    pub(crate) dir: Option<PathBuf>,
    _owned: Arc<dyn Any + Send + Sync>,
}

impl Place {
    pub(crate) fn memory() -> Self {
        Self { url: "memory:".to_owned(), dir: None, _owned: Arc::new(()) }
    }

    pub(crate) fn embedded() -> Self {
        let owned = tempfile::tempdir().unwrap();
        let dir = owned.path().join("state");
        let url = format!("embedded:{}", dir.display());
        Self { url, dir: Some(dir), _owned: Arc::new(owned) }
    }

    /// Somebody else's store.
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.to_owned(), dir: None, _owned: Arc::new(()) }
    }

    pub(crate) fn redis() -> Self {
        let server = wait_for(RedisServer::start());
        let url = server.url().expose().to_owned();
        Self { url, dir: None, _owned: Arc::new(server) }
    }

    pub(crate) fn on_cluster(cluster: &RedisCluster) -> Self {
        let nodes = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        Self::at(&format!("redis+cluster://{}", nodes.collect::<Vec<_>>().join(",")))
    }

    pub(crate) fn on_sentinel(sentinel: &RedisSentinel) -> Self {
        let StoreUrl::RedisSentinel { sentinels, master, .. } = sentinel.store().url else {
            panic!("sentinels are no other store");
        };
        let host = |url: &Secret| url.expose().replace("redis://", "").replace('/', "");
        let hosts = sentinels.iter().map(host).collect::<Vec<_>>().join(",");
        Self::at(&format!("redis+sentinel://{hosts}/{master}"))
    }
}

/// What starts the servers is asynchronous, the tests here are not.
pub(crate) fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
