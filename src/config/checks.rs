//! Texts whose grammar belongs to a library: time zones and log filters.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use tracing_subscriber::EnvFilter;

use super::mistake::nearest;

/// What may stand at `log.level`, for people.
pub(super) const FILTER_EXPECTED: &str = "\"off\", \"error\", \"warn\", \"info\", \"debug\", \
     \"trace\" or a filter as in \"info,stated::store=debug\"";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The time zone of this name: the system's, which may be newer, else the one built in.
pub(super) fn find_time_zone(name: &str) -> Option<TimeZone> {
    let found = jiff::tz::db().get(name);
    found.or_else(|_| TimeZoneDatabase::bundled().get(name)).ok()
}

/// Checks the name of a time zone.
pub(super) fn time_zone(name: &str) -> Result<String, String> {
    if find_time_zone(name).is_some() {
        return Ok(name.to_owned());
    }
    let bundled = TimeZoneDatabase::bundled();
    let names: Vec<_> = bundled.available().map(|name| name.to_string()).collect();
    Err(match nearest(name, names.iter().map(String::as_str)) {
        Some(known) => format!("no such time zone; did you mean \"{known}\"?"),
        None => "no such time zone".to_owned(),
    })
}

/// Checks a log filter. A lone word that is no level is refused, though the library takes it for
/// the name of a module: it is nearly always a misspelt level, and it would silence all others.
pub(super) fn log_filter(filter: &str) -> Result<String, String> {
    let part_of_a_span = filter.contains('[');
    for directive in filter.split(',').map(str::trim) {
        let level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive));
        if part_of_a_span || level || directive.contains('=') {
            continue;
        }
        return Err(match nearest(directive, LEVELS) {
            Some(level) => format!("no such level; did you mean \"{level}\"?"),
            None => "no such level; a module's is written MODULE=LEVEL".to_owned(),
        });
    }
    match EnvFilter::builder().parse(filter) {
        Ok(_) => Ok(filter.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
