//! The log: what people read at night, and collectors all day.

mod chain;
mod filter;
mod journald;
mod outlet;
mod sink;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

pub use chain::{Chain, chain};
pub use filter::{Filter, FilterError, check};

use self::journald::Journal;
use self::outlet::Outlet;
use self::sink::Sink;
use crate::config::{self, LogFormat};
use crate::throttle::{self, Cause};

/// The log can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `log.level` is no filter.
    #[error("log.level is no filter")]
    Filter(#[from] FilterError),
    /// The thread that writes can't be started.
    #[error("the log's thread can't be started")]
    Thread(#[source] io::Error),
    /// There are no more sockets.
    #[error("the journal can't be spoken to")]
    Journal(#[source] io::Error),
    /// This process has one already.
    #[error("there is a log already")]
    Again(#[from] tracing_subscriber::util::TryInitError),
}

/// The log's way out, once it is set up.
static OUTLET: OnceLock<Outlet> = OnceLock::new();

/// As what lines leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dress {
    Text { colours: bool },
    Json,
    Journald,
}

/// Sets up the log of this process; once in its life.
pub fn start(log: &config::Log) -> Result<Filter, StartError> {
    let (filter, filter_layer) = Filter::new(&log.level)?;
    throttle::allow(log.max_repeats as u64);
    let dress = Dress::of(log.format);
    let sink = match dress {
        Dress::Text { .. } | Dress::Json => Sink::Stderr,
        Dress::Journald => {
            let journal =
                Journal::at(log.journald_socket.clone().into()).map_err(StartError::Journal)?;
            Sink::journal(journal)
        }
    };
    let outlet = Outlet::open(sink, log.max_unwritten_bytes).map_err(StartError::Thread)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(outlet.clone());
    let lines = match dress {
        Dress::Text { colours } => lines.with_ansi(colours).boxed(),
        Dress::Json => lines.json().flatten_event(true).boxed(),
        Dress::Journald => {
            lines.json().flatten_event(true).with_file(true).with_line_number(true).boxed()
        }
    };
    tracing_subscriber::registry().with(filter_layer).with(lines).try_init()?;
    OUTLET.get_or_init(|| outlet);
    // A panic costs one task; it must be seen where everything else is seen.
    std::panic::set_hook(Box::new(|panic| {
        if throttle::admits(Cause::Panicked) {
            // In one line, as everything is.
            tracing::error!("{}", panic.to_string().replace('\n', " "));
        }
    }));
    Ok(filter)
}

/// Lines that were lost because nobody read them in time, or at all.
pub fn lost_lines() -> u64 {
    OUTLET.get().map_or(0, Outlet::lost)
}

/// Held for as long as the process logs: when it is dropped, the last lines are written, unless
/// nobody takes them.
#[derive(Debug)]
pub struct LastLines;

impl Drop for LastLines {
    fn drop(&mut self) {
        if let Some(outlet) = OUTLET.get() {
            outlet.flush();
        }
    }
}

impl Dress {
    fn of(format: LogFormat) -> Self {
        let on_terminal = io::stderr().is_terminal();
        match format {
            LogFormat::Text => Self::Text { colours: on_terminal },
            LogFormat::Json => Self::Json,
            LogFormat::Journald => Self::Journald,
            LogFormat::Auto if on_terminal => Self::Text { colours: true },
            LogFormat::Auto if sink::stderr_is_journal() => Self::Journald,
            LogFormat::Auto => Self::Json,
        }
    }
}
