//! `STATUS`: how the daemon is, in one line for people.

use std::fmt::Write as _;

use super::vitals::{StoreState, Vitals};
use crate::domain::UnixMillis;
use crate::log::chain;
use crate::reload::Refused;
use crate::store::Night;

/// What is said while the configuration is read.
pub(super) const RELOADING: &str = "reading the configuration again";

/// What became of the latest reload.
#[derive(Debug)]
pub(super) enum Reload {
    /// There was none.
    None,
    Applied {
        at: UnixMillis,
    },
    Refused {
        at: UnixMillis,
        /// In one line.
        why: String,
    },
}

impl Reload {
    /// That was carried out just now; with why it changed nothing, if so.
    pub(super) fn now(refused: Option<&Refused>) -> Self {
        let at = UnixMillis::now();
        match refused {
            None => Self::Applied { at },
            Some(refused) => Self::Refused { at, why: first_line(refused) },
        }
    }
}

/// Of a daemon that is ready.
pub(super) fn serving(vitals: &Vitals, store: &StoreState, reload: &Reload) -> String {
    let (connections, in_flight) = (vitals.connections(), vitals.in_flight());
    let (store, configuration) = (said(store), configuration(vitals, reload));
    format!("serving; connections: {connections}; in flight: {in_flight}; {store}{configuration}")
}

/// Of a daemon whose store has not answered yet.
pub(super) fn waiting(vitals: &Vitals, store: &StoreState, reload: &Reload) -> String {
    format!("waiting for the store; {}{}", said(store), configuration(vitals, reload))
}

/// Of a daemon right after a reload: nobody was asked anything yet.
pub(super) fn reloaded(vitals: &Vitals, reload: &Reload) -> String {
    format!("serving{}", configuration(vitals, reload))
}

/// What is to be known of the configuration, if anything is.
fn configuration(vitals: &Vitals, reload: &Reload) -> String {
    let mut said = match reload {
        Reload::None => String::new(),
        Reload::Applied { at } => format!("; reloaded at {}", time(*at)),
        Reload::Refused { at, why } => format!("; reload refused at {}: {why}", time(*at)),
    };
    let needs_restart = vitals.needs_restart();
    if !needs_restart.is_empty() {
        // Writing into a text does not fail.
        let _written = write!(said, "; a restart is needed for {}", needs_restart.join(", "));
    }
    said
}

/// The first of several lines, and how many follow.
fn first_line(refused: &Refused) -> String {
    let text = chain(refused).to_string();
    match refused {
        Refused::NotAgain(_) | Refused::Slow(_) | Refused::Unread(_) | Refused::Log(_) => text,
        Refused::Configuration(errors) => match errors.mistakes.as_slice() {
            [] => text,
            [only] => only.to_string(),
            [first, more @ ..] => format!("{first} (and {} more)", more.len()),
        },
    }
}

/// To the second, in UTC.
fn time(at: UnixMillis) -> jiff::Timestamp {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX)
}

fn said(store: &StoreState) -> String {
    match store {
        StoreState::Answers(night) => format!("the store answers; {}", stands(night)),
        StoreState::Fails(error) => error.clone(),
        StoreState::Silent(patience) => format!("the store did not answer within {patience:?}"),
    }
}

fn stands(night: &Night) -> String {
    let day = night.day.0;
    let listing = if night.listed_at.is_some() { ", being listed" } else { "" };
    match night.undelivered.as_slice() {
        [] => format!("day {day}{listing}, all closed days delivered"),
        [first, ..] => format!(
            "day {day}{listing}, closed days undelivered: {} from day {} on",
            night.undelivered.len(),
            first.day.0
        ),
    }
}
