//! Every store against the battery.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use stated::config;
use stated::store::StateStore;
use stated::store::memory::MemoryStore;
use stated::store::redis::{Deliverer, RedisStore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::battery::{self, for_every_sentence};
use crate::servers::redis::{RedisCluster, RedisSentinel, RedisServer};

/// A Redis store, as a daemon has it, and the tasks behind it.
pub(crate) struct Opened {
    pub(crate) store: RedisStore,
    tracker: TaskTracker,
}

impl Opened {
    pub(crate) fn open(config: &config::Store) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let name = format!("{:016x}", fastrand::u64(..));
        let store =
            RedisStore::open(config, Arc::default(), Deliverer { name }, &tracker, &stop).unwrap();
        Self { store, tracker }
    }

    /// Lets go, and requires that nothing goes on behind our back.
    pub(crate) async fn close(self) {
        self.store.close().await.unwrap();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// What is done for a sentence on the heap, made in a frame of its own: that of all sentences
/// together is too much for one frame of one stack.
fn boxed<'a, F: Future<Output = ()> + 'a>(
    sentence: impl FnOnce() -> F,
) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
    Box::pin(sentence())
}

mod memory {
    use super::*;

    macro_rules! test_each {
        ($($sentence:ident)*) => {$(
            #[tokio::test]
            async fn $sentence() {
                battery::$sentence(&MemoryStore::default()).await;
            }
        )*};
    }
    for_every_sentence!(test_each);
}

mod redis {
    use super::*;

    macro_rules! test_each {
        ($($sentence:ident)*) => {$(
            #[tokio::test]
            async fn $sentence() {
                let server = RedisServer::start().await;
                let opened = Opened::open(&server.store());
                boxed(|| battery::$sentence(&opened.store)).await;
                opened.close().await;
            }
        )*};
    }
    for_every_sentence!(test_each);
}

/// A cluster takes seconds to start: the battery goes through on one.
#[tokio::test]
async fn a_redis_cluster_does_what_every_store_does() {
    let cluster = RedisCluster::start(0).await;
    macro_rules! run_each {
        ($($sentence:ident)*) => {$(
            println!("{}", stringify!($sentence));
            boxed(|| async {
                cluster.clear().await;
                let opened = Opened::open(&cluster.store());
                boxed(|| battery::$sentence(&opened.store)).await;
                opened.close().await;
            })
            .await;
        )*};
    }
    for_every_sentence!(run_each);
}

/// So do sentinels.
#[tokio::test]
async fn a_redis_under_sentinel_does_what_every_store_does() {
    let sentinel = RedisSentinel::start().await;
    macro_rules! run_each {
        ($($sentence:ident)*) => {$(
            println!("{}", stringify!($sentence));
            boxed(|| async {
                sentinel.master.ask::<()>(&["FLUSHALL"]).await;
                let opened = Opened::open(&sentinel.store());
                boxed(|| battery::$sentence(&opened.store)).await;
                opened.close().await;
            })
            .await;
        )*};
    }
    for_every_sentence!(run_each);
}
