//! The night: where it stands, what it would do and has done, and to close it or hurry it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use futures_util::FutureExt;
use serde::Serialize;
use tokio::task::JoinError;

use super::asking::ask;
use super::parameter::{NoParameters, Page};
use crate::admin::Desk;
use crate::admin::answer::{Answer, Moment, accepted, found};
use crate::domain::UserTime;
use crate::nightly::{self, Nightly};
use crate::store::night::{ClosedDay, NIGHTS_KEPT};
use crate::store::{self, StateStore};

#[derive(Debug, Serialize)]
pub(super) struct Night {
    day: u64,
    listed_at: Option<Moment>,
    stage: &'static str,
    undelivered: Vec<Undelivered>,
    delivering: Option<Delivering>,
    delivered_users: u64,
    delivered_frames: u64,
    retried_frames: u64,
}

#[derive(Debug, Serialize)]
struct Undelivered {
    day: u64,
    date: String,
    closed_at: Moment,
}

#[derive(Debug, Serialize)]
pub(super) struct Delivering {
    day: u64,
    batch: String,
    users: usize,
    attempts: u64,
    since: Moment,
    error: Option<String>,
    next_attempt_at: Option<Moment>,
}

#[derive(Debug, Serialize)]
pub(super) struct Plan {
    day: u64,
    entries: Vec<Entry>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct Entry {
    user_id: String,
    study_time: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct History {
    nights: Vec<Past>,
}

#[derive(Debug, Serialize)]
struct Past {
    #[serde(flatten)]
    closed: Undelivered,
    closed_by: &'static str,
    users: u64,
    frames: u64,
    delivered_at: Option<Moment>,
    set_back: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct DayClosed {
    day: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct DeliveryAsked {
    undelivered_days: usize,
}

pub(super) async fn show(State(desk): State<Arc<Desk>>, _: NoParameters) -> Answer<Night> {
    let night = ask(desk.context.store.night()).await?;
    let figures = &desk.context.metrics.nights;
    let doing = desk.nightly.doing();
    found(Night {
        day: night.day.0,
        listed_at: night.listed_at.map(Moment),
        stage: doing.stage(Some(&night)).name(),
        undelivered: night.undelivered.iter().map(|day| describe(&desk.nightly, *day)).collect(),
        delivering: desk.nightly.delivering().map(Delivering::of),
        delivered_users: figures.users_delivered.load(Relaxed),
        delivered_frames: figures.batches_delivered.load(Relaxed),
        retried_frames: figures.batches_retried.load(Relaxed),
    })
}

pub(super) async fn plan(State(desk): State<Arc<Desk>>, page: Page) -> Answer<Plan> {
    let from = page.store_cursor()?;
    let plan = ask(desk.context.store.night_plan(from, page.limit)).await?;
    found(Plan {
        day: plan.day.0,
        entries: plan.users.items.into_iter().map(Entry::of).collect(),
        next_cursor: plan.users.next.map(|next| next.to_string()),
    })
}

pub(super) async fn history(State(desk): State<Arc<Desk>>, _: NoParameters) -> Answer<History> {
    let nights = ask(desk.context.store.night_history(NIGHTS_KEPT)).await?;
    let past = |night: store::PastNight| Past {
        closed: describe(&desk.nightly, night.closed),
        closed_by: night.closed_by.name(),
        users: night.users,
        frames: night.frames,
        delivered_at: night.delivered_at.map(Moment),
        set_back: night.is_set_back,
    };
    found(History { nights: nights.into_iter().map(past).collect() })
}

/// A close that was begun goes on without whoever asked for it. After an error whose outcome is
/// unknown the history tells whether the day is closed.
pub(super) async fn close(State(desk): State<Arc<Desk>>, _: NoParameters) -> Answer<DayClosed> {
    let nightly = Arc::clone(&desk.nightly);
    let closing = desk.tasks.spawn(async move { nightly.close_now().await });
    let closed = closing.map(|ended| ended.unwrap_or_else(|error| Err(failed(&error))));
    let day = ask(closed).await?;
    found(DayClosed { day: day.0 })
}

pub(super) async fn deliver(
    State(desk): State<Arc<Desk>>,
    _: NoParameters,
) -> Answer<DeliveryAsked> {
    desk.nightly.deliver_now();
    let night = desk.health.picture().night;
    accepted(DeliveryAsked { undelivered_days: night.map_or(0, |night| night.undelivered.len()) })
}

fn failed(error: &JoinError) -> store::Error {
    store::Error::Failed(error.to_string())
}

fn describe(nightly: &Nightly, closed: ClosedDay) -> Undelivered {
    Undelivered {
        day: closed.day.0,
        date: nightly.date_of(closed),
        closed_at: Moment(closed.closed_at),
    }
}

impl Delivering {
    pub(super) fn of(frame: nightly::Delivering) -> Self {
        Self {
            day: frame.closed.day.0,
            batch: frame.batch,
            users: frame.users,
            attempts: frame.attempts,
            since: Moment(frame.since),
            error: frame.last_error,
            next_attempt_at: frame.next_attempt_at.map(Moment),
        }
    }
}

impl Entry {
    fn of(entry: UserTime) -> Self {
        Self {
            user_id: entry.user.as_str().to_owned(),
            study_time: entry.study_time.map(|time| time.as_str().to_owned()),
        }
    }
}
