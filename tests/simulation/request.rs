//! What callers say, and how the answer to it looks.

use fastrand::Rng;
use serde_json::{Value, json};

/// Users come in pairs that share sessions; what happens in one pair is nothing to the others.
pub(crate) const USERS: usize = 6;
pub(crate) const GROUPS: usize = USERS / 2;
const SESSIONS_OF_GROUP: usize = 3;

/// A study time, a room and an alert have a number that no other has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Subscribe { user: usize, room: i64, session: String },
    Disconnect { session: String, group: usize },
    Chatter,
    StudyTimeFrom { user: usize, server: &'static str },
    StudyTimeTo { user: usize, time: String },
    List { entries: Vec<(usize, Option<String>)>, last: bool },
    Alert { user: usize, number: i64 },
    Kick { user: usize, number: i64 },
    Malformed(Vec<u8>),
}

/// Makes numbers that no other has.
#[derive(Debug, Default)]
pub(crate) struct Numbers(i64);

impl Numbers {
    pub(crate) fn next(&mut self) -> i64 {
        self.0 += 1;
        self.0
    }
}

impl Request {
    pub(crate) fn any(rng: &mut Rng, numbers: &mut Numbers) -> Self {
        let user = rng.usize(..USERS);
        let group = user / 2;
        let session = format!("s{group}-{}", rng.usize(..SESSIONS_OF_GROUP));
        match rng.u32(..40) {
            0..=8 => Self::Subscribe { user, room: numbers.next(), session },
            9..=13 => Self::Disconnect { session, group },
            14 => Self::Chatter,
            15..=18 => Self::StudyTimeFrom { user, server: "signaling" },
            19..=20 => Self::StudyTimeFrom { user, server: "auth" },
            21..=28 => Self::StudyTimeTo { user, time: format!("t{}", numbers.next()) },
            29..=31 => Self::List { entries: entries(rng, numbers), last: false },
            32 => Self::List { entries: entries(rng, numbers), last: true },
            33..=36 => Self::Alert { user, number: numbers.next() },
            37..=38 => Self::Kick { user, number: numbers.next() },
            _ => Self::Malformed(malformed(rng)),
        }
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        let value = match self {
            Self::Subscribe { user, room, session } => json!({
                "server": "chat", "type": "SUBSCRIBE", "user_id": id(*user), "room_id": room, "session": session,
            }),
            Self::Disconnect { session, .. } => json!({
                "server": "chat", "type": "DISCONNECT", "user_id": "", "room_id": null, "session": session,
            }),
            Self::Chatter => json!({"server": "chat", "type": "SEND"}),
            Self::StudyTimeFrom { user, server } => {
                json!({"server": server, "type": "STUDY_TIME_FROM_TCP", "user_id": id(*user)})
            }
            Self::StudyTimeTo { user, time } => json!({
                "server": "signaling", "type": "STUDY_TIME_TO_TCP", "user_id": id(*user), "study_time": time,
            }),
            Self::List { entries, last } => listing(entries, *last),
            Self::Alert { user, number } => json!({
                "server": "room", "type": "ALERT", "user_id": id(*user), "room_id": 1, "alert_count": number,
            }),
            Self::Kick { user, number } => json!({
                "server": "room", "type": "KICK_OUT", "user_id": id(*user), "room_id": number,
            }),
            Self::Malformed(bytes) => return bytes.clone(),
        };
        value.to_string().into_bytes()
    }

    /// The number by which the message that is forwarded can be told from all others.
    pub(crate) fn forwarded(&self) -> Option<(usize, i64)> {
        match self {
            Self::Alert { user, number } | Self::Kick { user, number } => Some((*user, *number)),
            _ => None,
        }
    }

    /// Whether this can be the answer, whatever the state is.
    pub(crate) fn fits(&self, reply: &[u8]) -> bool {
        let value: Value = match serde_json::from_slice(reply) {
            Ok(value) => value,
            Err(_) if reply.is_empty() => Value::Null,
            Err(_) => return false,
        };
        let code = value["error"]["code"].as_str();
        match self {
            Self::Subscribe { user, room, session } => {
                (&value["userId"], &value["roomId"], &value["sessionId"])
                    == (&json!(id(*user)), &json!(room), &json!(session))
            }
            Self::Disconnect { session, .. } => {
                code == Some("CHAT-001") || value["sessionId"] == json!(session)
            }
            Self::Chatter => reply.is_empty(),
            Self::StudyTimeFrom { user, .. } => {
                value["user_id"] == json!(id(*user)) && value.get("study_time").is_some()
            }
            Self::StudyTimeTo { user, time } => {
                value == json!({"user_id": id(*user), "study_time": time})
            }
            Self::List { entries, last } => value == listing(entries, *last),
            Self::Alert { .. } | Self::Kick { .. } => {
                reply.is_empty() || matches!(code, Some("CHAT-002" | "CHAT-021" | "CHAT-023"))
            }
            Self::Malformed(_) => code == Some("CHAT-003"),
        }
    }
}

pub(crate) fn id(user: usize) -> String {
    format!("u{user}")
}

fn listing(entries: &[(usize, Option<String>)], last: bool) -> Value {
    let users: Vec<Value> = entries
        .iter()
        .map(|(user, time)| json!({"user_id": id(*user), "study_time": time}))
        .collect();
    let kind = if last { "SCHEDULER_LAST" } else { "SCHEDULER" };
    json!({"server": "signaling_scheduling", "type": kind, "users": users})
}

fn entries(rng: &mut Rng, numbers: &mut Numbers) -> Vec<(usize, Option<String>)> {
    let mut time = |rng: &mut Rng| rng.bool().then(|| format!("t{}", numbers.next()));
    (0..rng.usize(..5)).map(|_| (rng.usize(..USERS), time(rng))).collect()
}

fn malformed(rng: &mut Rng) -> Vec<u8> {
    let all: [&[u8]; 6] = [
        b"",
        b"nonsense",
        b"[]",
        b"{\"server\":\"chat\"}",
        b"{\"server\":\"chat\",\"type\":\"SUBSCRIBE\",\"user_id\":7}",
        b"{\"server\":\"nobody\",\"type\":\"SEND\"}",
    ];
    rng.choice(all).unwrap().to_vec()
}
