//! The services of the fleet that the daemon calls, and what they are told.

use serde_json::Value;

use crate::harness;
use crate::played::Played;

/// The three services of the fleet that the daemon calls.
pub(crate) struct Fleet {
    pub(crate) room: Played,
    pub(crate) signaling: Played,
    pub(crate) auth: Played,
}

impl Fleet {
    /// All answer `SUCCESS` to everything.
    pub(crate) fn new() -> Self {
        let usual = || Played::says("SUCCESS");
        Self { room: usual(), signaling: usual(), auth: usual() }
    }
}

/// The study times in a frame to auth, in its order.
pub(crate) fn times_in(frame: &str) -> Vec<(String, Option<String>)> {
    let frame: Value = serde_json::from_str(frame).expect("a frame to auth is JSON");
    assert_eq!((&frame["server"], &frame["type"]), (&"state".into(), &"SCHEDULER".into()));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let entry = |entry: &Value| (text(&entry["user_id"]).unwrap(), text(&entry["study_time"]));
    frame["users"].as_array().expect("a list").iter().map(entry).collect()
}

/// Asserts that nothing more is told within a moment; a daemon that were about to would have.
pub(crate) fn assert_told_only(played: &Played, expected: &[&str]) {
    played.wait_told(expected.len());
    harness::moment();
    assert_eq!(played.told(), expected);
}
