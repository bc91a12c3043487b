//! The task that works the queue of room-outs off: in order for a user, side by side for users.
//!
//! A room-out comes in when its turn has come, and joins its user's lane. The first of each lane
//! is ready to be tried; the others wait until it is over. What could not be sent goes back to the
//! front, and while room can't be reached one room-out after the other is tried, at the pace of
//! the gateway's back-off.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep_until};

use super::gateway::{CallError, Gateway};
use super::reply::{OwnerReply, Reply};
use super::report::Report;
use super::room::{Job, RoomCounters};
use crate::crash::{self, Point};
use crate::domain::UserId;

/// How long a room-out waits for what its connection forwarded before about the same user. That
/// is answered within the request timeout; whatever lasts longer must not hold it up.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
/// The least pause after an attempt that sent nothing, whatever the back-off says.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// Every job is in exactly one place: waiting for its turn, behind in a lane, in `ready`, in
/// `again`, or in flight. The last three are the first of their lane.
pub(super) struct Dispatcher {
    gateway: Gateway,
    /// How long a room-out is tried, from its arrival on.
    retry_for: Arc<ArcSwap<Duration>>,
    counters: Arc<RoomCounters>,
    turns: FuturesUnordered<BoxFuture<'static, Job>>,
    lanes: HashMap<UserId, Lane>,
    ready: VecDeque<Job>,
    /// Tried, or told that trying is of no use now: nobody waits for their first attempt.
    again: VecDeque<Job>,
    in_flight: FuturesUnordered<BoxFuture<'static, (Job, Result<Reply, CallError>)>>,
    /// Nothing is tried before.
    paused_until: Option<Instant>,
    report: Report,
}

/// What waits behind the first room-out of a user.
#[derive(Debug, Default)]
struct Lane {
    behind: VecDeque<Job>,
    /// The first one waits to be tried again: those behind count as tried too.
    held: bool,
}

impl Dispatcher {
    pub(super) fn new(
        gateway: Gateway,
        retry_for: Arc<ArcSwap<Duration>>,
        counters: Arc<RoomCounters>,
    ) -> Self {
        Self {
            gateway,
            retry_for,
            report: Report::new(Arc::clone(&counters)),
            counters,
            turns: FuturesUnordered::new(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            again: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            paused_until: None,
        }
    }

    /// Works until told to stop, and then until the queue is empty or the time is up.
    pub(super) async fn run(
        mut self,
        mut arrivals: mpsc::UnboundedReceiver<Job>,
        mut stop: watch::Receiver<Option<Instant>>,
    ) {
        loop {
            self.start_attempts();
            let stop_by = *stop.borrow_and_update();
            if stop_by.is_some() && arrivals.is_empty() && self.is_idle() {
                break;
            }
            // In a fixed order, so that a simulation can be repeated. What comes first is the rarer:
            // nobody is starved by it, as all of it comes of arrivals.
            tokio::select! {
                biased;
                () = until(stop_by) => break,
                changed = stop.changed() => if changed.is_err() { break },
                () = until(self.paused_until) => self.paused_until = None,
                () = until(self.report.due_at()) => self.report.say(),
                Some((job, outcome)) = self.in_flight.next() => self.conclude(job, &outcome),
                Some(job) = self.turns.next() => self.join_lane(job),
                Some(job) = arrivals.recv() => self.arrive(job),
            }
        }
        self.drop_everything(arrivals);
    }

    fn is_idle(&self) -> bool {
        // A lane exists exactly while its first job does.
        self.turns.is_empty() && self.lanes.is_empty()
    }

    fn arrive(&mut self, mut job: Job) {
        let Some(mut turn) = job.turn.take() else { return self.join_lane(job) };
        if turn.has_come() {
            job.turn = Some(turn);
            return self.join_lane(job);
        }
        let deadline = job.wait_until(**self.retry_for.load()).min(Instant::now() + TURN_WAIT_MAX);
        self.turns.push(Box::pin(async move {
            if turn.wait(deadline).await.is_err() {
                tracing::debug!("a room-out goes ahead of what was forwarded before it");
            }
            job.turn = Some(turn);
            job
        }));
    }

    fn join_lane(&mut self, mut job: Job) {
        let hopeless = self.is_hopeless();
        if let Some(lane) = self.lanes.get_mut(&job.user) {
            if lane.held {
                job.set_tried();
            }
            lane.behind.push_back(job);
            return;
        }
        let lane = Lane { behind: VecDeque::new(), held: hopeless };
        self.lanes.insert(job.user.clone(), lane);
        if hopeless {
            job.set_tried();
            self.again.push_back(job);
        } else {
            self.ready.push_back(job);
        }
    }

    /// Whether a newcomer would have to wait until room can be reached again: then its attempt
    /// counts as made and failed, so that a dead peer costs nobody any time.
    fn is_hopeless(&self) -> bool {
        self.paused_until.is_some()
            || !self.again.is_empty()
            || self.gateway.retry_at().is_some()
            || (!self.in_flight.is_empty() && !self.gateway.is_reachable())
    }

    fn start_attempts(&mut self) {
        let (now, retry_for) = (Instant::now(), **self.retry_for.load());
        while self.paused_until.is_none() && self.in_flight.len() < self.attempts_max() {
            let Some(job) = self.again.pop_front().or_else(|| self.ready.pop_front()) else {
                return;
            };
            if job.wait_until(retry_for) <= now {
                self.counters.dropped_late.fetch_add(1, Relaxed);
                self.leave_lane(job);
            } else {
                self.attempt(job);
            }
        }
    }

    /// One room-out is enough to see whether room is back.
    fn attempts_max(&self) -> usize {
        if self.gateway.is_reachable() { self.gateway.config().pool_size.max(1) } else { 1 }
    }

    fn attempt(&self, job: Job) {
        let gateway = self.gateway.clone();
        let deadline = Instant::now() + gateway.config().call_max();
        self.in_flight.push(Box::pin(async move {
            crash::point(Point::RoomOutBegun);
            let outcome = gateway.call(&job.message(), deadline).await;
            crash::point(Point::RoomOutAnswered);
            (job, outcome)
        }));
    }

    fn conclude(&mut self, mut job: Job, outcome: &Result<Reply, CallError>) {
        let counters = &self.counters;
        match outcome {
            Ok(reply) => {
                counters.answered.fetch_add(1, Relaxed);
                job.answer(OwnerReply::read(reply));
            }
            Err(CallError::TooLong { .. }) => {
                counters.dropped_long.fetch_add(1, Relaxed);
            }
            Err(error) if error.nothing_sent() => return self.put_back(job),
            Err(error @ CallError::Refused { .. }) => {
                counters.refused.fetch_add(1, Relaxed);
                self.report.blame(*error);
            }
            // Room may know of it, and telling it twice would count a member down twice.
            Err(
                error @ (CallError::Timeout { .. }
                | CallError::Dropped { .. }
                | CallError::Unreachable { .. }),
            ) => {
                counters.unknown.fetch_add(1, Relaxed);
                self.report.blame(*error);
            }
        }
        self.leave_lane(job);
    }

    /// Nothing was sent: room is told again when it can be reached.
    fn put_back(&mut self, mut job: Job) {
        self.counters.retried.fetch_add(1, Relaxed);
        job.set_tried();
        self.hold_lane(&job.user);
        self.again.push_front(job);
        let soonest = Instant::now() + PAUSE_MIN;
        let retry_at = self.gateway.retry_at().map_or(soonest, |retry_at| retry_at.max(soonest));
        self.paused_until = Some(retry_at);
        // What is ready would only wait as well.
        while let Some(mut job) = self.ready.pop_front() {
            job.set_tried();
            self.hold_lane(&job.user);
            self.again.push_back(job);
        }
    }

    fn hold_lane(&mut self, user: &UserId) {
        if let Some(lane) = self.lanes.get_mut(user).filter(|lane| !lane.held) {
            lane.held = true;
            lane.behind.iter_mut().for_each(Job::set_tried);
        }
    }

    /// The first of a lane is over; the next one comes forward.
    fn leave_lane(&mut self, job: Job) {
        let Some(lane) = self.lanes.get_mut(&job.user) else { return };
        match lane.behind.pop_front() {
            Some(next) if lane.held => self.again.push_back(next),
            Some(next) => self.ready.push_back(next),
            None => {
                self.lanes.remove(&job.user);
            }
        }
    }

    fn drop_everything(mut self, mut arrivals: mpsc::UnboundedReceiver<Job>) {
        arrivals.close();
        let unknown = self.in_flight.len() as u64;
        let behind: usize = self.lanes.values().map(|lane| lane.behind.len()).sum();
        let unsent = arrivals.len() + self.turns.len() + self.ready.len() + self.again.len();
        let dropped = (unsent + behind) as u64;
        self.counters.unknown.fetch_add(unknown, Relaxed);
        self.counters.dropped_stopping.fetch_add(dropped, Relaxed);
        self.report.say();
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::join;
    use tokio_util::task::TaskTracker;

    use crate::config;
    use crate::connection::frame::Framing;
    use crate::domain::RoomId;
    use crate::upstream::fake::{DeadPeer, LONG, Peer, Talk, config, eventually, far};
    use crate::upstream::{RoomGateway, RoomOut, Turn, Turns};

    use super::*;

    fn gateways(room: config::Gateway) -> config::Gateways {
        config::Gateways {
            signaling: room.clone(),
            auth: room.clone(),
            room,
            room_retry_for: LONG,
            room_queue_max: 10_000,
        }
    }

    fn gateway(config: &config::Gateways) -> RoomGateway {
        RoomGateway::new(config, None, &TaskTracker::new())
    }

    async fn start() -> (Peer, RoomGateway) {
        let peer = Peer::new(Framing::Length4).await;
        let gateway = gateway(&gateways(config(peer.address(), Framing::Length4)));
        (peer, gateway)
    }

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn out(id: &str, room: i64) -> RoomOut {
        RoomOut { user: user(id), room: RoomId(room), turn: Turn::alone() }
    }

    fn message(id: &str, room: i64) -> String {
        format!(r#"{{"server":"state","user_id":"{id}","room_id":{room}}}"#)
    }

    fn count(counter: &std::sync::atomic::AtomicU64) -> u64 {
        counter.load(Relaxed)
    }

    async fn hear_and_answer(talk: &mut Talk, expected: &str, answer: &str) {
        assert_eq!(talk.hear().await.unwrap(), expected);
        talk.say(answer.as_bytes()).await;
    }

    #[tokio::test]
    async fn room_outs_of_one_user_go_one_after_the_other_and_of_others_beside_them() {
        let (peer, gateway) = start().await;
        for room in 1..=3 {
            gateway.tell(out("u1", room));
        }
        gateway.tell(out("u2", 7));
        let (mut one, mut two) = (peer.accept().await, peer.accept().await);
        let (first, second) = (one.hear().await.unwrap(), two.hear().await.unwrap());
        let heard = HashSet::from([first.clone(), second]);
        assert_eq!(heard, HashSet::from([message("u1", 1), message("u2", 7)]));
        if first != message("u1", 1) {
            std::mem::swap(&mut one, &mut two);
        }
        // The other connection is free, and yet the same user's next one waits.
        two.say(b"").await;
        assert!(two.is_quiet().await && one.is_quiet().await);
        one.say(b"SUCCESS").await;
        let (counters, mut talks) = (gateway.counters(), [one, two]);
        for room in 2..=3 {
            eventually(|| count(&counters.answered) == room).await;
            let [one, two] = &mut talks;
            tokio::select! {
                heard = one.hear() => { assert_eq!(heard.unwrap(), message("u1", room as i64)); one.say(b"").await; }
                heard = two.hear() => { assert_eq!(heard.unwrap(), message("u1", room as i64)); two.say(b"").await; }
            }
        }
        eventually(|| count(&counters.answered) == 4 && count(&counters.queued) == 0).await;
        assert!(peer.is_alone().await);
    }

    #[tokio::test]
    async fn what_a_connection_took_is_never_sent_again() {
        for cut in 0..framed_message_len() {
            let (peer, gateway) = start().await;
            gateway.tell(out("u1", 1));
            let mut talk = peer.accept().await;
            let mut taken = vec![0; cut];
            tokio::io::AsyncReadExt::read_exact(&mut talk.stream, &mut taken).await.unwrap();
            // Our side wrote at once what this side reads in part only; then this side is gone.
            talk.stream.peek(&mut [0]).await.unwrap();
            talk.reset();
            eventually(|| count(&gateway.counters().queued) == 0).await;
            assert_eq!(count(&gateway.counters().unknown), 1, "closed after {cut} bytes");
            gateway.tell(out("u1", 2));
            hear_and_answer(&mut peer.accept().await, &message("u1", 2), "").await;
            assert!(peer.is_alone().await);
            assert_eq!(count(&gateway.counters().retried), 0);
        }
    }

    fn framed_message_len() -> usize {
        4 + message("u1", 1).len()
    }

    /// Does what the dice say, in each connection anew; returns what it heard.
    async fn moody_talk(mut talk: Talk) -> Vec<String> {
        use tokio::io::AsyncReadExt;
        let mut heard = Vec::new();
        loop {
            match fastrand::u8(..12) {
                0 => break,
                1 => {
                    let mut some = vec![0; fastrand::usize(1..framed_message_len())];
                    let _half = talk.stream.read_exact(&mut some).await;
                    break;
                }
                2 => {
                    heard.extend(talk.hear().await);
                    break;
                }
                3 => {
                    heard.extend(talk.hear().await);
                    // The other side may be gone.
                    let _sent = talk.stream.try_write(&[0, 0]);
                    break;
                }
                _ => match talk.hear().await {
                    Some(message) => {
                        talk.say(b"SUCCESS").await;
                        heard.push(message);
                    }
                    None => break,
                },
            }
        }
        if fastrand::bool() {
            talk.reset();
        }
        heard
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn however_connections_break_nothing_is_told_twice_and_everything_is_accounted_for() {
        const TOLD: u64 = 3000;
        let (peer, gateway) = start().await;
        for number in 0..TOLD {
            gateway.tell(out(&format!("u{}", number % 100), number as i64));
        }
        let counters = gateway.counters();
        let stopped = gateway.shutdown(Instant::now() + 3 * LONG);
        tokio::pin!(stopped);
        let mut talks = FuturesUnordered::new();
        let mut heard = Vec::new();
        loop {
            tokio::select! {
                talk = peer.accept() => talks.push(moody_talk(talk)),
                Some(messages) = talks.next() => heard.extend(messages),
                () = &mut stopped => break,
            }
        }
        while let Some(messages) = talks.next().await {
            heard.extend(messages);
        }
        let (answered, unknown) = (count(&counters.answered), count(&counters.unknown));
        assert_eq!(answered + unknown, TOLD);
        assert!(answered > TOLD / 2 && unknown > 0, "{counters:?}");
        let told = heard.len();
        assert!(told as u64 >= answered);
        assert_eq!(heard.into_iter().collect::<HashSet<_>>().len(), told);
    }

    #[tokio::test]
    async fn what_is_not_answered_or_answered_with_an_error_is_not_sent_again() {
        let peer = Peer::new(Framing::Length4).await;
        let room = config::Gateway {
            reply_timeout: Duration::from_millis(500),
            ..config(peer.address(), Framing::Length4)
        };
        let gateway = gateway(&gateways(room));
        gateway.tell(out("u1", 1));
        let mut silent = peer.accept().await;
        assert_eq!(silent.hear().await.unwrap(), message("u1", 1));
        assert_eq!(silent.hear().await, None);
        gateway.tell(out("u1", 2));
        let mut talk = peer.accept().await;
        hear_and_answer(&mut talk, &message("u1", 2), r#"{"error":null}"#).await;
        gateway.tell(out("u1", 3));
        hear_and_answer(&mut talk, &message("u1", 3), "SUCCESS").await;
        let counters = gateway.counters();
        eventually(|| count(&counters.answered) == 1).await;
        assert_eq!((count(&counters.unknown), count(&counters.refused)), (1, 1));
        assert_eq!(count(&counters.retried), 0);
    }

    #[tokio::test]
    async fn what_could_not_be_sent_is_sent_once_and_in_order_when_room_is_back() {
        let dead = DeadPeer::new();
        let gateway = gateway(&gateways(config(dead.address(), Framing::Length4)));
        for number in 0..1000 {
            gateway.tell(out(&format!("u{}", number % 250), number));
        }
        eventually(|| count(&gateway.counters().retried) >= 3).await;
        let peer = dead.listen();
        let heard = async {
            let mut talks = FuturesUnordered::new();
            let mut heard = Vec::new();
            loop {
                tokio::select! {
                    talk = peer.accept() => talks.push(talk.echo()),
                    Some(messages) = talks.next() => {
                        heard.extend(messages);
                        if talks.is_empty() { break heard; }
                    }
                }
            }
        };
        let (heard, ()) = join!(heard, async {
            eventually(|| count(&gateway.counters().answered) == 1000).await;
            gateway.shutdown(far()).await;
        });
        let expected: HashSet<String> =
            (0..1000).map(|number| message(&format!("u{}", number % 250), number)).collect();
        assert_eq!(heard.len(), 1000);
        assert_eq!(heard.into_iter().collect::<HashSet<_>>(), expected);
    }

    #[tokio::test]
    async fn one_user_keeps_the_order_through_an_outage() {
        let dead = DeadPeer::new();
        let gateway = gateway(&gateways(config(dead.address(), Framing::Length4)));
        for room in 0..20 {
            gateway.tell(out("u1", room));
        }
        eventually(|| count(&gateway.counters().retried) >= 2).await;
        let mut talk = dead.listen().accept().await;
        for room in 0..20 {
            hear_and_answer(&mut talk, &message("u1", room), "").await;
        }
    }

    #[tokio::test]
    async fn after_retry_for_an_unsent_room_out_is_dropped() {
        let dead = DeadPeer::new();
        let config = config::Gateways {
            room_retry_for: Duration::from_millis(50),
            ..gateways(config(dead.address(), Framing::Length4))
        };
        let gateway = gateway(&config);
        for room in 0..100 {
            gateway.tell(out(&room.to_string(), room));
            gateway.tell(out("same", room));
        }
        let counters = gateway.counters();
        eventually(|| counters.dropped() == 200).await;
        assert_eq!(count(&counters.queued), 0);
        let peer = dead.listen();
        eventually(|| gateway.gateway().retry_at().is_none()).await;
        gateway.tell(out("u1", 1));
        hear_and_answer(&mut peer.accept().await, &message("u1", 1), "").await;
        assert!(peer.is_alone().await);
    }

    #[tokio::test]
    async fn a_full_queue_drops_the_newcomer() {
        let dead = DeadPeer::new();
        let config = config::Gateways {
            room_queue_max: 2,
            ..gateways(config(dead.address(), Framing::Length4))
        };
        let gateway = gateway(&config);
        for room in 1..=3 {
            gateway.tell(out("u1", room));
        }
        assert_eq!(gateway.counters().dropped(), 1);
        assert_eq!(count(&gateway.counters().queued), 2);
        let mut talk = dead.listen().accept().await;
        for room in 1..=2 {
            hear_and_answer(&mut talk, &message("u1", room), "").await;
        }
        assert!(talk.is_quiet().await);
        gateway.tell(out("u1", 4));
        hear_and_answer(&mut talk, &message("u1", 4), "").await;
    }

    #[tokio::test]
    async fn shutdown_tells_what_is_queued() {
        let (peer, gateway) = start().await;
        for room in 0..50 {
            gateway.tell(out("u1", room));
        }
        let mut talk = peer.accept().await;
        let ((), ()) = join!(gateway.shutdown(far()), async {
            for room in 0..50 {
                hear_and_answer(&mut talk, &message("u1", room), "").await;
            }
        });
        assert_eq!(talk.hear().await, None);
        gateway.tell(out("u1", 51));
        let counters = gateway.counters();
        assert_eq!((count(&counters.answered), counters.dropped()), (50, 1));
        gateway.shutdown(far()).await;
    }

    #[tokio::test]
    async fn shutdown_drops_and_counts_what_can_not_be_told_in_time() {
        let dead = DeadPeer::new();
        let gateway = gateway(&gateways(config(dead.address(), Framing::Length4)));
        for room in 0..50 {
            gateway.tell(out(&(room % 7).to_string(), room));
        }
        eventually(|| count(&gateway.counters().retried) >= 1).await;
        gateway.shutdown(Instant::now() + Duration::from_millis(20)).await;
        let counters = gateway.counters();
        assert_eq!(counters.dropped() + count(&counters.unknown), 50);
        assert!(count(&counters.unknown) <= 1);
        assert_eq!(count(&counters.queued), 0);
    }

    #[tokio::test]
    async fn who_asks_hears_what_room_says_about_the_owner() {
        let (peer, gateway) = start().await;
        let (reply, mut talk) = join!(gateway.ask(out("u1", 5), far()), async {
            let mut talk = peer.accept().await;
            let change = r#"{"type":"CHANGE","user_id":"u2","room_id":5}"#;
            hear_and_answer(&mut talk, &message("u1", 5), change).await;
            talk
        });
        assert_eq!(reply, OwnerReply::Change { user: user("u2"), room: Some(RoomId(5)) });
        let expected = message("u1", 5);
        for answer in [r#"{"type" : "KEEP"}"#, "", "SUCCESS", r#"{"error":{}}"#] {
            let (reply, ()) = join!(
                gateway.ask(out("u1", 5), far()),
                hear_and_answer(&mut talk, &expected, answer)
            );
            assert_eq!(reply, OwnerReply::Keep);
        }
        // Nobody waits for this answer any more, and room is told nevertheless.
        assert_eq!(gateway.ask(out("u1", 6), Instant::now()).await, OwnerReply::Keep);
        hear_and_answer(&mut talk, &message("u1", 6), "").await;
    }

    #[tokio::test]
    async fn who_asks_while_room_is_away_is_not_kept_waiting_and_room_is_told_later() {
        let dead = DeadPeer::new();
        let gateway = gateway(&gateways(config(dead.address(), Framing::Length4)));
        for room in 0..20 {
            let user = format!("u{}", room % 2);
            assert_eq!(gateway.ask(out(&user, room), far()).await, OwnerReply::Keep);
        }
        assert_eq!(count(&gateway.counters().queued), 20);
        let peer = dead.listen();
        let _talks = join!(peer.accept(), async {
            eventually(|| gateway.gateway().is_reachable()).await;
        });
    }

    #[tokio::test]
    async fn a_room_out_waits_for_its_turn_and_ends_it_when_answered() {
        let (peer, gateway) = start().await;
        let mut turns = Turns::default();
        let before = turns.next(&user("u1"));
        gateway.tell(RoomOut { turn: turns.next(&user("u1")), ..out("u1", 1) });
        let mut after = turns.next(&user("u1"));
        // Others pass it by.
        gateway.tell(out("u2", 2));
        let mut talk = peer.accept().await;
        hear_and_answer(&mut talk, &message("u2", 2), "").await;
        assert!(talk.is_quiet().await);
        drop(before);
        assert_eq!(talk.hear().await.unwrap(), message("u1", 1));
        assert!(!after.has_come());
        talk.say(b"").await;
        after.wait(far()).await.unwrap();
    }

    #[tokio::test]
    async fn a_room_out_that_has_to_be_tried_again_does_not_hold_up_what_follows() {
        let dead = DeadPeer::new();
        let gateway = gateway(&gateways(config(dead.address(), Framing::Length4)));
        let mut turns = Turns::default();
        for room in 0..10 {
            let turn = turns.next(&user("u1"));
            gateway.tell(RoomOut { turn, ..out("u1", room) });
            turns.next(&user("u1")).wait(far()).await.unwrap();
        }
        assert_eq!(count(&gateway.counters().queued), 10);
    }
}
