//! What operators ask the daemon over HTTP: whether it lives, what it knows, and to change something.

mod answer;
mod api;
mod dependency;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed;
mod guard;
pub mod health;
mod probes;
mod route;
pub mod server;
mod visitors;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use tokio_util::task::TaskTracker;

use self::answer::Refusal;
use self::health::Health;
use self::route::{Route, get};
use crate::connection::access::Access;
use crate::connection::crew::Crew;
use crate::connection::registry::Registry;
use crate::domain::Context;
use crate::log;
use crate::nightly::Nightly;

/// The longest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What the answers are made of.
#[derive(Debug)]
pub struct Desk {
    /// What is counted.
    pub context: Arc<Context>,
    /// What was last found out.
    pub health: Arc<Health>,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// Who serves them.
    pub crew: Arc<Crew>,
    /// Who may speak.
    pub access: Arc<Access>,
    /// The night's work.
    pub nightly: Arc<Nightly>,
    /// Where a change goes on whose asker is gone; the daemon waits for it before it closes the store.
    pub tasks: TaskTracker,
    /// What is logged.
    pub filter: log::Filter,
    /// Where the server listens really.
    pub address: SocketAddr,
}

/// The paths and what answers there.
pub fn routes(desk: Arc<Desk>) -> Router {
    let guard = middleware::from_fn_with_state(Arc::clone(&desk), guard::guard);
    let guarded = router(api::routes()).route_layer(guard);
    router(probes().into())
        .merge(guarded)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .fallback(|| async { Refusal::Missing("no such path".to_owned()) })
        .method_not_allowed_fallback(|| async { Refusal::Method })
        .with_state(desk)
}

fn probes() -> [Route; 3] {
    [get("/livez", probes::livez), get("/readyz", probes::readyz), get("/metrics", probes::metrics)]
}

fn router(routes: Vec<Route>) -> Router<Arc<Desk>> {
    routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_document_lists_every_route_and_nothing_else() {
        let document: Value = serde_json::from_str(api::DOCUMENT).unwrap();
        let mut listed = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                listed.insert((path.clone(), method.to_uppercase()));
            }
        }
        let routes = probes().into_iter().chain(api::routes());
        let routed: BTreeSet<_> =
            routes.map(|route| (route.path.to_owned(), route.method.to_string())).collect();
        assert_eq!(listed, routed);
    }
}
