//! The connection to one Redis server: kept, watched, made again, swapped under those who use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::{Address, Terms};
use super::call::{self, Call, Reply};
use super::doubts;
use super::links::Links;
use super::script::{ScriptAs, load_scripts};
use crate::throttle::{Cause, admits};

/// How long a request that finds no connection waits for an attempt, from the attempt's beginning;
/// and at the least, from its own. So requests do not pile up before a server that hangs.
const CONNECT_WAIT: Duration = Duration::from_millis(500);
const CONNECT_WAIT_MIN: Duration = Duration::from_millis(100);
/// The shortest time between the beginnings of two attempts to connect.
const ATTEMPT_SPACING: Duration = Duration::from_millis(10);
/// Pauses between attempts that nobody asked for.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// How often a connection is asked whether it lives, and how long it may take to say so. A server
/// that hangs keeps its connections open: nothing else would tell.
const PING_EVERY: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Errors of a server that can't do anything for us now: it takes no writes, has no data yet, or
/// does not know us any more.
const UNUSABLE: [&str; 4] = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH"];

/// Why calls got no replies.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// There was no connection: nothing was done.
    Away(String),
    /// The connection broke: whether anything was done is unknown.
    Broken(String),
}

impl Fault {
    /// What it means if earlier calls of the same operation may have been made.
    pub(super) fn midway(self) -> Self {
        match self {
            Self::Away(why) | Self::Broken(why) => Self::Broken(why),
        }
    }
}

/// One server, by whatever address it has now.
#[derive(Clone)]
pub(super) struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    address: Address,
    terms: Terms,
    live: ArcSwapOption<Live>,
    /// The latest attempt to connect that was begun: its number, and when.
    begun: watch::Sender<(u64, Instant)>,
    /// The latest attempt that ended.
    ended: watch::Sender<Attempt>,
    /// Somebody needs a connection and there is none.
    wanted: Notify,
    /// Whether one script may be about keys of one slot only.
    has_slots: AtomicBool,
    links: Arc<Links>,
    stop: CancellationToken,
}

#[derive(Debug, Clone, Default)]
struct Attempt {
    number: u64,
    failure: Option<String>,
}

/// A connection in use.
pub(super) struct Live {
    connection: MultiplexedConnection,
    number: u64,
    /// Set once it is known to be of no use; whoever waits on it stops waiting.
    dead: CancellationToken,
}

/// A connection just made.
struct Connected {
    connection: MultiplexedConnection,
    address: String,
    /// What is not as it should be.
    doubt: Option<String>,
}

impl Server {
    /// Starts to keep a connection to the address, until `stop`.
    pub(super) fn keep(
        address: Address,
        terms: Terms,
        links: Arc<Links>,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            address,
            terms,
            live: ArcSwapOption::empty(),
            begun: watch::Sender::new((0, Instant::now())),
            ended: watch::Sender::new(Attempt::default()),
            wanted: Notify::new(),
            has_slots: AtomicBool::new(false),
            links,
            stop: stop.clone(),
        });
        let keeper = shared.clone();
        tracker.spawn(async move { stop.run_until_cancelled_owned(keeper.keep_connected()).await });
        Self { shared }
    }

    /// Lets go of the server.
    pub(super) fn stop(&self) {
        self.shared.stop.cancel();
    }

    /// Whether both are the same server, not only the same address.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether it is a cluster's server: one script may be about keys of one slot only.
    pub(super) fn has_slots(&self) -> bool {
        self.shared.has_slots.load(Relaxed)
    }

    /// Counts the connections: two calls with one number between them spoke to the same process.
    pub(super) fn connection_number(&self) -> Option<u64> {
        self.shared.live.load().as_ref().map(|live| live.number)
    }

    /// Whether there is a connection, as far as is known.
    pub(super) fn is_connected(&self) -> bool {
        self.shared.live.load().as_ref().is_some_and(|live| !live.dead.is_cancelled())
    }

    /// Waits for a connection, as a call would.
    pub(super) async fn connected(&self) -> Result<(), Fault> {
        self.live().await.map(drop)
    }

    /// Sends the calls in their order, in one write. If the connection breaks under them they are
    /// sent once more.
    pub(super) async fn send(&self, calls: &[Call]) -> Result<Vec<Reply>, Fault> {
        match self.send_once(calls).await {
            // What the first attempt may have done is not undone by a second that got nowhere.
            Err(broken @ Fault::Broken(_)) => self.send_once(calls).await.map_err(|_| broken),
            done => done,
        }
    }

    /// Sends the call as the one that a moving slot is being imported for.
    pub(super) async fn send_asking(&self, call: &Call) -> Result<Reply, Fault> {
        let live = self.live().await?;
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ASKING");
        let asked = call::pipeline(std::slice::from_ref(call), ScriptAs::Source);
        for cmd in asked.cmd_iter() {
            pipeline.add_command(cmd.clone());
        }
        let values = self.exchange(&live, &pipeline).await?;
        let last = values.into_iter().next_back().map(|value| call.reply(value));
        last.ok_or_else(|| Fault::Broken("a reply is missing".to_owned()))
    }

    /// As [`Self::send`], without the repetition.
    pub(super) async fn send_once(&self, calls: &[Call]) -> Result<Vec<Reply>, Fault> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let live = self.live().await?;
        let replies = self.exchange_calls(&live, calls, ScriptAs::Hash).await?;
        if replies.iter().any(call::is_unknown_script) {
            return self.exchange_calls(&live, calls, ScriptAs::Source).await;
        }
        Ok(replies)
    }

    async fn exchange_calls(
        &self,
        live: &Live,
        calls: &[Call],
        sent: ScriptAs,
    ) -> Result<Vec<Reply>, Fault> {
        let values = self.exchange(live, &call::pipeline(calls, sent)).await?;
        let replies = call::replies(calls, values);
        match replies.iter().find_map(unusable) {
            Some(why) => Err(self.give_up(live, why)),
            None => Ok(replies),
        }
    }

    /// Sends the commands, and waits for the reply to each.
    pub(super) async fn exchange(
        &self,
        live: &Live,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, Fault> {
        let mut connection = live.connection.clone();
        let count = pipeline.len();
        let sent = connection.send_packed_commands(pipeline, 0, count);
        match live.dead.run_until_cancelled(sent).await {
            None => Err(Fault::Broken("the connection does not answer".to_owned())),
            Some(Err(error)) => Err(self.give_up(live, error.to_string())),
            Some(Ok(values)) if values.len() != count => {
                Err(self.give_up(live, "replies are missing".to_owned()))
            }
            Some(Ok(values)) => Ok(values),
        }
    }

    /// The connection is of no more use.
    pub(super) fn give_up(&self, live: &Live, why: String) -> Fault {
        live.dead.cancel();
        Fault::Broken(why)
    }

    /// The connection; if there is none, what an attempt begun after the question brings.
    pub(super) async fn live(&self) -> Result<Arc<Live>, Fault> {
        if let Some(live) = self.shared.usable() {
            return Ok(live);
        }
        let (after, begun_at) = *self.shared.begun.borrow();
        let mut ended = self.shared.ended.subscribe();
        let now = Instant::now();
        let deadline = match ended.borrow().number == after {
            true => now + CONNECT_WAIT,
            false => (begun_at + CONNECT_WAIT).max(now + CONNECT_WAIT_MIN),
        };
        self.shared.wanted.notify_one();
        let attempt = ended.wait_for(|attempt| {
            self.shared.usable().is_some() || (attempt.number > after && attempt.failure.is_some())
        });
        drop(timeout_at(deadline, attempt).await);
        self.shared.usable().ok_or_else(|| Fault::Away(self.shared.why_away()))
    }
}

impl Shared {
    fn usable(&self) -> Option<Arc<Live>> {
        self.live.load_full().filter(|live| !live.dead.is_cancelled())
    }

    fn why_away(&self) -> String {
        let failure = self.ended.borrow().failure.clone();
        failure.unwrap_or_else(|| "it can't be connected to in time".to_owned())
    }

    /// Connects, watches, connects again. The log hears of changes only.
    async fn keep_connected(self: Arc<Self>) {
        let mut pause = BACK_OFF_MIN;
        let mut is_told = false;
        loop {
            let begun_at = Instant::now();
            let number = self.begun.borrow().0 + 1;
            self.begun.send_replace((number, begun_at));
            match self.connect().await {
                Ok(Connected { connection, address, doubt }) => {
                    let open = self.links.opened();
                    if admits(Cause::RedisFlaps) {
                        tracing::info!(redis.address = %address, "connected to redis");
                    }
                    if let Some(doubt) = doubt.filter(|_| admits(Cause::RedisFlaps)) {
                        tracing::warn!(redis.address = %address, "{doubt}");
                    }
                    let why = self.use_until_dead(connection, number).await;
                    open.lost();
                    if admits(Cause::RedisFlaps) {
                        tracing::warn!(redis.address = %address, "lost redis: {why}");
                    }
                    (pause, is_told) = (BACK_OFF_MIN, true);
                }
                Err(why) => {
                    self.links.failed();
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::error!(redis.address = %self.address, "redis can't be reached: {why}");
                    }
                    self.ended.send_replace(Attempt { number, failure: Some(why) });
                    self.rest(begun_at, pause).await;
                    pause = (pause * 2).min(BACK_OFF_MAX);
                }
            }
        }
    }

    async fn connect(&self) -> Result<Connected, String> {
        let connected = async {
            let (mut connection, address) = self.address.connect(&self.terms).await?;
            // Where loading is forbidden they are sent when they are needed.
            let mut greeting = load_scripts();
            for [command, section] in [doubts::QUESTION_OF_SLOTS, doubts::QUESTION] {
                greeting.cmd(command).arg(section);
            }
            let replies = connection.send_packed_commands(&greeting, 0, greeting.len()).await;
            let replies = replies.map_err(|error| error.to_string())?;
            let doubt = replies.last().and_then(doubts::of_memory);
            let has_slots = replies.iter().rev().nth(1).is_some_and(doubts::has_slots);
            self.has_slots.store(has_slots, Relaxed);
            Ok(Connected { connection, address, doubt })
        };
        match timeout(self.terms.timeout, connected).await {
            Ok(connected) => connected,
            Err(_) => Err(format!("no connection within {:?}", self.terms.timeout)),
        }
    }

    /// Says why it is dead.
    async fn use_until_dead(&self, connection: MultiplexedConnection, number: u64) -> String {
        let dead = CancellationToken::new();
        let live = Live { connection: connection.clone(), number, dead: dead.clone() };
        self.live.store(Some(Arc::new(live)));
        self.ended.send_replace(Attempt { number, failure: None });
        let why = dead.run_until_cancelled(ping_until_silent(connection)).await;
        dead.cancel();
        self.live.store(None);
        why.unwrap_or_else(|| "the connection broke".to_owned())
    }

    /// Waits for the next attempt's time, or until somebody needs it.
    async fn rest(&self, begun_at: Instant, pause: Duration) {
        let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        tokio::select! {
            () = sleep(jittered) => {}
            () = self.wanted.notified() => sleep_until(begun_at + ATTEMPT_SPACING).await,
        }
    }
}

async fn ping_until_silent(mut connection: MultiplexedConnection) -> String {
    loop {
        sleep(PING_EVERY).await;
        let ping = redis::cmd("PING");
        match timeout(PING_TIMEOUT, connection.send_packed_command(&ping)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("no answer within {PING_TIMEOUT:?}"),
        }
    }
}

/// Whether the server can't do anything for us now: it must be looked up and connected to anew.
pub(super) fn unusable(reply: &Reply) -> Option<String> {
    let error = reply.as_ref().err()?;
    UNUSABLE.contains(&error.code()).then(|| error.to_string())
}
