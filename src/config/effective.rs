//! A configuration as text, key by key, and what one has differently from another.

use std::collections::BTreeMap;
use std::fmt;

use super::draft::listener_path;
use super::key::Effect;
use super::keys::Keys;
use super::{Config, Listen};

/// Stands where a listener has no counterpart.
const NONE: &str = "none";

/// A key of which two configurations have different values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The dotted key: `gateways.room.pool_size`, `listen[0].address`.
    pub key: String,
    /// The value before, without secrets.
    pub old: String,
    /// The value afterwards, without secrets.
    pub new: String,
    /// When it takes effect.
    pub effect: Effect,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, old, new, effect: _ } = self;
        let [old, new] = [old, new].map(|value| if value.is_empty() { "\"\"" } else { value });
        if old == new {
            return write!(f, "{key}: {old} -> the same but for what is not shown");
        }
        write!(f, "{key}: {old} -> {new}")
    }
}

/// Every key with its value. Secrets are left out or masked.
pub(super) fn listed(config: &Config) -> Vec<(String, String)> {
    let (keys, mut config) = (Keys::all(), config.clone());
    let mut listed = listed_listeners(&keys, &config.listen);
    for key in &keys.of_config {
        listed.push((key.path.clone(), key.form.held.shown(&mut config)));
    }
    listed
}

fn listed_listeners(keys: &Keys, listen: &[Listen]) -> Vec<(String, String)> {
    let mut listed = Vec::new();
    for (index, listen) in listen.iter().enumerate() {
        for key in &keys.of_listener {
            let shown = key.form.held.shown(&mut listen.clone());
            listed.push((listener_path(index, &key.path), shown));
        }
    }
    listed
}

/// What `new` has differently from `old`, in the order of the reference.
pub(super) fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let (keys, mut old, mut new) = (Keys::all(), old.clone(), new.clone());
    let mut changes = listener_changes(&keys, &old.listen, &new.listen);
    for key in &keys.of_config {
        if !key.form.held.is_same(&mut old, &mut new) {
            changes.push(Change {
                key: key.path.clone(),
                old: key.form.held.shown(&mut old),
                new: key.form.held.shown(&mut new),
                effect: key.effect,
            });
        }
    }
    changes
}

/// Listeners are told apart by their place in the list.
fn listener_changes(keys: &Keys, old: &[Listen], new: &[Listen]) -> Vec<Change> {
    let mut both: BTreeMap<String, [Option<String>; 2]> = BTreeMap::new();
    for (key, value) in listed_listeners(keys, old) {
        both.entry(key).or_default()[0] = Some(value);
    }
    for (key, value) in listed_listeners(keys, new) {
        both.entry(key).or_default()[1] = Some(value);
    }
    let differing = both.into_iter().filter(|(_, [old, new])| old != new);
    let or_none = |value: Option<String>| value.unwrap_or_else(|| NONE.to_owned());
    differing
        .map(|(key, [old, new])| Change {
            key,
            old: or_none(old),
            new: or_none(new),
            effect: Effect::Restart,
        })
        .collect()
}

/// `old` with all of `new` that takes effect without a restart.
pub(super) fn with_live_keys(old: &Config, new: &Config) -> Config {
    let (mut merged, mut new) = (old.clone(), new.clone());
    for key in Keys::all().of_config {
        match key.effect {
            Effect::Live => key.form.held.take(&mut merged, &mut new),
            Effect::Restart => {}
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use super::*;
    use crate::config::{Secret, Sources, StoreUrl, environment, load};
    use crate::connection::frame::Framing;

    fn said(old: &Config, new: &Config) -> Vec<String> {
        changes(old, new).iter().map(Change::to_string).collect()
    }

    #[test]
    fn what_is_listed_can_be_read_again() {
        let mut config = Config::default();
        config.limits.request_timeout = Duration::from_micros(90_061_500);
        config.limits.max_frame_bytes = 1000;
        config.gateways.room.framing = Framing::Crlf;
        config.rollover.stamp = true;
        let variable = |(key, value): (String, String)| {
            let name = key.replace('[', "__").replace(']', "");
            (OsString::from(environment::variable(&name)), OsString::from(value))
        };
        let environment = config.listed().into_iter().map(variable).collect();
        assert_eq!(load(&Sources { environment, ..Sources::default() }).unwrap(), config);
    }

    #[test]
    fn a_change_is_told_key_by_key_and_without_secrets() {
        let old = Config::default();
        assert_eq!(said(&old, &old), [""; 0]);
        let mut new = old.clone();
        new.limits.max_in_flight = 5;
        new.rollover.last_timeout = Duration::from_secs(90);
        new.store.url = StoreUrl::Redis(Secret::new("redis://u:hunter2@h:1/0"));
        new.listen.push(Listen { address: "h:1".to_owned(), framing: Framing::Lf });
        new.admin.token = Some(Secret::new("hunter2hunter2hunter2"));
        let mut secret = new.clone();
        secret.admin.token = Some(Secret::new("hunter3hunter3hunter3"));
        secret.store.url = StoreUrl::Redis(Secret::new("redis://u:hunter3@h:1/0"));
        assert_eq!(
            said(&old, &new),
            [
                "listen[1].address: none -> h:1",
                "listen[1].framing: none -> lf",
                "limits.max_in_flight: 64 -> 5",
                "store.url: embedded:./stated-data -> redis://h:1/0",
                "rollover.last_timeout: 10m -> 1m 30s",
                "admin.token: \"\" -> ***",
            ]
        );
        assert_eq!(
            said(&new, &secret),
            [
                "store.url: redis://h:1/0 -> the same but for what is not shown",
                "admin.token: *** -> the same but for what is not shown",
            ]
        );
    }
}
