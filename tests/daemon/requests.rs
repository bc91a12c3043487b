//! Requests as peers of the daemon send them, for tests that are not about their form.

use serde_json::json;

pub(crate) fn subscribe(user: &str, room: i64, session: &str) -> String {
    json!({"server": "chat", "type": "SUBSCRIBE", "user_id": user, "room_id": room,
           "session": session})
    .to_string()
}

pub(crate) fn unsubscribe(session: &str) -> String {
    json!({"server": "chat", "type": "UNSUBSCRIBE", "user_id": "", "room_id": null,
           "session": session})
    .to_string()
}

pub(crate) fn heartbeat() -> String {
    json!({"server": "chat", "type": "HEARTBEAT"}).to_string()
}

/// The user leaves with this study time.
pub(crate) fn leave(user: &str, study_time: &str) -> String {
    json!({"server": "signaling", "type": "STUDY_TIME_TO_TCP", "user_id": user,
           "study_time": study_time})
    .to_string()
}

/// The user enters: which study time does the timer go on from?
pub(crate) fn enter(user: &str) -> String {
    json!({"server": "signaling", "type": "STUDY_TIME_FROM_TCP", "user_id": user}).to_string()
}

pub(crate) fn kick_out(user: &str, room: i64) -> String {
    json!({"server": "room", "type": "KICK_OUT", "user_id": user, "room_id": room}).to_string()
}

pub(crate) fn alert(user: &str, room: i64, count: i64) -> String {
    json!({"server": "room", "type": "ALERT", "user_id": user, "room_id": room,
           "alert_count": count})
    .to_string()
}

/// A frame of the night's listing.
pub(crate) fn listing(users: &[(&str, &str)]) -> String {
    listing_of("SCHEDULER", users)
}

/// The night's last frame.
pub(crate) fn last(users: &[(&str, &str)]) -> String {
    listing_of("SCHEDULER_LAST", users)
}

fn listing_of(kind: &str, users: &[(&str, &str)]) -> String {
    let entry = |(user, time): &(&str, &str)| json!({"user_id": user, "study_time": time});
    let users: Vec<_> = users.iter().map(entry).collect();
    json!({"server": "signaling_scheduling", "type": kind, "users": users}).to_string()
}

/// The reply to [`enter`] and [`leave`].
pub(crate) fn study_time(user: &str, study_time: Option<&str>) -> String {
    let study_time = serde_json::Value::from(study_time);
    format!("{{\"user_id\":\"{user}\",\"study_time\":{study_time}}}")
}
