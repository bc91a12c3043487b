//! Everything at a glance: what `stated status` shows.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use serde::Serialize;

use super::configuration::Glance;
use super::gateways::{self, Gateway};
use super::night::Delivering;
use super::parameter::NoParameters;
use super::population::{self, Population};
use crate::admin::Desk;
use crate::admin::answer::{Answer, Moment, found};
use crate::admin::dependency::{Dependency, Standing};
use crate::admin::health::{Picture, STORE};
use crate::admin::probes::Readiness;
use crate::build;
use crate::domain::UnixMillis;
use crate::metrics::Metrics;
use crate::metrics::requests::Kind;
use crate::store::Night;

#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    commit: &'static str,
    started_at: Moment,
    uptime_seconds: f64,
    readiness: Readiness,
    load: Load,
    population: Option<Population>,
    gateways: Vec<Gateway>,
    night: Option<NightGlance>,
    configuration: Glance,
}

/// What peers ask, since the start.
#[derive(Debug, Serialize)]
struct Load {
    connections: usize,
    connections_max: usize,
    in_flight: u64,
    requests_answered: u64,
    requests_failed: u64,
    received_bytes: u64,
    sent_bytes: u64,
}

#[derive(Debug, Serialize)]
struct NightGlance {
    day: u64,
    listed_at: Option<Moment>,
    stage: &'static str,
    undelivered_days: usize,
    oldest_closed_at: Option<Moment>,
    delivering: Option<Delivering>,
    is_current: bool,
}

/// It waits for nothing but the store, and for that not long: whoever asks wants to know what is
/// wrong.
pub(super) async fn show(State(desk): State<Arc<Desk>>, _: NoParameters) -> Answer<Status> {
    let population = population::ask(&desk).await.ok().flatten();
    let picture = desk.health.picture();
    let started_at = desk.context.metrics.started_at;
    found(Status {
        version: build::VERSION,
        commit: build::COMMIT,
        started_at: Moment(UnixMillis::from(started_at)),
        uptime_seconds: SystemTime::now()
            .duration_since(started_at)
            .unwrap_or_default()
            .as_secs_f64(),
        readiness: Readiness::of(&picture, &desk),
        load: Load::of(&desk),
        population,
        gateways: gateways::all(&desk),
        night: picture.night.as_ref().map(|night| NightGlance::of(night, &picture, &desk)),
        configuration: Glance::of(&desk.context.running.current()),
    })
}

impl Load {
    fn of(desk: &Desk) -> Self {
        let metrics: &Metrics = &desk.context.metrics;
        let (mut answered, mut failed) = (0, 0);
        for (outcome, count) in Kind::ALL.iter().flat_map(|kind| metrics.requests.outcomes(*kind)) {
            *(if outcome == "ok" { &mut answered } else { &mut failed }) += count;
        }
        Self {
            connections: desk.registry.open_count(),
            connections_max: desk.context.running.current().config.limits.max_connections,
            in_flight: metrics.requests.in_flight(),
            requests_answered: answered,
            requests_failed: failed,
            received_bytes: metrics.connections.received_bytes(),
            sent_bytes: metrics.connections.sent_bytes(),
        }
    }
}

impl NightGlance {
    /// A store that is away may have told more meanwhile, had it been asked.
    fn of(night: &Night, picture: &Picture, desk: &Desk) -> Self {
        let is_up = |one: &Dependency| one.name == STORE && one.standing == Standing::Up;
        Self {
            day: night.day.0,
            listed_at: night.listed_at.map(Moment),
            stage: desk.nightly.doing().stage(Some(night)).name(),
            undelivered_days: night.undelivered.len(),
            oldest_closed_at: night.undelivered.first().map(|day| Moment(day.closed_at)),
            delivering: desk.nightly.delivering().map(Delivering::of),
            is_current: picture.dependencies.iter().any(is_up),
        }
    }
}
