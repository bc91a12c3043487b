//! Looking up a user, and to whom a session resolves.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::asking::ask;
use super::parameter::{NoParameters, Segment, wrong_id};
use crate::admin::Desk;
use crate::admin::answer::{Answer, Refusal, found};
use crate::domain::{SessionId, UserId};
use crate::store::StateStore;

#[derive(Debug, Serialize)]
pub(super) struct User {
    user_id: String,
    room_id: Option<i64>,
    session: Option<String>,
    is_live: bool,
    study_time: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Session {
    session: String,
    user_id: String,
    room_id: Option<i64>,
}

pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    _: NoParameters,
    Segment(id): Segment,
) -> Answer<User> {
    let id = UserId::parse(&id).map_err(|error| wrong_id("user_id", error))?;
    let known = ask(desk.context.store.user(&id)).await?;
    let known = known.ok_or_else(|| Refusal::Missing("no such user is known".to_owned()))?;
    let record = known.record;
    found(User {
        user_id: record.user.as_str().to_owned(),
        room_id: record.room.map(|room| room.0),
        session: record.session.map(|session| session.as_str().to_owned()),
        is_live: known.is_live,
        study_time: record.study_time.map(|time| time.as_str().to_owned()),
    })
}

pub(super) async fn show_session(
    State(desk): State<Arc<Desk>>,
    _: NoParameters,
    Segment(id): Segment,
) -> Answer<Session> {
    let id = SessionId::parse(&id).map_err(|error| wrong_id("session", error))?;
    let record = ask(desk.context.store.session(&id)).await?;
    let nobody = || Refusal::Missing("the session resolves to nobody".to_owned());
    let record = record.ok_or_else(nobody)?;
    found(Session {
        session: id.as_str().to_owned(),
        user_id: record.user.as_str().to_owned(),
        room_id: record.room.map(|room| room.0),
    })
}
