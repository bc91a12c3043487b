//! The words of the gRPC server that is compared with: what the daemon's peers say, in protobuf.

use super::super::messages::{ENTERING, LISTED, LISTED_USERS, RECORDED, Said, Script};

/// The one method: `rpc Ask(Request) returns (Reply)`.
pub(super) const METHOD: &str = "/stated.bench.State/Ask";
/// The service's name in it.
pub(super) const SERVICE: &str = "stated.bench.State";

/// One of the messages of a load.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5")]
    pub(super) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "1")]
    Enter(Visit),
    /// A session.
    #[prost(string, tag = "2")]
    Leave(String),
    /// A user.
    #[prost(string, tag = "3")]
    Read(String),
    #[prost(message, tag = "4")]
    Record(Time),
    #[prost(message, tag = "5")]
    Schedule(Times),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Visit {
    #[prost(string, tag = "1")]
    pub(super) user: String,
    #[prost(int64, tag = "2")]
    pub(super) room: i64,
    #[prost(string, tag = "3")]
    pub(super) session: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Time {
    #[prost(string, tag = "1")]
    pub(super) user: String,
    #[prost(string, optional, tag = "2")]
    pub(super) study_time: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Times {
    #[prost(message, repeated, tag = "1")]
    pub(super) users: Vec<Time>,
}

/// What the daemon answers: the record's user and time, or those of a schedule.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Reply {
    #[prost(message, repeated, tag = "1")]
    pub(super) users: Vec<Time>,
}

/// The next message of a load.
pub(super) fn next(script: &mut Script) -> Request {
    let name = |prefix: &str, number: u64| format!("{prefix}{number:08}");
    let time = |prefix, user, step: u64| {
        let study_time = Some(format!("02:{:02}:{:02}", step / 60 % 60, step % 60));
        Time { user: name(prefix, user), study_time }
    };
    let kind = match script.next() {
        Said::Enter(user) => Kind::Enter(Visit {
            user: name(ENTERING, user),
            room: 7,
            session: name("bench-s", user),
        }),
        Said::Leave(session) => Kind::Leave(name("bench-s", session)),
        Said::Read(user) => Kind::Read(name(RECORDED, user)),
        Said::Record { user, step } => Kind::Record(time(RECORDED, user, step)),
        Said::Schedule { step } => {
            let users = (0..LISTED_USERS).map(|at| time(LISTED, script.listed(step, at), step));
            Kind::Schedule(Times { users: users.collect() })
        }
    };
    Request { kind: Some(kind) }
}
