//! Requests of peers who may not make them, by the entry of `[[peers]]` under which they came.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Since the daemon started, or since an entry of this name is in force.
#[derive(Debug, Default)]
pub struct Denials {
    by_entry: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl Denials {
    /// Counters for these names, as they stand; those of all others are forgotten. Called when a
    /// configuration is put in force.
    pub fn keep(&self, names: &[String]) -> Vec<Arc<AtomicU64>> {
        let mut by_entry = self.by_entry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = BTreeMap::new();
        for name in names {
            kept.insert(name.clone(), by_entry.remove(name).unwrap_or_default());
        }
        *by_entry = kept;
        names.iter().filter_map(|name| by_entry.get(name).cloned()).collect()
    }

    /// How many there were, by name.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let by_entry = self.by_entry.lock().unwrap_or_else(PoisonError::into_inner);
        by_entry.iter().map(|(name, count)| (name.clone(), count.load(Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_lasts_as_long_as_its_name() {
        let denials = Denials::default();
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let count = denials.keep(&names(&["a", "b"]));
        count[0].fetch_add(2, Relaxed);
        count[1].fetch_add(3, Relaxed);
        denials.keep(&names(&["c", "b"]));
        assert_eq!(denials.counts(), [("b".to_owned(), 3), ("c".to_owned(), 0)]);
        denials.keep(&names(&["a"]));
        assert_eq!(denials.counts(), [("a".to_owned(), 0)]);
    }
}
