//! A configuration as text, key by key, and what one has differently from another.

use std::collections::BTreeMap;
use std::fmt;

use super::draft::listener_path;
use super::key::{Effect, Key};
use super::keys::Keys;
use super::tls::ListeningTls;
use super::{Config, Listen, Peer, peers};

/// Stands where an element of a list has no counterpart.
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
    listed.extend(listed_peers(&keys, &config.peers));
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

fn listed_peers(keys: &Keys, entries: &[Peer]) -> Vec<(String, String)> {
    let of_entry = |(index, entry): (usize, &Peer)| {
        let shown = |key: &Key<Peer>| {
            (peers::path(index, &key.path), key.form.held.shown(&mut entry.clone()))
        };
        keys.of_peer.iter().map(shown).collect::<Vec<_>>()
    };
    entries.iter().enumerate().flat_map(of_entry).collect()
}

/// What `new` has differently from `old`, in the order of the reference. What a reload would not put
/// in force waits for a restart.
pub(super) fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut merged = with_live_keys(old, new);
    let (keys, mut old, mut new) = (Keys::all(), old.clone(), new.clone());
    let lists = [&old, &new, &merged].map(|config| listed_listeners(&keys, &config.listen));
    let mut changes = element_changes(&lists);
    let lists = [&old, &new, &merged].map(|config| listed_peers(&keys, &config.peers));
    changes.extend(element_changes(&lists));
    for key in &keys.of_config {
        let held = &key.form.held;
        if !held.is_same(&mut old, &mut new) {
            changes.push(Change {
                key: key.path.clone(),
                old: held.shown(&mut old),
                new: held.shown(&mut new),
                effect: effect_if(held.is_same(&mut merged, &mut new)),
            });
        }
    }
    changes
}

fn effect_if(is_in_force: bool) -> Effect {
    if is_in_force { Effect::Live } else { Effect::Restart }
}

/// Elements of a list are told apart by their place in it. The lists are those of the old
/// configuration, of the new one, and of the one that a reload puts in force.
fn element_changes(lists: &[Vec<(String, String)>; 3]) -> Vec<Change> {
    let mut all: BTreeMap<&String, [Option<&String>; 3]> = BTreeMap::new();
    for (place, list) in lists.iter().enumerate() {
        for (key, value) in list {
            all.entry(key).or_default()[place] = Some(value);
        }
    }
    // Of a whole element that came or went only what it says is told.
    let says = |value: &Option<&String>| value.is_some_and(|value| !value.is_empty());
    let differing = all.into_iter().filter(|(_, [old, new, _])| old != new);
    let differing = differing
        .filter(|(_, [old, new, _])| (old.is_some() && new.is_some()) || says(old) || says(new));
    let or_none = |value: Option<&String>| value.map_or(NONE, String::as_str).to_owned();
    differing
        .map(|(key, [old, new, merged])| Change {
            effect: effect_if(merged == new),
            key: key.clone(),
            old: or_none(old),
            new: or_none(new),
        })
        .collect()
}

/// `old` with all of `new` that takes effect without a restart.
pub(super) fn with_live_keys(old: &Config, new: &Config) -> Config {
    let (mut merged, mut new) = (old.clone(), new.clone());
    merged.peers.clone_from(&new.peers);
    for key in Keys::all().of_config {
        match key.effect {
            Effect::Live => key.form.held.take(&mut merged, &mut new),
            Effect::Restart => {}
        }
    }
    keep_or_take(&mut merged.admin.tls, &old.admin.tls);
    // A listener that is another one now has nothing to do with the one that listens.
    let both = merged.listen.iter_mut().zip(&new.listen);
    for (listen, new) in both.filter(|(listen, new)| listen.address == new.address) {
        let old = std::mem::replace(&mut listen.tls, new.tls.clone());
        keep_or_take(&mut listen.tls, &old);
    }
    merged
}

/// Nobody who connects in the clear is met with TLS by a reload, and nobody who counts on TLS finds
/// it gone.
fn keep_or_take(merged: &mut ListeningTls, old: &ListeningTls) {
    if merged.is_on() != old.is_on() {
        merged.clone_from(old);
    }
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
        new.listen.push(Listen {
            address: "h:1".to_owned(),
            framing: Framing::Lf,
            tls: ListeningTls::default(),
        });
        new.admin.token = Some(Secret::new("hunter2hunter2hunter2"));
        let mut secret = new.clone();
        secret.admin.token = Some(Secret::new("hunter3hunter3hunter3"));
        secret.store.url = StoreUrl::Redis(Secret::new("redis://u:hunter3@h:1/0"));
        assert_eq!(
            said(&old, &new),
            [
                "listen[1].address: none -> h:1",
                "listen[1].framing: none -> lf",
                "listen[1].tls.client_auth: none -> required",
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
