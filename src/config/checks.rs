//! Texts whose grammar belongs to a library: time zones and log filters.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::mistake::nearest;

/// What may stand at `log.level`, for people.
pub(super) const FILTER_EXPECTED: &str = "\"off\", \"error\", \"warn\", \"info\", \"debug\", \
     \"trace\" or a filter as in \"info,stated::store=debug\"";

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

/// Checks a log filter.
pub(super) fn log_filter(filter: &str) -> Result<String, String> {
    let checked = crate::log::check(filter).map_err(|error| error.to_string());
    checked.map(|()| filter.to_owned())
}
