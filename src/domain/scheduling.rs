//! What signaling's scheduler says at night: everybody's study time, and that the day is over.

use super::{Context, Failure, Reply, UnixMillis, UserTime};
use crate::store::StateStore;

/// SCHEDULER or SCHEDULER_LAST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whether the day ends with this frame.
    pub last: Last,
    /// The users of this frame and the last word on their day.
    pub users: Vec<UserTime>,
}

/// Whether a frame is the night's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// SCHEDULER
    No,
    /// SCHEDULER_LAST
    Yes,
}

impl Last {
    /// The frame's `type`.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::No => "SCHEDULER",
            Self::Yes => "SCHEDULER_LAST",
        }
    }
}

/// Does what the message asks.
pub async fn handle(request: Request, context: &Context) -> Result<Reply, Failure> {
    let Request { last, users } = request;
    let now = UnixMillis::now();
    let last_timeout = context.running.now().config.rollover.last_timeout;
    match last {
        Last::No => context.store.list_study_times(&users, now, last_timeout).await?,
        Last::Yes => {
            let closed = context.store.close_day(&users, now, last_timeout).await;
            // An error may be about one user of the list and the day closed all the same.
            context.day_closed.notify_one();
            tracing::info!(day = closed?.0, "day closed, its study times go to auth");
        }
    }
    Ok(Reply::Listing { last, users })
}
