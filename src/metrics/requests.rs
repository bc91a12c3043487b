//! Requests by what they are and what they were answered.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use super::histogram::{Histogram, Snapshot};
use super::spread::Spread;
use crate::connection::request::Request;
use crate::domain::{chat, room, scheduling, signaling};
use crate::error::Code;

/// What a request is, as far as figures tell requests apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// chat: SUBSCRIBE
    Subscribe,
    /// chat: UNSUBSCRIBE and DISCONNECT, which are the same
    Unsubscribe,
    /// chat: a STOMP command that changes nothing
    Ignored,
    /// signaling: STUDY_TIME_FROM_TCP
    StudyTimeFrom,
    /// signaling: STUDY_TIME_TO_TCP
    StudyTimeTo,
    /// signaling_scheduling: SCHEDULER
    Scheduler,
    /// signaling_scheduling: SCHEDULER_LAST
    SchedulerLast,
    /// auth: STUDY_TIME_FROM_TCP
    AuthStudyTimeFrom,
    /// room: ALERT
    Alert,
    /// room: KICK_OUT
    KickOut,
    /// room: KICK_OUT_BY_ALERT
    KickOutByAlert,
    /// room: DELEGATE
    Delegate,
    /// What could not be decoded.
    Invalid,
}

/// The values of the label `server`, in the order of the histograms.
const SERVERS: [&str; 6] = ["chat", "signaling", "signaling_scheduling", "auth", "room", "invalid"];

/// `ok` and every code that a reply may carry.
const OUTCOMES: usize = 1 + Code::ALL.len();

/// Requests by kind and outcome.
#[derive(Debug, Default)]
pub struct Requests {
    counts: Spread<Counts>,
    /// Those that were answered for being late and are still worked on.
    pub late: AtomicUsize,
}

#[derive(Debug, Default)]
struct Counts {
    answered: [[AtomicU64; OUTCOMES]; Kind::ALL.len()],
    durations: [Histogram; SERVERS.len()],
    /// Requests that were read.
    taken: AtomicU64,
    /// Those of all threads that were answered or dropped.
    ended: AtomicU64,
}

impl Kind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 13] = [
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Ignored,
        Self::StudyTimeFrom,
        Self::StudyTimeTo,
        Self::Scheduler,
        Self::SchedulerLast,
        Self::AuthStudyTimeFrom,
        Self::Alert,
        Self::KickOut,
        Self::KickOutByAlert,
        Self::Delegate,
        Self::Invalid,
    ];

    /// What this request is.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Chat(chat::Request::Subscribe { .. }) => Self::Subscribe,
            Request::Chat(chat::Request::Unsubscribe { .. }) => Self::Unsubscribe,
            Request::Chat(chat::Request::Ignored) => Self::Ignored,
            Request::Signaling(signaling::Request::StudyTimeFrom { .. }) => Self::StudyTimeFrom,
            Request::Signaling(signaling::Request::StudyTimeTo { .. }) => Self::StudyTimeTo,
            Request::Scheduling(request) => match request.last {
                scheduling::Last::No => Self::Scheduler,
                scheduling::Last::Yes => Self::SchedulerLast,
            },
            Request::Auth(_) => Self::AuthStudyTimeFrom,
            Request::Room(request) => match request.command {
                room::Command::Alert { .. } => Self::Alert,
                room::Command::KickOut => Self::KickOut,
                room::Command::KickOutByAlert => Self::KickOutByAlert,
                room::Command::Delegate => Self::Delegate,
            },
        }
    }

    /// The label `type`.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Ignored => "other",
            Self::StudyTimeFrom | Self::AuthStudyTimeFrom => "STUDY_TIME_FROM_TCP",
            Self::StudyTimeTo => "STUDY_TIME_TO_TCP",
            Self::Scheduler => "SCHEDULER",
            Self::SchedulerLast => "SCHEDULER_LAST",
            Self::Alert => "ALERT",
            Self::KickOut => "KICK_OUT",
            Self::KickOutByAlert => "KICK_OUT_BY_ALERT",
            Self::Delegate => "DELEGATE",
            Self::Invalid => "invalid",
        }
    }

    /// The label `server`.
    pub fn server(self) -> &'static str {
        SERVERS.get(self.server_index()).copied().unwrap_or_default()
    }

    fn server_index(self) -> usize {
        match self {
            Self::Subscribe | Self::Unsubscribe | Self::Ignored => 0,
            Self::StudyTimeFrom | Self::StudyTimeTo => 1,
            Self::Scheduler | Self::SchedulerLast => 2,
            Self::AuthStudyTimeFrom => 3,
            Self::Alert | Self::KickOut | Self::KickOutByAlert | Self::Delegate => 4,
            Self::Invalid => 5,
        }
    }
}

impl Requests {
    /// One was read.
    pub fn taken(&self) {
        let here = self.counts.here();
        here.add(&here.part.taken, 1);
    }

    /// One was answered: with an error, or as it wished.
    pub fn answered(&self, kind: Kind, error: Option<Code>, took: Duration) {
        let outcome = error.map_or(0, |code| 1 + code as usize);
        let here = self.counts.here();
        let of_kind = here.part.answered.get(kind as usize);
        if let Some(count) = of_kind.and_then(|outcomes| outcomes.get(outcome)) {
            here.add(count, 1);
        }
        if let Some(durations) = here.part.durations.get(kind.server_index()) {
            durations.record_here(&here, took);
        }
        here.add(&here.part.ended, 1);
    }

    /// So many are dropped without an answer, with their connection.
    pub fn dropped(&self, requests: usize) {
        let here = self.counts.here();
        here.add(&here.part.ended, requests as u64);
    }

    /// Read and not answered.
    pub fn in_flight(&self) -> u64 {
        // In this order, so that none has ended that is not among those taken.
        let ended = self.counts.sum(|counts| counts.ended.load(Acquire));
        self.counts.sum(|counts| counts.taken.load(Relaxed)).saturating_sub(ended)
    }

    /// How many of this kind got `ok` or a code, in the order of the table of codes. No reply
    /// carries CHAT-022, so it is left out.
    pub fn outcomes(&self, kind: Kind) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let codes = Code::ALL.into_iter().map(Some);
        let outcomes = std::iter::once(None).chain(codes);
        let count = move |outcome: usize| {
            self.counts.sum(|counts| {
                let of_kind = counts.answered.get(kind as usize);
                of_kind.and_then(|all| all.get(outcome)).map_or(0, |count| count.load(Relaxed))
            })
        };
        outcomes
            .enumerate()
            .map(move |(at, code)| (code, count(at)))
            .filter(|(code, _)| *code != Some(Code::TcpBindFailed))
            .map(|(code, count)| (code.map_or("ok", Code::code), count))
    }

    /// How long answers took, for each value of the label `server`.
    pub fn durations(&self) -> impl Iterator<Item = (&'static str, Snapshot)> {
        let of_server = |(at, server)| {
            let histograms = self.counts.parts().filter_map(|counts| counts.durations.get(at));
            (server, Snapshot::of(histograms))
        };
        SERVERS.into_iter().enumerate().map(of_server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_code_has_a_place_of_its_own() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
        for (at, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, at);
        }
        let requests = Requests::default();
        requests.taken();
        requests.answered(Kind::Invalid, Some(Code::InvalidToken), Duration::ZERO);
        let counted: Vec<_> = requests.outcomes(Kind::Invalid).filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [("CHAT-032", 1)]);
        assert_eq!(requests.in_flight(), 0);
    }
}
