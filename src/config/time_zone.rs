//! A time zone by the name people know it by.

use std::fmt;

use jiff::tz::TimeZoneDatabase;

use super::mistake::nearest;

/// A time zone that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone {
    /// As it was asked for.
    name: String,
    zone: jiff::tz::TimeZone,
}

impl TimeZone {
    /// The time zone with this IANA name: the system's idea of it, which may be newer, else the one
    /// built in. The error says what may have been meant.
    pub fn named(name: &str) -> Result<Self, String> {
        let bundled = TimeZoneDatabase::bundled();
        match jiff::tz::db().get(name).or_else(|_| bundled.get(name)) {
            Ok(zone) => Ok(Self { name: name.to_owned(), zone }),
            Err(_) => {
                let names: Vec<_> = bundled.available().map(|name| name.to_string()).collect();
                Err(match nearest(name, names.iter().map(String::as_str)) {
                    Some(known) => format!("no such time zone; did you mean \"{known}\"?"),
                    None => "no such time zone".to_owned(),
                })
            }
        }
    }

    /// The one of the clock itself.
    pub(super) fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: jiff::tz::TimeZone::UTC }
    }

    /// What dates are found with.
    pub fn zone(&self) -> &jiff::tz::TimeZone {
        &self.zone
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
