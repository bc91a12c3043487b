//! Is it alive, is it ready: what load balancers and supervisors ask, and Prometheus' page.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Desk;
use super::answer::{Document, Moment, document};
use super::dependency::{Dependency, Standing};
use super::health::Picture;
use crate::metrics::page::{self, Found};
use crate::metrics::process::Process;
use crate::metrics::runtime::Runtime;

/// `/livez`
#[derive(Debug, Serialize)]
pub(super) struct Life {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// `/readyz`
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    status: &'static str,
    stopping: bool,
    dependencies: Vec<Described>,
    certificates: Vec<Useless>,
}

#[derive(Debug, Serialize)]
struct Described {
    name: &'static str,
    required: bool,
    state: &'static str,
    since: Moment,
    error: Option<String>,
}

/// A certificate of our own that nobody accepts now.
#[derive(Debug, Serialize)]
struct Useless {
    key: String,
    error: String,
}

/// How well requests can be fulfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Degree {
    /// Wholly.
    Ready,
    /// A service that some of them need is away, or a certificate is of no use: who checks it makes no
    /// connection.
    Degraded,
    /// Not at all.
    Unready,
}

/// Whether a restart would help: the store is none of its business.
pub(super) async fn livez(State(desk): State<Arc<Desk>>) -> Document<Life> {
    match desk.health.ailment() {
        None => document(StatusCode::OK, Life { status: "alive", error: None }),
        error @ Some(_) => {
            document(StatusCode::SERVICE_UNAVAILABLE, Life { status: "not alive", error })
        }
    }
}

/// Whether requests can be fulfilled.
pub(super) async fn readyz(State(desk): State<Arc<Desk>>) -> Document<Readiness> {
    let picture = desk.health.picture();
    let code = match picture.is_unready() {
        false => StatusCode::OK,
        true => StatusCode::SERVICE_UNAVAILABLE,
    };
    document(code, Readiness::of(&picture, &desk))
}

/// The figures.
pub(super) async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
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
    // With many open files on an older kernel it takes a while.
    let process = tokio::task::spawn_blocking(Process::read).await.unwrap_or_default();
    let found = Found {
        is_alive: desk.health.ailment().is_none(),
        is_ready: !picture.is_unready(),
        process,
        runtime: Runtime::read(desk.crew.runtimes()),
        dependencies: &dependencies,
        night: picture.night.as_ref(),
        stage: desk.nightly.doing().stage(picture.night.as_ref()),
    };
    let text = page::render(&desk.context, &found);
    ([(header::CONTENT_TYPE, page::MEDIA_TYPE)], text).into_response()
}

impl Readiness {
    pub(super) fn of(picture: &Picture, desk: &Desk) -> Self {
        let useless = desk.context.running.now().tls.useless();
        let status = match picture.degree(&useless) {
            Degree::Ready => "ready",
            Degree::Degraded => "degraded",
            Degree::Unready => "unready",
        };
        let dependencies = picture.dependencies.iter().map(Described::of).collect();
        let certificates = useless.into_iter().map(|(key, error)| Useless { key, error }).collect();
        Self { status, stopping: picture.stopping, dependencies, certificates }
    }
}

impl Picture {
    fn is_unready(&self) -> bool {
        let is_missing = |one: &Dependency| one.is_required && one.standing != Standing::Up;
        self.stopping || self.dependencies.iter().any(is_missing)
    }

    fn degree(&self, useless_certificates: &[(String, String)]) -> Degree {
        let is_away = |one: &Dependency| one.standing == Standing::Down;
        if self.is_unready() {
            Degree::Unready
        } else if self.dependencies.iter().any(is_away) || !useless_certificates.is_empty() {
            Degree::Degraded
        } else {
            Degree::Ready
        }
    }
}

impl Described {
    fn of(dependency: &Dependency) -> Self {
        Self {
            name: dependency.name,
            required: dependency.is_required,
            state: dependency.standing.name(),
            since: Moment(dependency.since),
            error: dependency.error.clone(),
        }
    }
}
