//! Which lines are written: a level, or levels for parts of the program; changeable while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::reload;

use crate::config::mistake::nearest;

/// The longest filter, in bytes: it comes over the network too.
const FILTER_BYTES_MAX: usize = 2_000;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What decides which lines are written. Clones are one filter. A line that it does not let through
/// costs a load and a branch where it would have been written, and nothing more: each place in the
/// program remembers the answer until the filter is changed.
#[derive(Debug, Clone)]
pub struct Filter {
    layer: reload::Handle<Targets, Registry>,
    /// As it was given; locked for as long as the layer is changed too, so that the two agree.
    directives: Arc<Mutex<String>>,
}

/// What is wrong with a filter's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A word that is neither a level nor has one.
    #[error("no such level; {0}")]
    NoSuchLevel(String),
    /// Right levels, and yet no filter.
    #[error("{0:?} is not written MODULE=LEVEL")]
    NoDirective(String),
    /// Too much of it.
    #[error("the filter is {0} bytes long, at most {FILTER_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// There is nothing whose filter it would be: the log has ended.
    #[error("the log has ended")]
    Ended,
}

impl Filter {
    /// The filter, and the layer that goes by it.
    pub(super) fn new(
        directives: &str,
    ) -> Result<(Self, reload::Layer<Targets, Registry>), FilterError> {
        let (layer, handle) = reload::Layer::new(parse(directives)?);
        let directives = Arc::new(Mutex::new(directives.to_owned()));
        Ok((Self { layer: handle, directives }, layer))
    }

    /// A filter of no log, for a daemon within a program whose log is its own: it can't be changed.
    pub fn of_no_log() -> Self {
        let (_, layer) = reload::Layer::new(Targets::new());
        Self { layer, directives: Arc::new(Mutex::new("off".to_owned())) }
    }

    /// The filter in force, as it was given: `info,stated::store=debug`.
    pub fn current(&self) -> String {
        self.directives.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another in force, from the next line on. If there is something wrong with it, the one in
    /// force stays.
    pub fn set(&self, directives: &str) -> Result<(), FilterError> {
        let targets = parse(directives)?;
        let mut current = self.directives.lock().unwrap_or_else(PoisonError::into_inner);
        self.layer.reload(targets).map_err(|_| FilterError::Ended)?;
        directives.clone_into(&mut current);
        Ok(())
    }
}

/// Checks a filter's text.
pub fn check(directives: &str) -> Result<(), FilterError> {
    parse(directives).map(drop)
}

/// A lone word that is no level is refused, though the library takes it for the name of a module: it
/// is nearly always a misspelt level, and it would silence all others.
fn parse(directives: &str) -> Result<Targets, FilterError> {
    if directives.len() > FILTER_BYTES_MAX {
        return Err(FilterError::TooLong(directives.len()));
    }
    let directives: Vec<_> = directives.split(',').map(str::trim).collect();
    for directive in &directives {
        let (module, level) = directive.rsplit_once('=').unwrap_or(("", directive));
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err(no_such_level(module, level));
        }
        let is_odd = |c: char| c.is_whitespace() || c == '=';
        if directive.contains('=') && (module.is_empty() || module.contains(is_odd)) {
            return Err(FilterError::NoDirective((*directive).to_owned()));
        }
    }
    let text = directives.join(",");
    text.parse().map_err(|_| FilterError::NoDirective(text))
}

fn no_such_level(module: &str, level: &str) -> FilterError {
    FilterError::NoSuchLevel(match nearest(level, LEVELS) {
        Some(level) => format!("did you mean \"{level}\"?"),
        None if module.is_empty() => "a module's is written MODULE=LEVEL".to_owned(),
        None => format!("there are {}", LEVELS.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_level_and_levels_of_modules_are_a_filter() {
        for good in [
            "off",
            "WARN",
            "info,stated::store=trace",
            " info , stated=debug",
            "stated[{peer}]=debug",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_reason() {
        for (bad, why) in [
            ("inof", "no such level; did you mean \"info\"?"),
            ("stated", "no such level; a module's is written MODULE=LEVEL"),
            ("info,", "no such level; a module's is written MODULE=LEVEL"),
            ("", "no such level; a module's is written MODULE=LEVEL"),
            ("stated=3", "no such level; there are off, error, warn, info, debug, trace"),
            ("stated=wran", "no such level; did you mean \"warn\"?"),
            ("=info", "\"=info\" is not written MODULE=LEVEL"),
            ("stated store=info", "\"stated store=info\" is not written MODULE=LEVEL"),
            (
                "stated[{user.id=u1}]=debug",
                "\"stated[{user.id=u1}]=debug\" is not written MODULE=LEVEL",
            ),
            ("stated[{a[{b}]=debug", "\"stated[{a[{b}]=debug\" is not written MODULE=LEVEL"),
        ] {
            assert_eq!(check(bad).unwrap_err().to_string(), why, "{bad}");
        }
        let long = "x".repeat(FILTER_BYTES_MAX + 1);
        assert_eq!(check(&long), Err(FilterError::TooLong(FILTER_BYTES_MAX + 1)));
    }

    #[test]
    fn a_changed_filter_counts_from_the_next_line_on_and_a_wrong_one_changes_nothing() {
        let (filter, layer) = Filter::new("warn").unwrap();
        let lets_through = || tracing::enabled!(target: "stated::store", tracing::Level::DEBUG);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            assert!(!lets_through());
            filter.set("warn,stated::store=debug").unwrap();
            assert!(lets_through());
            assert_eq!(filter.current(), "warn,stated::store=debug");
            assert!(filter.set("warn,stated::store=loud").is_err());
            assert!(lets_through());
            assert_eq!(filter.clone().current(), "warn,stated::store=debug");
            filter.set("off").unwrap();
            assert!(!lets_through());
        });
    }

    #[test]
    fn a_filter_without_its_log_says_so() {
        let (filter, layer) = Filter::new("warn").unwrap();
        drop(layer);
        assert_eq!(filter.set("info"), Err(FilterError::Ended));
        assert_eq!(filter.current(), "warn");
    }
}
