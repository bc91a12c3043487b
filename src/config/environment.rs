//! Environment variables: `STATED_` and the key, `__` for each dot.

use std::ffi::OsString;

use super::draft::{Draft, listener_path};
use super::keys::Keys;
use super::mistake::{Mistake, Place, Problem, nearest};
use super::value::Value;

pub(super) const PREFIX: &str = "STATED_";
const LISTEN_PREFIX: &str = "STATED_LISTEN__";

/// Lays the variables over the draft. A variable with `__` in its name that names no key is a
/// mistake; one without is somebody else's (Kubernetes sets `STATED_PORT` and the like for a
/// service of that name), unless it is a key's but for a missing underscore.
pub(super) fn read(variables: &[(OsString, OsString)], keys: &Keys, draft: &mut Draft) {
    let mut ours: Vec<_> = variables
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    // A listener is added after the one before it.
    ours.sort_by_key(|(name, _)| (listener(name).map(|(index, _)| index), *name));
    for (name, value) in ours {
        match value.to_str() {
            Some(value) => read_one(name, &Value::guess(value), keys, draft),
            None if name.contains("__") => {
                blame(name, Problem::Unreadable("it is not UTF-8".to_owned()), draft);
            }
            None => {}
        }
    }
}

fn read_one(name: &str, value: &Value, keys: &Keys, draft: &mut Draft) {
    let place = Place::Variable(name.to_owned());
    if let Some(key) = keys.of_config.iter().find(|key| variable(&key.path) == name) {
        return draft.set(key, value, place);
    }
    let found = listener(name).and_then(|(index, rest)| {
        Some((index, keys.of_listener.iter().find(|key| name_of(&key.path) == rest)?))
    });
    let next = draft.config.listen.len();
    match found {
        Some((index, key)) if index <= next => draft.set_listener(index, key, value, place),
        Some((index, key)) => {
            let problem = Problem::Value {
                found: format!("listener {index}"),
                why: Some("they are counted from 0".to_owned()),
                expected: format!("at most {next}, which is the next one"),
                nearest: None,
            };
            draft.blame(place, &listener_path(index, &key.path), problem);
        }
        None => blame_unknown(name, keys, draft),
    }
}

/// The variable of a key.
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", name_of(path))
}

fn name_of(path: &str) -> String {
    path.to_uppercase().replace('.', "__")
}

/// Index and key of `STATED_LISTEN__0__ADDRESS`.
fn listener(name: &str) -> Option<(usize, &str)> {
    let (index, key) = name.strip_prefix(LISTEN_PREFIX)?.split_once("__")?;
    Some((index.parse().ok()?, key))
}

fn blame_unknown(name: &str, keys: &Keys, draft: &mut Draft) {
    let index = listener(name).map_or(0, |(index, _)| index);
    let of_config = keys.of_config.iter().map(|key| variable(&key.path));
    let of_listener = keys.of_listener.iter();
    let of_listener =
        of_listener.map(|key| format!("{LISTEN_PREFIX}{index}__{}", name_of(&key.path)));
    let known: Vec<_> = of_config.chain(of_listener).collect();
    let plain = |name: &str| name.replace('_', "");
    let same = known.iter().find(|known| plain(known) == plain(name)).map(String::as_str);
    if same.is_none() && !name.contains("__") {
        return;
    }
    let nearest = same.or_else(|| nearest(name, known.iter().map(String::as_str)));
    let problem = Problem::UnknownKey {
        nearest: nearest.map(str::to_owned),
        allowed: "a key's variable is STATED_ and the key, with __ for each dot".to_owned(),
    };
    blame(name, problem, draft);
}

fn blame(name: &str, problem: Problem, draft: &mut Draft) {
    let place = Place::Variable(name.to_owned());
    draft.mistakes.push(Mistake { place, key: None, problem });
}
