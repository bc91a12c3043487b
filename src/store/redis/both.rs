//! Sessions that open and close where record and index lie in one server: both change in one step.
//!
//! So nothing is left over between the two, and nothing has to be looked at again. Daemons of a version
//! that takes two steps may be at work on the same Redis: what they leave between theirs is met here as
//! `sessions` says.

use redis::Value;

use super::calendar::Today;
use super::call::{Call, Reply};
use super::records::{Records, Task, Told, answered_record, is_done, noted_sessions, unexpected};
use super::rooms::{Seat, member_call};
use super::script::DELETE_IF_EQUAL;
use super::stored::session_key;
use super::{midway, new_operation, refusal, text_of, unreached};
use crate::crash::{self, Point};
use crate::domain::{Record, RoomId, SessionId, UserId};
use crate::store::{Error, Result};

/// How often the session may turn out to be another user's while it is closed.
const ROUNDS_MAX: usize = 8;

impl Records {
    pub(super) async fn open_both(
        &self,
        user: &UserId,
        room: Option<RoomId>,
        session: &SessionId,
        today: Today,
    ) -> Result<Record> {
        let open = Task::new("open_both", user).with_index_of(session).with(|words| {
            let words = words.with_room(room).with_session(Some(session));
            words.with(new_operation()).with(user.as_str())
        });
        let seat = room.map(|room| Seat { room, session: session.clone() });
        let mut calls = vec![self.call(&open, today)];
        calls.extend(seat.as_ref().map(|seat| member_call("SADD", seat)));
        let mut replies = self.servers.in_order(calls).await.map_err(unreached)?.into_iter();
        let first = replies.next().ok_or_else(unexpected)?;
        let was_done = is_done(&first);
        let opened = self.see_through(&open, Some(first)).await;
        if let Some(seat) = seat {
            self.take_seat(seat, replies.next(), was_done, opened.as_ref().err()).await;
        }
        let Told::Done(opened) = opened? else { return Err(unexpected()) };
        self.owners.note(session, user);
        let led_to = opened.get(3).and_then(text_of).and_then(|id| UserId::parse(&id).ok());
        if let Some(previous) = led_to {
            Box::pin(self.leave_to_another(previous, session)).await;
        }
        let replaced = noted_sessions(opened.get(4..).unwrap_or_default());
        let leftover: Vec<_> = replaced.map(|session| (user.clone(), session)).collect();
        leftover.iter().for_each(|(_, replaced)| drop(self.owners.take(replaced)));
        crash::point(Point::SessionWritten);
        let removed = match leftover.is_empty() {
            true => Ok(0),
            false => Box::pin(self.remove_indexes(&leftover)).await,
        };
        self.exits_of(&opened)?;
        removed.map_err(midway)?;
        answered_record(user, &opened)
    }

    /// Takes in how the place in the room was taken. That has to come behind the record, or whoever is
    /// just taking the session out of the room leaves it out.
    async fn take_seat(
        &self,
        seat: Seat,
        entered: Option<Reply>,
        was_done: bool,
        failed: Option<&Error>,
    ) {
        match failed {
            None if was_done => self.exits.entered(entered),
            None => {
                let again = Box::pin(self.servers.one(member_call("SADD", &seat))).await;
                self.exits.entered(again.ok());
            }
            // Nothing was opened: the place was taken for nothing.
            Some(Error::Unreadable(_) | Error::Away(_)) => self.exits.add(seat),
            Some(Error::Slow(_) | Error::Failed(_)) => {}
        }
    }

    pub(super) async fn close_both(&self, session: &SessionId) -> Result<Option<Record>> {
        let mut guess = self.owners.take(session);
        for _ in 0..ROUNDS_MAX {
            let is_guessed = guess.is_some();
            let owner = match guess.take() {
                Some(owner) => Some(owner),
                None => Box::pin(self.owner_of(session)).await?,
            };
            let Some(user) = owner else { return Ok(None) };
            crash::point(Point::SessionLookedUp);
            let close = Task::new("close_both", &user).with_index_of(session).with(|words| {
                words.with_session(Some(session)).with(new_operation()).with(user.as_str())
            });
            let told = match self.see_through(&close, None).await {
                // The guess is wrong perhaps, and nobody's record is read for another's session.
                Err(Error::Unreadable(_)) if is_guessed => continue,
                told => told?,
            };
            match told {
                Told::Done(values) => return answered_record(&user, &values).map(Some),
                Told::Nobody => return Ok(None),
                Told::Elsewhere => {}
                Told::Parse(_) | Told::Stale(_) => return Err(unexpected()),
            }
        }
        Err(Error::Failed("the session changes hands faster than it can be closed".to_owned()))
    }

    /// Whom the session's index leads to; one that leads to no user's id is removed.
    async fn owner_of(&self, session: &SessionId) -> Result<Option<UserId>> {
        let look_up = Call::command("GET", session_key(session));
        let owner = self.servers.one(look_up).await.map_err(unreached)?.map_err(refusal)?;
        let Value::BulkString(owner) = owner else { return Ok(None) };
        let user = std::str::from_utf8(&owner).ok().and_then(|id| UserId::parse(id).ok());
        if user.is_none() {
            let remove = Call::script(&DELETE_IF_EQUAL, session_key(session)).arg(&owner);
            self.servers.one(remove).await.map_err(unreached)?.map_err(refusal)?;
        }
        Ok(user)
    }
}
