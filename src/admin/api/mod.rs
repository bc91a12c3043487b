//! `/api/v1`: what an operator looks up and changes while the daemon works.
//!
//! `docs/openapi.json` is the contract; the daemon serves it too.

mod asking;
mod configuration;
mod connections;
mod gateways;
mod logging;
mod night;
mod parameter;
mod population;
mod rooms;
mod status;
mod users;

use axum::http::header;
use axum::response::IntoResponse;

use super::answer::Refusal;
use super::route::{Route, delete, get, post, put};

/// The contract.
pub(super) const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// The paths, in the order of the contract.
pub(super) fn routes() -> Vec<Route> {
    vec![
        get("/api/v1/openapi.json", document),
        get("/api/v1/status", status::show),
        get("/api/v1/users/{user_id}", users::show),
        get("/api/v1/sessions/{session}", users::show_session),
        get("/api/v1/rooms", rooms::list),
        get("/api/v1/rooms/{room_id}", rooms::show),
        get("/api/v1/connections", connections::list),
        get("/api/v1/connections/closed", connections::list_closed),
        get("/api/v1/connections/{id}", connections::show),
        delete("/api/v1/connections/{id}", connections::close),
        get("/api/v1/gateways", gateways::list),
        get("/api/v1/night", night::show),
        get("/api/v1/night/plan", night::plan),
        get("/api/v1/night/history", night::history),
        post("/api/v1/night/close", night::close),
        post("/api/v1/night/deliver", night::deliver),
        get("/api/v1/configuration", configuration::show),
        get("/api/v1/log/filter", logging::show),
        put("/api/v1/log/filter", logging::change),
    ]
}

async fn document(_: parameter::NoParameters) -> Result<impl IntoResponse, Refusal> {
    Ok((
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")],
        DOCUMENT,
    ))
}
