//! What the room service wants signaling to do to a user: forwarded, and answered once signaling
//! has answered.

use tokio::time::Instant;

use super::{Call, Context, Failure, Reply, RoomId, UserId};
use crate::upstream::{CallError, message};

/// A room command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub command: Command,
    /// To whom.
    pub user: UserId,
    /// In which room; forwarded as given, null included.
    pub room: Option<RoomId>,
}

/// What signaling is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Warn the user.
    Alert {
        /// How many alerts the user has now.
        alert_count: Option<i64>,
    },
    /// Throw the user out.
    KickOut,
    /// Throw the user out, for the third alert.
    KickOutByAlert,
    /// Make the user the room's owner.
    Delegate,
}

impl Command {
    /// The message's `type`, the same on the way in and out.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Alert { .. } => "ALERT",
            Self::KickOut => "KICK_OUT",
            Self::KickOutByAlert => "KICK_OUT_BY_ALERT",
            Self::Delegate => "DELEGATE",
        }
    }
}

/// Forwards the command.
pub async fn handle(request: Request, context: &Context, mut call: Call) -> Result<Reply, Failure> {
    let Request { command, user, room } = request;
    // What this connection said about the user before reaches its service first.
    let peer = "signaling";
    let in_time = call.turn.wait(call.deadline).await;
    // Whoever spent all its time in line has not found out that the service can't be reached.
    if in_time.is_err() || Instant::now() >= call.deadline {
        return Err(Failure::about(&user)(CallError::Timeout { peer, sent: false }));
    }
    let message = message::RoomCommand { kind: command, user: &user, room }.to_json();
    // In a box, as otherwise every request of any kind would make room for it.
    let answered = Box::pin(context.upstream.signaling.call(&message, call.deadline)).await;
    answered.map_err(Failure::about(&user))?;
    Ok(Reply::Empty)
}
