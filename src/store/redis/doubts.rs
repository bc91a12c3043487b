//! What in a server's settings breaks the promise that what is stored stays, as far as it says so.

use redis::Value;

use super::address::text;

/// What we ask for, behind everything else that is sent to a new connection.
pub(super) const QUESTION: [&str; 2] = ["INFO", "memory"];
/// And before that: whether its keys are in slots.
pub(super) const QUESTION_OF_SLOTS: [&str; 2] = ["INFO", "cluster"];

/// Whether one script may be about keys of one slot only.
pub(super) fn has_slots(answer: &Value) -> bool {
    text(answer).is_some_and(|answer| answer.lines().any(|line| line.trim() == "cluster_enabled:1"))
}

/// Reads the answer; nothing if all is well, or if we may not ask.
pub(super) fn of_memory(answer: &Value) -> Option<String> {
    let answer = text(answer)?;
    let policy = answer.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"))?.trim();
    (policy != "noeviction").then(|| {
        format!(
            "maxmemory-policy is {policy}: when its memory is full redis throws away what it was \
             given, and study times read as null: set it to noeviction"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_policy_that_throws_nothing_away_is_beyond_doubt() {
        let doubt = |policy: &str| {
            let answer = format!("# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:{policy}\r\n");
            of_memory(&Value::BulkString(answer.into_bytes()))
        };
        assert_eq!(doubt("noeviction"), None);
        for policy in ["allkeys-lru", "volatile-ttl"] {
            let told = doubt(policy).unwrap();
            assert!(told.contains(policy) && told.contains("noeviction"), "{told}");
        }
        assert_eq!(of_memory(&Value::Nil), None);
    }
}
