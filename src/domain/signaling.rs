//! What the signaling service says when a user enters or leaves: the study time, out and in.

use super::{Call, Context, Failure, Reply, StudyTime, UserId};
use crate::config::StudyTimeReply;
use crate::store::StateStore;
use crate::upstream::{OwnerReply, RoomOut};

/// A message of the signaling service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// STUDY_TIME_FROM_TCP: the user enters; from which study time does the timer go on?
    StudyTimeFrom {
        /// Who.
        user: UserId,
    },
    /// STUDY_TIME_TO_TCP: the user leaves, with this study time.
    StudyTimeTo {
        /// Who.
        user: UserId,
        /// The day's study time so far.
        study_time: StudyTime,
    },
}

/// Does what the message asks.
pub async fn handle(request: Request, context: &Context, call: Call) -> Result<Reply, Failure> {
    match request {
        Request::StudyTimeFrom { user } => {
            let study_time = context.store.study_time(&user).await;
            let study_time = study_time.map_err(Failure::about(&user))?;
            Ok(Reply::StudyTime { user, study_time })
        }
        Request::StudyTimeTo { user, study_time } => leave(user, study_time, context, call).await,
    }
}

/// The study time is stored first and in any case; then the room service counts the user out.
async fn leave(
    user: UserId,
    study_time: StudyTime,
    context: &Context,
    call: Call,
) -> Result<Reply, Failure> {
    let recorded = context.store.record_study_time(&user, &study_time).await;
    let record = recorded.map_err(Failure::about(&user))?;
    // Without a room there is nobody to tell: the room service fails on a null room_id.
    let room_out = record.room.map(|room| RoomOut { user: user.clone(), room, turn: call.turn });
    let study_time_reply = context.running.now().config.signaling.study_time_reply;
    match study_time_reply {
        StudyTimeReply::StudyTime => {
            if let Some(room_out) = room_out {
                context.upstream.room.tell(room_out);
            }
            Ok(Reply::StudyTime { user, study_time: Some(study_time) })
        }
        StudyTimeReply::WithOwner => {
            let owner = match room_out {
                // In a box, as otherwise every request of any kind would make room for it.
                Some(room_out) => {
                    Box::pin(context.upstream.room.ask(room_out, call.deadline)).await
                }
                None => OwnerReply::Keep,
            };
            Ok(Reply::StudyTimeWithOwner { user, study_time, owner })
        }
    }
}
