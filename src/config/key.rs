//! What is known of one key, and how keys become keys of a larger whole.

use super::Config;
use super::form::Form;

/// A key of a `T`.
pub(super) struct Key<T> {
    /// Within the whole: `limits.max_in_flight`; for a key of an array's element, within that.
    pub(super) path: String,
    /// As a variable would hold it.
    pub(super) default: &'static str,
    /// What may stand there, and how it is read.
    pub(super) form: Form<T>,
    /// When a change of it takes effect.
    pub(super) effect: Effect,
    /// One sentence.
    pub(super) meaning: &'static str,
}

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// With a reload.
    Live,
    /// With a restart only.
    Restart,
}

impl Effect {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Restart => "restart",
        }
    }
}

impl<T> Key<T> {
    /// The same, taking effect with a reload.
    pub(super) fn live(self) -> Self {
        Self { effect: Effect::Live, ..self }
    }
}

/// A key whose change waits for a restart, unless it is made [`Key::live`].
pub(super) fn key<T>(
    name: &'static str,
    default: &'static str,
    form: Form<T>,
    meaning: &'static str,
) -> Key<T> {
    Key { path: name.to_owned(), default, form, effect: Effect::Restart, meaning }
}

/// The keys of one table, as keys of the whole.
pub(super) fn section<T: 'static>(
    table: &'static str,
    part: fn(&mut Config) -> &mut T,
    keys: Vec<Key<T>>,
) -> Vec<Key<Config>> {
    within(table, part, keys)
}

/// The keys of one table, as keys of what it is part of.
pub(super) fn within<T: 'static, U: 'static>(
    table: &'static str,
    part: fn(&mut U) -> &mut T,
    keys: Vec<Key<T>>,
) -> Vec<Key<U>> {
    let whole = |Key { path, default, form, effect, meaning }: Key<T>| Key {
        path: format!("{table}.{path}"),
        default,
        form: form.inside(part),
        effect,
        meaning,
    };
    keys.into_iter().map(whole).collect()
}

/// Keys that all take effect with a reload.
pub(super) fn live<T>(keys: Vec<Key<T>>) -> Vec<Key<T>> {
    keys.into_iter().map(Key::live).collect()
}
