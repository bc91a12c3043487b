//! Who is where: sessions that open and close, over two keys that no operation can change at once.
//!
//! A session resolves to a user if the index leads to the user, the user's record names the
//! session, and the session was not marked as closed there. The record decides: opening writes it
//! first and the index then; closing takes the index away first and marks the record then. Where
//! two operations cross, an index may be left over, which is no harm: it resolves to nobody, and
//! whoever next looks it up removes it.

use redis::Value;

use super::call::{CLOSE_SESSION, Call, DELETE_IF_EQUAL, HOLDS_SESSION, OPEN_SESSION};
use super::records::{Records, Task, Told, answered_record, told, unexpected, word_of};
use super::stored::{room_json, session_json, session_key};
use super::{new_operation, refusal, text_of, unreached};
use crate::domain::{Record, RoomId, SessionId, UserId};
use crate::store::Result;

impl Records {
    pub(super) async fn open_session(
        &self,
        user: &UserId,
        room: Option<RoomId>,
        session: &SessionId,
    ) -> Result<Record> {
        let open = Task::new(&OPEN_SESSION, user, vec![room_json(room), session_json(session)]);
        let holds = holds_task(user, session);
        let index = Call::command("SET", session_key(session)).arg(user.as_str());
        let today = self.calendar.today().await?;
        let calls = [self.call(&open, today), index.clone(), self.call(&holds, today)];
        let [opened, indexed, held] = self.in_order(calls).await?;
        let (opened, indexed, held) = match told(opened)? {
            Told::Done(values) => (values, indexed, held),
            Told::Nobody | Told::Parse(_) | Told::Stale(_) => {
                let values = self.run(&open).await?.unwrap_or_default();
                let today = self.calendar.today().await?;
                let [indexed, held] = self.in_order([index, self.call(&holds, today)]).await?;
                (values, indexed, held)
            }
        };
        indexed.map_err(refusal)?;
        if !is_held(&self.finish(&holds, held).await?) {
            // Somebody opened another one meanwhile, before our index was there to be removed.
            self.remove_index(user, session).await?;
        }
        for replaced in opened.iter().skip(3) {
            if let Some(replaced) = word_of(replaced, SessionId::parse)? {
                self.remove_index(user, &replaced).await?;
            }
        }
        answered_record(user, &opened)
    }

    pub(super) async fn close_session(&self, session: &SessionId) -> Result<Option<Record>> {
        let look_up = Call::command("GET", session_key(session));
        let owner = self.servers.one(look_up).await.map_err(unreached)?.map_err(refusal)?;
        let Value::BulkString(owner) = owner else { return Ok(None) };
        let remove = Call::script(&DELETE_IF_EQUAL, session_key(session)).arg(owner.clone());
        let user = std::str::from_utf8(&owner).ok().and_then(|id| UserId::parse(id).ok());
        let Some(user) = user else {
            self.servers.one(remove).await.map_err(unreached)?.map_err(refusal)?;
            return Ok(None);
        };
        let arguments = vec![session_json(session), new_operation().into_bytes()];
        let close = Task::new(&CLOSE_SESSION, &user, arguments);
        let today = self.calendar.today().await?;
        let [removed, closed] = self.in_order([remove, self.call(&close, today)]).await?;
        removed.map_err(refusal)?;
        let values = match told(closed)? {
            Told::Done(values) => Some(values),
            Told::Nobody => None,
            Told::Parse(_) | Told::Stale(_) => self.run(&close).await?,
        };
        values.map(|values| answered_record(&user, &values)).transpose()
    }

    /// Removes the index of a session that is not the user's any more, unless it is another
    /// user's by now. If it became this user's again while we were at it, it is put back.
    pub(super) async fn remove_index(&self, user: &UserId, session: &SessionId) -> Result<()> {
        let key = session_key(session);
        let holds = holds_task(user, session);
        let today = self.calendar.today().await?;
        let remove = Call::script(&DELETE_IF_EQUAL, key.clone()).arg(user.as_str());
        let [removed, held] = self.in_order([remove, self.call(&holds, today)]).await?;
        removed.map_err(refusal)?;
        if is_held(&self.finish(&holds, held).await?) {
            let put_back = Call::command("SET", key).arg(user.as_str()).arg("NX");
            self.servers.one(put_back).await.map_err(unreached)?.map_err(refusal)?;
        }
        Ok(())
    }

    async fn in_order<const N: usize>(&self, calls: [Call; N]) -> Result<[super::call::Reply; N]> {
        let replies = self.servers.in_order(&calls).await.map_err(unreached)?;
        replies.try_into().map_err(|_| unexpected())
    }
}

fn holds_task(user: &UserId, session: &SessionId) -> Task {
    Task::new(&HOLDS_SESSION, user, vec![session_json(session)])
}

fn is_held(values: &[Value]) -> bool {
    values.first().and_then(text_of).as_deref() == Some("1")
}
