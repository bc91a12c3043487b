//! What a pair of users may be seen to be: an order of what was asked, in which every answer is right.
//!
//! Written from the contract alone: it shares nothing with the stores.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use serde_json::Value;

use super::history::{Asked, Seen};
use super::plan::TICK;
use super::request::{Request, id};

/// Steps of a search, after which it is given up.
const STEPS_MAX: u64 = 400_000;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Found,
    /// And how far the best order came.
    Impossible(String),
    Undecided,
}

/// A user as the contract has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct User {
    room: Option<i64>,
    session: Option<String>,
    live: bool,
    time: Option<String>,
    /// `time` belongs to this day.
    day: u64,
    listed: bool,
    /// The session was opened before the day was closed.
    is_old: bool,
    /// Times of closed days, and of this one if a newer has come since tonight's listing.
    sealed: Vec<(u64, Option<String>)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pair {
    keep_online: bool,
    today: u64,
    users: [User; 2],
}

impl User {
    fn settle(&mut self, today: u64) {
        if self.day < today {
            self.sealed.push((self.day, self.time.take()));
            (self.day, self.listed, self.is_old) = (today, false, true);
        }
    }

    fn times(&self) -> impl Iterator<Item = (u64, &Option<String>)> {
        let sealed = self.sealed.iter().map(|(day, time)| (*day, time));
        sealed.chain([(self.day, &self.time)])
    }

    fn visible_time(&self, today: u64) -> Option<&str> {
        self.time.as_deref().filter(|_| self.day >= today)
    }

    fn record(&mut self, time: &str, today: u64) {
        if self.listed && self.day == today {
            self.sealed.push((today, self.time.take()));
            (self.day, self.listed) = (today + 1, false);
        }
        self.time = Some(time.to_owned());
    }

    fn list(&mut self, time: Option<&String>, today: u64) {
        if self.day == today {
            self.listed = true;
            self.time = time.cloned().or(self.time.take());
        } else if let (Some(time), Some((_, sealed))) =
            (time, self.sealed.iter_mut().find(|(day, _)| *day == today))
        {
            *sealed = Some(time.clone());
        }
    }
}

impl Pair {
    /// Does it, and says whether `reply` is the right answer to it.
    fn apply(&mut self, group: usize, request: &Request, reply: Option<&Value>) -> bool {
        let today = self.today;
        match request {
            Request::Subscribe { user, room, session } => {
                for (at, other) in self.users.iter_mut().enumerate() {
                    if at != user % 2 && other.session.as_ref() == Some(session) {
                        other.live = false;
                    }
                }
                let user = &mut self.users[user % 2];
                user.settle(today);
                (user.room, user.session, user.live) = (Some(*room), Some(session.clone()), true);
                user.is_old = false;
                reply.is_none_or(|reply| reply["studyTime"].as_str() == user.visible_time(today))
            }
            Request::Disconnect { session, .. } => {
                let mut users = self.users.iter_mut().enumerate();
                let found =
                    users.find(|(_, user)| user.live && user.session.as_ref() == Some(session));
                let Some((at, user)) = found else {
                    return reply.is_none_or(|reply| reply["error"]["code"] == "CHAT-001");
                };
                user.live = false;
                // Such a session ends with the day, as soon as auth has what belongs to that.
                let may_be_gone = !self.keep_online && (user.day < today || user.is_old);
                reply.is_none_or(|reply| {
                    may_be_gone && reply["error"]["code"] == "CHAT-001"
                        || reply["userId"] == id(group * 2 + at)
                            && reply["roomId"].as_i64() == user.room
                            && reply["studyTime"].as_str() == user.visible_time(today)
                })
            }
            Request::StudyTimeFrom { user, .. } => {
                let time = self.users[user % 2].visible_time(today);
                reply.is_none_or(|reply| reply["study_time"].as_str() == time)
            }
            Request::StudyTimeTo { user, time } => {
                let user = &mut self.users[user % 2];
                user.settle(today);
                user.record(time, today);
                true
            }
            Request::List { entries, last } => {
                self.list(group, entries);
                self.today += u64::from(*last);
                true
            }
            Request::Chatter
            | Request::Alert { .. }
            | Request::Kick { .. }
            | Request::Malformed(_) => true,
        }
    }

    fn list(&mut self, group: usize, entries: &[(usize, Option<String>)]) {
        let mut named = HashSet::new();
        for (user, time) in entries.iter().rev() {
            if user / 2 == group && named.insert(user) {
                let user = &mut self.users[user % 2];
                user.settle(self.today);
                user.list(time.as_ref(), self.today);
            }
        }
    }

    /// Whether what is so far still leads to what auth was told: every time of a closed day was told,
    /// and nothing that was told is overwritten before its day is closed.
    fn can_lead_to(&self, before: &Self, group: usize, told: &BTreeSet<(String, String)>) -> bool {
        (0..2).all(|at| {
            let (user, was) = (&self.users[at], &before.users[at]);
            let is_told = |time: &String| told.contains(&(id(group * 2 + at), time.clone()));
            let closed = |day: u64, time: &Option<String>| day < self.today && time.is_some();
            let all_told =
                user.times().all(|(day, time)| !closed(day, time) || time.iter().all(is_told));
            let kept = |time: &String| user.times().any(|(_, now)| now.as_ref() == Some(time));
            all_told
                && was
                    .times()
                    .filter_map(|(_, time)| time.as_ref())
                    .all(|time| !is_told(time) || kept(time))
        })
    }

    /// Every study time of a closed day: what auth has to be told.
    fn closed_times(mut self, group: usize) -> BTreeSet<(String, String)> {
        let today = self.today;
        let mut times = BTreeSet::new();
        for (at, user) in self.users.iter_mut().enumerate() {
            user.settle(today);
            let closed = user.sealed.drain(..).filter(|(day, _)| *day < today);
            times.extend(closed.filter_map(|(_, time)| Some((id(group * 2 + at), time?))));
        }
        times
    }
}

fn is_about(group: usize, request: &Request) -> bool {
    match request {
        Request::Subscribe { user, .. }
        | Request::StudyTimeFrom { user, .. }
        | Request::StudyTimeTo { user, .. } => user / 2 == group,
        Request::Disconnect { group: of, .. } => *of == group,
        Request::List { entries, last } => {
            *last || entries.iter().any(|(user, _)| user / 2 == group)
        }
        Request::Chatter | Request::Alert { .. } | Request::Kick { .. } | Request::Malformed(_) => {
            false
        }
    }
}

#[derive(Debug)]
struct Operation<'a> {
    request: &'a Request,
    at: Duration,
    answered_at: Duration,
    reply: Option<Value>,
}

impl Operation<'_> {
    /// Whether it changes nothing, wherever in the order it stands.
    fn only_looks(&self) -> bool {
        let refused = self.reply.as_ref().is_some_and(|reply| !reply["error"].is_null());
        match self.request {
            Request::StudyTimeFrom { .. } => true,
            Request::Disconnect { .. } => refused,
            _ => false,
        }
    }
}

/// What each connection asked about the pair, in its order: a search looks for one order of all.
struct Search<'a> {
    group: usize,
    connections: Vec<Vec<Operation<'a>>>,
    told: BTreeSet<(String, String)>,
    dead_ends: HashSet<(Vec<usize>, Pair)>,
    steps: u64,
    nearly: String,
    deepest: usize,
}

/// Whether there is an order of all that was asked about this pair in which every answer, and all
/// that auth was told, is right.
pub(crate) fn order_of(seen: &Seen, group: usize, keep_online: bool) -> Verdict {
    let mut connections: Vec<Vec<Operation<'_>>> = Vec::new();
    connections.resize_with(seen.lines_of_callers.len(), Vec::new);
    for Asked { connection, request, at, reply, .. } in &seen.asked {
        if is_about(group, request) {
            let answered_at = reply.as_ref().map_or(Duration::MAX, |(at, _)| *at);
            let reply =
                reply.as_ref().map(|(_, reply)| serde_json::from_slice(reply).unwrap_or_default());
            connections[*connection].push(Operation { request, at: *at, answered_at, reply });
        }
    }
    connections.retain(|operations| !operations.is_empty());
    let begin = vec![0; connections.len()];
    let told = told_to_auth(seen, group);
    let mut search = Search {
        group,
        connections,
        told,
        dead_ends: HashSet::new(),
        steps: 0,
        nearly: String::new(),
        deepest: 0,
    };
    let users = [User { day: 1, ..User::default() }, User { day: 1, ..User::default() }];
    match search.goes_on(&begin, &Pair { keep_online, today: 1, users }) {
        true => Verdict::Found,
        false if search.steps >= STEPS_MAX => Verdict::Undecided,
        false => Verdict::Impossible(search.nearly),
    }
}

/// What auth was told of the pair and said yes to.
fn told_to_auth(seen: &Seen, group: usize) -> BTreeSet<(String, String)> {
    let accepted = seen.heard.iter().filter(|heard| heard.peer == "auth" && heard.accepted);
    let entries = accepted.filter_map(|heard| heard.message["users"].as_array()).flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let all =
        entries.filter_map(|entry| Some((text(&entry["user_id"])?, text(&entry["study_time"])?)));
    all.filter(|(user, _)| (0..2).any(|at| *user == id(group * 2 + at))).collect()
}

impl Search<'_> {
    fn goes_on(&mut self, done: &[usize], pair: &Pair) -> bool {
        self.steps += 1;
        if self.steps >= STEPS_MAX || self.dead_ends.contains(&(done.to_vec(), pair.clone())) {
            return false;
        }
        let rest = || self.connections.iter().zip(done);
        // What was not answered may never have been read.
        let all_answered_are_done = rest()
            .all(|(all, done)| all[*done..].iter().all(|operation| operation.reply.is_none()));
        if all_answered_are_done && pair.clone().closed_times(self.group) == self.told {
            return true;
        }
        let depth = done.iter().sum();
        if depth > self.deepest {
            self.deepest = depth;
            let next: Vec<_> = rest().filter_map(|(all, done)| all.get(*done)).collect();
            self.nearly = format!("after {depth} of them: {pair:?}, then none of {next:?}");
        }
        let earliest_answer =
            rest().flat_map(|(all, done)| &all[*done..]).map(|left| left.answered_at).min();
        let latest = earliest_answer.unwrap_or(Duration::MAX).saturating_add(TICK);
        for at in 0..self.connections.len() {
            let Some(next) = self.connections[at].get(done[at]) else { continue };
            // Something that was answered before it was asked comes first.
            if next.at > latest {
                continue;
            }
            let mut after = pair.clone();
            let fits = after.apply(self.group, next.request, next.reply.as_ref());
            if !fits || !after.can_lead_to(pair, self.group, &self.told) {
                continue;
            }
            let mut done_then = done.to_vec();
            done_then[at] += 1;
            let changes_nothing = after == *pair && next.only_looks();
            if self.goes_on(&done_then, &after) {
                return true;
            }
            if changes_nothing {
                // It is in nobody's way here, so no other order can do better.
                break;
            }
        }
        self.dead_ends.insert((done.to_vec(), pair.clone()));
        false
    }
}
