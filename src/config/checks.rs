//! Log filters, whose grammar belongs to the log.

/// What may stand at `log.level`, for people.
pub(super) const FILTER_EXPECTED: &str = "\"off\", \"error\", \"warn\", \"info\", \"debug\", \
     \"trace\" or a filter as in \"info,stated::store=debug\"";

/// Checks a log filter.
pub(super) fn log_filter(filter: &str) -> Result<String, String> {
    let checked = crate::log::check(filter).map_err(|error| error.to_string());
    checked.map(|()| filter.to_owned())
}
