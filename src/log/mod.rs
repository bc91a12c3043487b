//! The log: what people read at night, and collectors all day.

mod chain;
mod filter;

use std::io::IsTerminal;

use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

pub use chain::{Chain, chain};
pub use filter::{Filter, FilterError, check};

use crate::config::{self, LogFormat};

/// The log can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `log.level` is no filter.
    #[error("log.level is no filter")]
    Filter(#[from] FilterError),
    /// This process has one already.
    #[error("there is a log already")]
    Again(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up the log of this process; once in its life.
pub fn start(log: &config::Log) -> Result<Filter, StartError> {
    let (filter, filter_layer) = Filter::new(&log.level)?;
    let on_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let format = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Auto if !on_terminal => lines.json().flatten_event(true).boxed(),
        LogFormat::Text | LogFormat::Auto => lines.with_ansi(on_terminal).boxed(),
    };
    tracing_subscriber::registry().with(filter_layer).with(format).try_init()?;
    // A panic costs one task; it must be seen where everything else is seen.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(filter)
}
