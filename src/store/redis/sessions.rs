//! Who is where: sessions that open and close, over two keys that on a cluster no operation can change at
//! once. Where one can, `both` does.
//!
//! A session resolves to a user if the index leads to the user, the user's record names the
//! session, and the session was not marked as closed there. The record decides: opening writes it
//! first and the index then; closing takes the index away first and marks the record then. Where
//! two operations cross, an index may be left over, which is no harm: it resolves to nobody, and
//! whoever next looks it up removes it.
//!
//! In which room's set the session is follows from that, and decides nothing: see `rooms`.
//!
//! A close that fails between the two puts the index back, for its session may have to be closed again;
//! and takes it away if the record has moved on meanwhile.
//!
//! Four limits of that. If a user's previous session is opened again on one daemon while another one
//! is just removing its index, the index is missing until that daemon has looked at the record and
//! put it back: a close in that moment finds nobody. And a service that writes records without
//! knowing our mark can't take it away: a session that was closed here and that such a service
//! opens again under the same id stays closed for us, until it is opened here or under another id.
//! And where a connection breaks, an operation is sent again: it knows its record, but not the index.
//! So a session that is opened again, or taken over, in just that moment may lose its index to a close
//! that is made twice, or its taker to an opening that is. One that is opened once never does.
//! And on a cluster, a session that another user takes over and closes, just while the former one's
//! close fails, is the former one's again: that record names it still.

use redis::Value;

use super::calendar::Today;
use super::call::{Call, Reply};
use super::records::{
    Records, Task, Told, answered_record, noted_sessions, room_of, told, unexpected, word_of,
};
use super::rooms::{Seat, member_call};
use super::script::{CLOSE_INDEXES, DELETE_IF_EQUAL, LEAD_TO};
use super::standing::{Read, hold_call, is_held};
use super::stored::session_key;
use super::words::Words;
use super::{midway, new_operation, refusal, text_of, unreached};
use crate::crash::{self, Point};
use crate::domain::{Record, RoomId, SessionId, UserId};
use crate::store::{Error, Result};

/// An opening whose first calls were made.
struct Begun<'a> {
    open: Task,
    user: &'a UserId,
    session: &'a SessionId,
    seat: Option<Seat>,
}

impl Records {
    pub(super) async fn open_session(
        &self,
        user: &UserId,
        room: Option<RoomId>,
        session: &SessionId,
    ) -> Result<Record> {
        // Only who is connected knows whether a server has slots.
        let today = self.calendar.today().await?;
        match self.servers.are_one() {
            true => self.open_both(user, room, session, today).await,
            false => Box::pin(self.open_by_steps(user, room, session, today)).await,
        }
    }

    pub(super) async fn close_session(&self, session: &SessionId) -> Result<Option<Record>> {
        // And a newer version's store is nothing to look into.
        let today = self.calendar.today().await?;
        let record = match self.servers.are_one() {
            true => self.close_both(session).await?,
            false => Box::pin(self.close_by_steps(session, today)).await?,
        };
        if let Some(room) = record.as_ref().and_then(|record| record.room) {
            self.exits.add(Seat { room, session: session.clone() });
        }
        Ok(record)
    }

    async fn open_by_steps(
        &self,
        user: &UserId,
        room: Option<RoomId>,
        session: &SessionId,
        today: Today,
    ) -> Result<Record> {
        let open = Task::new("open", user)
            .with(|words| words.with_room(room).with_session(Some(session)).with(new_operation()));
        let seat = room.map(|room| Seat { room, session: session.clone() });
        let enter = seat.as_ref().map(|seat| member_call("SADD", seat));
        let index = Call::command("SET", session_key(session)).arg(user.as_str()).arg("GET");
        let calls = [self.call(&open, today), index, hold_call(user, self.style)];
        let replies = self.in_order_beside(calls, enter).await?;
        let begun = Begun { open, user, session, seat };
        self.see_open_through(begun, replies).await.map_err(midway)
    }

    async fn see_open_through(
        &self,
        begun: Begun<'_>,
        [opened, mut indexed, mut held]: [Reply; 3],
    ) -> Result<Record> {
        let Begun { open, user, session, seat } = begun;
        let opened = match told(opened) {
            Ok(Told::Done(values)) => Some(values),
            Ok(Told::Nobody | Told::Elsewhere | Told::Parse(_) | Told::Stale(_)) => None,
            Err(error) => self.or_undo(user, session, &seat, Err(error)).await?,
        };
        let is_done = opened.is_some();
        let opened = match opened {
            Some(values) => values,
            None => {
                let ran = self.run(&open).await;
                self.or_undo(user, session, &seat, ran).await?.unwrap_or_default()
            }
        };
        if !is_done || indexed.is_err() {
            // The index may have been looked up, and removed, before the record named it. And a Redis
            // before 6.2 does not know our words, nor does any replace what is no text.
            let index = Call::script(&LEAD_TO, session_key(session)).arg(user.as_str());
            let calls = [index, hold_call(user, self.style)];
            let enter = seat.as_ref().map(|seat| member_call("SADD", seat));
            [indexed, held] = self.in_order_beside(calls, enter).await?;
        }
        let led_to = text_of(&indexed.map_err(refusal)?).and_then(|id| UserId::parse(&id).ok());
        if let Some(previous) = led_to.filter(|previous| previous != user) {
            self.leave_to_another(previous, session).await;
        }
        let replaced = opened.get(4..).unwrap_or_default();
        let mut leftover: Vec<_> =
            noted_sessions(replaced).map(|session| (user.clone(), session)).collect();
        if !is_held(user, session, held)? {
            // Somebody opened another one meanwhile, before our index was there to be removed.
            leftover.push((user.clone(), session.clone()));
        }
        crash::point(Point::SessionWritten);
        let removed = self.remove_indexes(&leftover).await;
        self.exits_of(&opened)?;
        removed?;
        answered_record(user, &opened)
    }

    async fn close_by_steps(&self, session: &SessionId, today: Today) -> Result<Option<Record>> {
        let look_up = Call::command("GET", session_key(session));
        let owner = self.servers.one(look_up).await.map_err(unreached)?.map_err(refusal)?;
        let Value::BulkString(owner) = owner else { return Ok(None) };
        crash::point(Point::SessionLookedUp);
        let user = std::str::from_utf8(&owner).ok().and_then(|id| UserId::parse(id).ok());
        let words = Words::default().with(&owner);
        let remove = Call::part(&CLOSE_INDEXES, None, session_key(session), words);
        let Some(user) = user else {
            self.servers.one(remove).await.map_err(unreached)?.map_err(refusal)?;
            return Ok(None);
        };
        let close = Task::new("close", &user)
            .with(|words| words.with_session(Some(session)).with(new_operation()));
        let replies = self.in_order([remove, self.call(&close, today)]).await;
        let values = match self.closed(&close, replies).await {
            Ok(values) => values,
            Err(error) => {
                // Nobody is closed who may be asked for again. If it was after all, or if it is another
                // user's by now, the index is a leftover.
                drop(self.restore(&user, session).await);
                return Err(error);
            }
        };
        values.map(|values| answered_record(&user, &values)).transpose()
    }

    /// Takes the replies to a close: that its index is gone, and what the record said.
    async fn closed(
        &self,
        close: &Task,
        replies: Result<[Reply; 2]>,
    ) -> Result<Option<Vec<Value>>> {
        let [removed, closed] = replies?;
        removed.map_err(refusal)?;
        match told(closed)? {
            Told::Done(values) => Ok(Some(values)),
            Told::Nobody | Told::Elsewhere => Ok(None),
            Told::Parse(_) | Told::Stale(_) => self.run(close).await.map_err(midway),
        }
    }

    /// The user was elsewhere when this was opened, and is there no more.
    pub(super) fn exits_of(&self, opened: &[Value]) -> Result<()> {
        let [_, room, session, ..] = opened else { return Ok(()) };
        let (room, session) = (room_of(room)?, word_of(session, SessionId::parse)?);
        if let (Some(room), Some(session)) = (room, session) {
            self.exits.add(Seat { room, session });
        }
        Ok(())
    }

    /// The session was the user's and is another's now: it is not where it was with the user. What
    /// can't be read is left to the scrub.
    pub(super) async fn leave_to_another(&self, user: UserId, session: &SessionId) {
        let read =
            self.read_each(std::slice::from_ref(&user)).await.ok().and_then(|mut read| read.pop());
        let Some(Ok(Some(Read { record, .. }))) = read else { return };
        if let (Some(room), true) = (record.room, record.session.as_ref() == Some(session)) {
            self.exits.add(Seat { room, session: session.clone() });
        }
    }

    /// Removes indexes of sessions that are not their users' any more, unless they are other
    /// users' by now. What became live again while we were at it is put back. Returns how many are
    /// gone.
    pub(super) async fn remove_indexes(&self, leftover: &[(UserId, SessionId)]) -> Result<u64> {
        if leftover.is_empty() {
            return Ok(0);
        }
        let today = self.calendar.today().await?;
        let remove = leftover.iter().map(|(user, session)| remove_call(user, session)).collect();
        let tasks: Vec<_> = leftover.iter().map(|(user, session)| let_go(user, session)).collect();
        let ask = tasks.iter().map(|task| self.call(task, today)).collect();
        let mut replies = self.servers.in_two_steps(remove, ask).await.map_err(unreached)?;
        let asked = replies.split_off(leftover.len().min(replies.len()));
        let (mut gone, mut failed) = (0, None);
        for removed in replies {
            gone += u64::from(removed.map_err(refusal)? == Value::Int(1));
        }
        for ((user, session), (task, reply)) in leftover.iter().zip(tasks.iter().zip(asked)) {
            let held = self.finish(task, reply).await.map(|values| says_held(&values));
            // Whose record can't be read may be there.
            if matches!(held, Ok(true) | Err(Error::Unreadable(_))) {
                gone = gone.saturating_sub(1);
                failed = failed.or(self.put_back(user, session).await.err());
            }
            // One that can't be looked at keeps none of the others away from its user.
            failed = failed.or(held.err());
        }
        failed.map_or(Ok(gone), Err)
    }

    /// Puts an index back whose session may be live after all, and takes it away again if the record
    /// says that it is not. What can't be read may be there.
    async fn restore(&self, user: &UserId, session: &SessionId) -> Result<()> {
        self.put_back(user, session).await?;
        let held = self.servers.one(hold_call(user, self.style)).await.map_err(unreached)?;
        if !is_held(user, session, held)? {
            self.servers
                .one(remove_call(user, session))
                .await
                .map_err(unreached)?
                .map_err(refusal)?;
        }
        Ok(())
    }

    async fn put_back(&self, user: &UserId, session: &SessionId) -> Result<()> {
        let call = Call::command("SET", session_key(session)).arg(user.as_str()).arg("NX");
        self.servers.one(call).await.map_err(unreached)?.map_err(refusal)?;
        Ok(())
    }

    /// If the record can't be read, nothing was opened: its index and its place in the room were
    /// written for nothing.
    async fn or_undo<T>(
        &self,
        user: &UserId,
        session: &SessionId,
        seat: &Option<Seat>,
        opened: Result<T>,
    ) -> Result<T> {
        if matches!(opened, Err(Error::Unreadable(_))) {
            // That this fails too is not worth more words than what failed first.
            drop(self.servers.one(remove_call(user, session)).await);
            seat.iter().for_each(|seat| self.exits.add(seat.clone()));
        }
        opened
    }

    /// Makes the calls one after the other, and with the last the one that the session's place in
    /// its room needs: whatever comes of that, the request goes on.
    async fn in_order_beside<const N: usize>(
        &self,
        calls: [Call; N],
        enter: Option<Call>,
    ) -> Result<[Reply; N]> {
        let Some(enter) = enter else { return self.in_order(calls).await };
        let (replies, entered) =
            self.servers.in_order_beside(calls.into(), enter).await.map_err(unreached)?;
        self.exits.entered(entered);
        replies.try_into().map_err(|_| unexpected())
    }

    async fn in_order<const N: usize>(&self, calls: [Call; N]) -> Result<[Reply; N]> {
        let replies = self.servers.in_order(calls.into()).await.map_err(unreached)?;
        replies.try_into().map_err(|_| unexpected())
    }
}

fn remove_call(user: &UserId, session: &SessionId) -> Call {
    Call::script(&DELETE_IF_EQUAL, session_key(session)).arg(user.as_str())
}

/// Takes away the note that the session was replaced, and says whether it is live.
fn let_go(user: &UserId, session: &SessionId) -> Task {
    Task::new("let_go", user).with(|words| words.with_session(Some(session)))
}

fn says_held(values: &[Value]) -> bool {
    values.first().and_then(text_of).as_deref() == Some("1")
}
