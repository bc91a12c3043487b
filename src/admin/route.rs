//! A path, a method, and what answers there: the table of routes is made of these.

use std::sync::Arc;

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{self, MethodRouter};

use super::Desk;

/// One line of the table.
pub(super) struct Route {
    /// As in `docs/openapi.json`.
    pub(super) path: &'static str,
    /// The only method; what is answered to GET is answered to HEAD too, without the body.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test holds it against the document"))]
    pub(super) method: Method,
    pub(super) handler: MethodRouter<Arc<Desk>>,
}

pub(super) fn get<H: Handler<T, Arc<Desk>>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { path, method: Method::GET, handler: routing::get(handler) }
}

pub(super) fn put<H: Handler<T, Arc<Desk>>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { path, method: Method::PUT, handler: routing::put(handler) }
}

pub(super) fn post<H: Handler<T, Arc<Desk>>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { path, method: Method::POST, handler: routing::post(handler) }
}

pub(super) fn delete<H: Handler<T, Arc<Desk>>, T: 'static>(
    path: &'static str,
    handler: H,
) -> Route {
    Route { path, method: Method::DELETE, handler: routing::delete(handler) }
}
