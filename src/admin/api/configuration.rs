//! The configuration in force, without its secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::parameter::NoParameters;
use crate::admin::Desk;
use crate::admin::answer::{Answer, Moment, found};
use crate::config::running::Loaded;

#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    #[serde(flatten)]
    glance: Glance,
    file: Option<String>,
    values: BTreeMap<String, String>,
}

/// Which configuration it is.
#[derive(Debug, Serialize)]
pub(super) struct Glance {
    digest: String,
    loaded_at: Moment,
    needs_restart: Vec<String>,
}

pub(super) async fn show(State(desk): State<Arc<Desk>>, _: NoParameters) -> Answer<Configuration> {
    let loaded = desk.context.running.current();
    found(Configuration {
        glance: Glance::of(&loaded),
        file: loaded.file.as_ref().map(|file| file.display().to_string()),
        values: loaded.config.listed().into_iter().collect(),
    })
}

impl Glance {
    pub(super) fn of(loaded: &Loaded) -> Self {
        Self {
            digest: loaded.digest.clone(),
            loaded_at: Moment(loaded.loaded_at),
            needs_restart: loaded.needs_restart.clone(),
        }
    }
}
