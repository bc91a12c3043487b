//! What is logged, shown and changed while the daemon works.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::parameter::{Body, NoParameters};
use crate::admin::Desk;
use crate::admin::answer::{Answer, Refusal, found};
use crate::admin::server::Asker;
use crate::log::{self, FilterError};

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
    Extension(Asker(peer)): Extension<Asker>,
    _: NoParameters,
    Body(wanted): Body<LogFilter>,
) -> Answer<LogFilter> {
    let (before, filter) = (desk.filter.current(), wanted.filter);
    log::check(&filter).map_err(refusal)?;
    let tell = || tracing::info!(%peer, before, filter, "an operator changes what is logged");
    // It is told by the filter that lets it through: nobody silences the log unseen.
    let is_told_before = tracing::enabled!(tracing::Level::INFO);
    if is_told_before {
        tell();
    }
    desk.filter.set(&filter).map_err(refusal)?;
    if !is_told_before {
        tell();
    }
    found(LogFilter { filter })
}

fn refusal(error: FilterError) -> Refusal {
    match error {
        FilterError::Ended => Refusal::Unavailable(error.to_string()),
        FilterError::NoSuchLevel(_) | FilterError::NoDirective(_) | FilterError::TooLong(_) => {
            Refusal::Wrong(error.to_string())
        }
    }
}
