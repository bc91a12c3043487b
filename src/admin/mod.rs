//! What operators ask the daemon over HTTP: whether it lives, whether it is ready, its figures.

mod dependency;
pub mod health;
pub mod server;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use self::dependency::{Dependency, Standing};
use self::health::{Health, Picture};
use crate::domain::{Context, UnixMillis};
use crate::metrics::page::{self, Found};

/// What the answers are made of.
#[derive(Debug)]
pub struct Desk {
    /// What is counted.
    pub context: Arc<Context>,
    /// What was last found out.
    pub health: Arc<Health>,
}

/// The paths and what answers there.
pub fn routes(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(|| async { answer(StatusCode::NOT_FOUND, &json!({"error": "no such path"})) })
        .method_not_allowed_fallback(|| async {
            answer(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "only GET is answered here"}))
        })
        .with_state(desk)
}

/// Whether a restart would help: the store is none of its business.
async fn livez(State(desk): State<Arc<Desk>>) -> Response {
    match desk.health.ailment() {
        None => answer(StatusCode::OK, &json!({"status": "alive"})),
        Some(ailment) => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({"status": "not alive", "error": ailment}),
        ),
    }
}

/// Whether requests can be fulfilled.
async fn readyz(State(desk): State<Arc<Desk>>) -> Response {
    let picture = desk.health.picture();
    let (code, status) = match picture.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready"),
        Readiness::Degraded => (StatusCode::OK, "degraded"),
        Readiness::Unready => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
    };
    let dependencies: Vec<_> = picture.dependencies.iter().map(described).collect();
    answer(
        code,
        &json!({"status": status, "stopping": picture.stopping, "dependencies": dependencies}),
    )
}

async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
    let picture = desk.health.picture();
    let known = |dependency: &Dependency| {
        let is_up = match dependency.standing {
            Standing::Up => true,
            Standing::Down => false,
            Standing::Unknown => return None,
        };
        Some((dependency.name, is_up))
    };
    let dependencies: Vec<_> = picture.dependencies.iter().filter_map(known).collect();
    let found = Found { dependencies: &dependencies, night: picture.night.as_ref() };
    let text = page::render(&desk.context, &found);
    ([(header::CONTENT_TYPE, page::MEDIA_TYPE)], text).into_response()
}

/// How well requests can be fulfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    /// Wholly.
    Ready,
    /// A service that some of them need is away.
    Degraded,
    /// Not at all.
    Unready,
}

impl Picture {
    fn readiness(&self) -> Readiness {
        let is_missing = |one: &Dependency| one.is_required && one.standing != Standing::Up;
        if self.stopping || self.dependencies.iter().any(is_missing) {
            Readiness::Unready
        } else if self.dependencies.iter().any(|one| one.standing == Standing::Down) {
            Readiness::Degraded
        } else {
            Readiness::Ready
        }
    }
}

fn described(dependency: &Dependency) -> Value {
    json!({
        "name": dependency.name,
        "required": dependency.is_required,
        "state": dependency.standing.name(),
        "since": date(dependency.since),
        "error": dependency.error,
    })
}

fn date(at: UnixMillis) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX).to_string()
}

fn answer(code: StatusCode, body: &Value) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}
