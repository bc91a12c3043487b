//! What is logged, shown and changed while the daemon works.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::parameter::{Body, NoParameters};
use crate::admin::Desk;
use crate::admin::answer::{Answer, Refusal, found};
use crate::log::FilterError;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogFilter {
    filter: String,
}

pub(super) async fn show(State(desk): State<Arc<Desk>>, _: NoParameters) -> Answer<LogFilter> {
    found(LogFilter { filter: desk.filter.current() })
}

/// It stays until the next change, or until the configuration is read again.
pub(super) async fn change(
    State(desk): State<Arc<Desk>>,
    _: NoParameters,
    Body(wanted): Body<LogFilter>,
) -> Answer<LogFilter> {
    let before = desk.filter.current();
    match desk.filter.set(&wanted.filter) {
        Ok(()) => {
            let filter = desk.filter.current();
            tracing::info!(before, filter, "an operator changed what is logged");
            found(LogFilter { filter })
        }
        Err(error @ FilterError::Ended) => Err(Refusal::Unavailable(error.to_string())),
        Err(
            error @ (FilterError::NoSuchLevel(_)
            | FilterError::NoDirective(_)
            | FilterError::TooLong(_)),
        ) => Err(Refusal::Wrong(error.to_string())),
    }
}
