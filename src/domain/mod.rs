//! What messages mean. Knows no socket and no database.
//!
//! One file for each service that speaks: its messages, what is done about them. A handler's reach
//! is its [`Context`] and nothing else.

pub mod auth;
pub mod chat;
pub mod json;
mod record;
mod reply;
pub mod room;
pub mod scheduling;
mod server;
pub mod signaling;
mod words;

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

pub use record::{Record, UserTime};
pub use reply::Reply;
pub use server::{Server, Servers};
pub use words::{
    Day, ID_BYTES_MAX, InvalidWord, RoomId, STUDY_TIME_BYTES_MAX, SessionId, StudyTime, UnixMillis,
    UserId,
};

use crate::config::running::Running;
use crate::error::Code;
use crate::metrics::Metrics;
use crate::store::{self, Observed};
use crate::upstream::{CallError, Turn, Upstream};

/// All that a handler may touch.
#[derive(Debug)]
pub struct Context {
    /// The state.
    pub store: Arc<Observed>,
    /// The services that are called.
    pub upstream: Arc<Upstream>,
    /// What the operator chose.
    pub running: Arc<Running>,
    /// Told when a day was closed, so that its delivery starts at once.
    pub day_closed: Notify,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The circumstances of one request.
#[derive(Debug)]
pub struct Call {
    /// When the peer must have its answer.
    pub deadline: Instant,
    /// The request's place among the messages about its user that this connection has forwarded.
    pub turn: Turn,
}

/// Why a request could not be fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The session resolves to nobody.
    #[error("the session resolves to nobody")]
    NobodyHasSession,
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A service that had to be called.
    #[error(transparent)]
    Upstream(#[from] CallError),
}

/// A request that could not be fulfilled.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// Why.
    #[source]
    pub why: Error,
    /// Whom the request was about, for the log.
    pub user: Option<UserId>,
}

impl Failure {
    /// Makes a failure of a request about this user.
    fn about<E: Into<Error>>(user: &UserId) -> impl FnOnce(E) -> Self {
        move |why| Self { why: why.into(), user: Some(user.clone()) }
    }
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(why: E) -> Self {
        Self { why: why.into(), user: None }
    }
}

impl Error {
    /// The code that the peer reads.
    pub fn code(&self) -> Code {
        match self {
            Self::NobodyHasSession => Code::UserNotFound,
            Self::Store(_) => Code::UnknownServerError,
            Self::Upstream(error) => match error {
                CallError::Unreachable { .. } => Code::TcpConnectionFailed,
                CallError::Timeout { .. } => Code::TcpTimeout,
                CallError::TooLong { .. }
                | CallError::Refused { .. }
                | CallError::Dropped { .. } => Code::MessageNotDelivered,
            },
        }
    }
}
