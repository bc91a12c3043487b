//! Log filters, whose grammar belongs to the log, and paths.

/// What may stand at `log.level`, for people.
pub(super) const FILTER_EXPECTED: &str = "\"off\", \"error\", \"warn\", \"info\", \"debug\", \
     \"trace\" or a filter as in \"info,stated::store=debug\"";

/// Checks a log filter.
pub(super) fn log_filter(filter: &str) -> Result<String, String> {
    let checked = crate::log::check(filter).map_err(|error| error.to_string());
    checked.map(|()| filter.to_owned())
}

/// Checks a path that means the same wherever the daemon was started.
pub(super) fn absolute_path(path: &str) -> Result<String, String> {
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err("it does not begin with /".to_owned())
    }
}
