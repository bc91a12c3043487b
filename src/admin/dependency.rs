//! Something the daemon needs, and whether it works: believed only after several looks agree.

use crate::domain::UnixMillis;

/// So many looks in a row have to fail before what worked counts as down: one slow answer is none.
const DOWN_AFTER: u32 = 3;
/// So many have to succeed before what was down counts as up.
const UP_AFTER: u32 = 2;

/// A store or a service, as seen from here.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// `store`, or the peer's name.
    pub name: &'static str,
    /// Whether nothing can be done without it.
    pub is_required: bool,
    /// What is believed.
    pub standing: Standing,
    /// Since when.
    pub since: UnixMillis,
    /// What went wrong at the latest look, whatever is believed.
    pub error: Option<String>,
    /// Looks in a row that say the contrary.
    contrary: u32,
}

/// What is believed of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has tried yet.
    Unknown,
    /// It works.
    Up,
    /// It does not.
    Down,
}

impl Standing {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl Dependency {
    /// Of which nothing is known.
    pub fn new(name: &'static str, is_required: bool) -> Self {
        let since = UnixMillis::now();
        Self { name, is_required, standing: Standing::Unknown, since, error: None, contrary: 0 }
    }

    /// Takes in what a look at it found; the first one is believed at once. Says whether something
    /// else is believed now.
    pub fn observe(&mut self, found: Result<(), String>) -> bool {
        let seen = if found.is_ok() { Standing::Up } else { Standing::Down };
        self.error = found.err();
        if seen == self.standing {
            self.contrary = 0;
            return false;
        }
        self.contrary += 1;
        let needed = match self.standing {
            Standing::Unknown => 1,
            Standing::Up => DOWN_AFTER,
            Standing::Down => UP_AFTER,
        };
        if self.contrary < needed {
            return false;
        }
        (self.standing, self.since, self.contrary) = (seen, UnixMillis::now(), 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_that_differs_changes_nothing() {
        let mut store = Dependency::new("store", true);
        let mut standings = String::new();
        for look in "x.x..x.xx.xxx.".chars() {
            let found = if look == '.' { Ok(()) } else { Err("away".to_owned()) };
            store.observe(found);
            standings.push(if store.standing == Standing::Up { '.' } else { 'x' });
        }
        assert_eq!(standings, "xxxx........xx");
    }
}
