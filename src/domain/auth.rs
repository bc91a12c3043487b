//! What the auth service asks: a user's study time, for the profile page.

use super::{Context, Failure, Reply, UserId};
use crate::store::StateStore;

/// A message of the auth service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// STUDY_TIME_FROM_TCP: how long has the user studied today?
    StudyTimeFrom {
        /// Who.
        user: UserId,
    },
}

/// Does what the message asks.
pub async fn handle(request: Request, context: &Context) -> Result<Reply, Failure> {
    match request {
        Request::StudyTimeFrom { user } => {
            let study_time = context.store.study_time(&user).await;
            let study_time = study_time.map_err(Failure::about(&user))?;
            Ok(Reply::StudyTime { user, study_time })
        }
    }
}
