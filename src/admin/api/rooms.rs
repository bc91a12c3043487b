//! Rooms by who is in them.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::asking::ask;
use super::parameter::{Page, Segment};
use crate::admin::Desk;
use crate::admin::answer::{Answer, Refusal, found};
use crate::domain::RoomId;
use crate::store::{self, StateStore};

#[derive(Debug, Serialize)]
pub(super) struct Rooms {
    rooms: Vec<RoomCount>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct RoomCount {
    room_id: i64,
    sessions: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Room {
    room_id: i64,
    sessions: u64,
    members: Vec<Member>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct Member {
    session: String,
    user_id: String,
}

pub(super) async fn list(State(desk): State<Arc<Desk>>, page: Page) -> Answer<Rooms> {
    let from = page.store_cursor()?;
    let page = ask(desk.context.store.rooms(from, page.limit)).await?;
    let rooms = page.items.into_iter().map(RoomCount::of).collect();
    found(Rooms { rooms, next_cursor: page.next.map(|next| next.to_string()) })
}

/// A room that nobody is in is no mistake: rooms are known by those in them.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    page: Page,
    Segment(id): Segment,
) -> Answer<Room> {
    let (id, from) = (parse_id(&id)?, page.store_cursor()?);
    let store = &desk.context.store;
    let count = ask(store.room(id)).await?;
    let page = ask(store.room_members(id, from, page.limit)).await?;
    found(Room {
        room_id: id.0,
        sessions: count.sessions,
        members: page.items.into_iter().map(Member::of).collect(),
        next_cursor: page.next.map(|next| next.to_string()),
    })
}

fn parse_id(text: &str) -> Result<RoomId, Refusal> {
    let wrong = |_| Refusal::Wrong("room_id is no whole number of 64 bits".to_owned());
    text.parse().map(RoomId).map_err(wrong)
}

impl RoomCount {
    fn of(count: store::RoomCount) -> Self {
        Self { room_id: count.room.0, sessions: count.sessions }
    }
}

impl Member {
    fn of(member: store::Member) -> Self {
        Self {
            session: member.session.as_str().to_owned(),
            user_id: member.user.as_str().to_owned(),
        }
    }
}
