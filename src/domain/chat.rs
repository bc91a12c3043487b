//! What the chat service says: a user's socket subscribed, unsubscribed or went away.

use super::{Context, Error, Failure, Reply, RoomId, SessionId, UserId};
use crate::store::StateStore;

/// STOMP commands that chat reports and that change nothing here.
pub const IGNORED_TYPES: [&str; 13] = [
    "CONNECT",
    "STOMP",
    "SEND",
    "MESSAGE",
    "ACK",
    "NACK",
    "BEGIN",
    "COMMIT",
    "ABORT",
    "HEARTBEAT",
    "CONNECTED",
    "RECEIPT",
    "ERROR",
];

/// A message of the chat service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// SUBSCRIBE: the user entered a room with this session.
    Subscribe {
        /// Who.
        user: UserId,
        /// The room entered.
        room: Option<RoomId>,
        /// The session that carries the subscription.
        session: SessionId,
    },
    /// UNSUBSCRIBE or DISCONNECT: the session is over.
    Unsubscribe {
        /// The session; chat does not say whose it was.
        session: SessionId,
    },
    /// Any of [`IGNORED_TYPES`].
    Ignored,
}

/// Does what the message asks.
pub async fn handle(request: Request, context: &Context) -> Result<Reply, Failure> {
    match request {
        Request::Subscribe { user, room, session } => {
            let opened = context.store.open_session(&user, room, &session).await;
            let record = opened.map_err(Failure::about(&user))?;
            Ok(Reply::Record(record))
        }
        Request::Unsubscribe { session } => {
            let record = context.store.close_session(&session).await?;
            Ok(Reply::Record(record.ok_or(Error::NobodyHasSession)?))
        }
        Request::Ignored => Ok(Reply::Empty),
    }
}
