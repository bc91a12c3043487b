//! The state in Redis: one server, a master under Sentinel, or a Redis Cluster.
//!
//! Every step of an operation is one script or command on one key, safe to repeat; so it works in
//! any slot, and a connection that breaks costs a repetition and nothing else. What spans keys is
//! put together so that whatever a crash leaves between two steps is harmless: `sessions` says
//! how, and `both` how one server does it in one step. `departures` has what many operations ask leave
//! together, laid out by `flight`. `calendar` says how all daemons agree on the running day, `delivery`
//! how it goes to auth. `rooms` keeps sets beside the records, and `scrub` and `mend` put right what was
//! left over.

mod address;
mod both;
mod calendar;
mod call;
mod cluster;
mod delivery;
mod departures;
mod doubts;
mod flight;
mod forget;
mod format;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed;
mod history;
pub mod links;
mod lookup;
mod mend;
mod night;
mod owners;
mod place;
mod plan;
mod records;
mod rooms;
mod scan;
mod script;
pub mod scrub;
mod server;
mod servers;
mod sessions;
mod shares;
mod slots;
mod standing;
mod stored;
mod times;
mod words;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{ServerError, Value};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::address::{Address, Terms, parse_url, text as text_of};
use self::calendar::Calendar;
use self::cluster::Cluster;
use self::delivery::Delivery;
use self::departures::Departures;
use self::links::{LinkFigures, Links};
use self::owners::Owners;
use self::records::Records;
use self::rooms::Exits;
use self::scrub::{Pass, Scrub, Step};
use self::server::{Fault, Server};
use self::servers::Servers;
use super::lookup::{Cursor, KnownUser, Member, Page, Population, RoomCount};
use super::night::{Batch, BatchLimits, NextBatch, Night, PastNight, Plan};
use super::upkeep::Upkeep;
use super::{Error, KeepOnline, Result, StateStore};
use crate::config::{self, StoreUrl};
use crate::domain::{Day, Record, RoomId, SessionId, StudyTime, UnixMillis, UserId, UserTime};
use crate::tls::Texts;

/// Who delivers closed days, among all daemons on one Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliverer {
    /// No two daemons have the same at a time. One that is started in the place of another may have
    /// its name, and then goes on at once where that was killed.
    pub name: String,
}

/// The store of `redis:`, `redis+sentinel:` and `redis+cluster:`.
pub struct RedisStore {
    records: Records,
    delivery: Delivery,
    links: Arc<Links>,
    scrub: Scrub,
    command_timeout: Duration,
    stop: CancellationToken,
}

impl RedisStore {
    /// Starts to connect, and returns at once: Redis may come later. Each connection goes by what `tls`
    /// holds when it is made. What it runs in the background
    /// is spawned on `tracker` and ends with `stop` or [`StateStore::close`].
    pub fn open(
        config: &config::Store,
        tls: Arc<ArcSwapOption<Texts>>,
        deliverer: Deliverer,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let stop = stop.child_token();
        let links = Arc::new(Links::default());
        let terms = Terms { timeout: config.redis.connect_timeout, tls };
        let servers = servers(&config.url, terms, &links, tracker, &stop).map_err(Error::Failed)?;
        let command_timeout = config.redis.command_timeout;
        let calendar = Calendar::keep(servers.clone(), command_timeout, tracker, stop.clone());
        let upkeep = Arc::new(Upkeep::default());
        let (exits, waiting) = Exits::new(Arc::clone(&upkeep));
        let (style, owners) = (config.redis.field_style, Arc::new(Owners::default()));
        let records = Records { servers, calendar, style, exits, owners };
        let emptied = records.clone().empty_seats(waiting, command_timeout);
        tracker.spawn(stop.clone().run_until_cancelled_owned(emptied));
        let token = deliverer.name.clone();
        let scrub = Scrub { records: records.clone(), token, upkeep };
        let delivery = Delivery::new(records.clone(), deliverer);
        Ok(Self { records, delivery, scrub, links, command_timeout, stop })
    }

    /// What is kept in order beside the records.
    pub fn upkeep(&self) -> &Upkeep {
        &self.scrub.upkeep
    }

    /// Begins to look everything through if that was done longer ago than `every`, and if no other
    /// daemon is at it.
    pub async fn begin_pass(&self, every: Duration) -> Result<Option<Pass>> {
        self.scrub.begin(every).await
    }

    /// Looks at about so many more keys, and mends what is wrong with them. After an error the pass
    /// is of no more use.
    pub async fn next_step(&self, pass: &mut Pass, keys: usize) -> Result<Step> {
        self.scrub.step(pass, keys).await
    }

    /// Lets other daemons make a pass.
    pub async fn end_pass(&self) -> Result<()> {
        self.scrub.rest().await
    }

    /// The connections to all its servers.
    pub fn links(&self) -> LinkFigures {
        self.links.figures()
    }

    /// Whose the session probably is, where whoever closes it compares that.
    pub fn guessed_owner(&self, session: &SessionId) -> Option<UserId> {
        let Records { servers, owners, .. } = &self.records;
        if servers.are_one() { owners.look(session) } else { None }
    }

    /// How often this daemon found that Redis had lost the running day, and so what it knew of
    /// closed ones.
    pub fn setbacks(&self) -> u64 {
        self.records.calendar.setbacks()
    }

    /// Every operation of a request ends in time, whatever Redis does.
    async fn in_time<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        let ended = timeout(self.command_timeout, operation).await;
        ended.unwrap_or(Err(Error::Slow(self.command_timeout)))
    }

    /// As [`Self::in_time`], for what may end a day: nobody is told before every daemon has heard of
    /// it. That is our own wait and no longer than the day is young; Redis has done its part.
    async fn ending_days<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        let ended = self.in_time(operation).await;
        self.records.calendar.settled().await;
        ended
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").finish_non_exhaustive()
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn servers(
    url: &StoreUrl,
    terms: Terms,
    links: &Arc<Links>,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> std::result::Result<Servers, String> {
    let address = match url {
        StoreUrl::Redis(url) => Address::Fixed(parse_url(url)?),
        StoreUrl::RedisSentinel { sentinels, master, node } => Address::Master {
            sentinels: sentinels.iter().map(parse_url).collect::<std::result::Result<_, _>>()?,
            name: master.clone(),
            node: parse_url(node)?,
        },
        StoreUrl::RedisCluster(nodes) => {
            let seeds = nodes.iter().map(parse_url).collect::<std::result::Result<_, _>>()?;
            let links = Arc::clone(links);
            let cluster = Cluster::keep(seeds, terms, links, tracker, stop.clone());
            return Ok(Servers::Cluster(cluster));
        }
        StoreUrl::Memory | StoreUrl::Embedded(_) => {
            return Err("the store's URL is none of Redis".to_owned());
        }
    };
    let (links, stop) = (Arc::clone(links), stop.child_token());
    let server = Server::keep(address, terms, links, tracker, stop.clone());
    Ok(Servers::One(Departures::keep(server, tracker, stop)))
}

impl StateStore for RedisStore {
    fn in_call_order(&self) -> bool {
        false
    }

    async fn open_session(
        &self,
        user: &UserId,
        room: Option<RoomId>,
        session: &SessionId,
    ) -> Result<Record> {
        self.in_time(self.records.open_session(user, room, session)).await
    }

    async fn close_session(&self, session: &SessionId) -> Result<Option<Record>> {
        self.in_time(self.records.close_session(session)).await
    }

    async fn study_time(&self, user: &UserId) -> Result<Option<StudyTime>> {
        self.in_time(self.records.study_time(user)).await
    }

    async fn record_study_time(&self, user: &UserId, study_time: &StudyTime) -> Result<Record> {
        self.in_time(self.records.record_study_time(user, study_time)).await
    }

    async fn list_study_times(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<()> {
        self.ending_days(self.records.list_study_times(entries, at, last_timeout)).await
    }

    async fn close_day(
        &self,
        entries: &[UserTime],
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Day> {
        self.ending_days(self.records.close_day(entries, at, last_timeout)).await
    }

    async fn close_overdue_day(
        &self,
        at: UnixMillis,
        last_timeout: Duration,
    ) -> Result<Option<Day>> {
        self.ending_days(self.records.close_overdue_day(at, last_timeout)).await
    }

    async fn close_day_by_hand(&self, at: UnixMillis) -> Result<Day> {
        self.ending_days(self.records.close_day_by_hand(at)).await
    }

    async fn night(&self) -> Result<Night> {
        Ok(self.in_time(self.records.night()).await?.night)
    }

    async fn night_history(&self, limit: usize) -> Result<Vec<PastNight>> {
        self.in_time(self.records.night_history(limit)).await
    }

    async fn night_plan(&self, from: Option<Cursor>, limit: usize) -> Result<Plan> {
        self.in_time(self.records.night_plan(from, limit)).await
    }

    /// Without a deadline of its own: it may have to walk over every record. Each step has one.
    async fn next_batch(&self, limits: BatchLimits) -> Result<NextBatch> {
        self.delivery.next_batch(limits).await
    }

    async fn acknowledge_batch(&self, batch: &Batch, keep: KeepOnline) -> Result<()> {
        self.delivery.acknowledge_batch(batch, keep).await
    }

    async fn user(&self, user: &UserId) -> Result<Option<KnownUser>> {
        self.in_time(self.records.user(user)).await
    }

    async fn session(&self, session: &SessionId) -> Result<Option<Record>> {
        self.in_time(self.records.session(session)).await
    }

    async fn rooms(&self, from: Option<Cursor>, limit: usize) -> Result<Page<RoomCount>> {
        self.in_time(self.records.rooms(from, limit)).await
    }

    async fn room(&self, room: RoomId) -> Result<RoomCount> {
        self.in_time(self.records.room(room)).await
    }

    async fn room_members(
        &self,
        room: RoomId,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Member>> {
        self.in_time(self.records.room_members(room, from, limit)).await
    }

    async fn population(&self) -> Result<Option<Population>> {
        self.in_time(self.records.population()).await
    }

    async fn prove_writable(&self) -> Result<()> {
        self.in_time(self.records.prove_writable()).await
    }

    async fn close(&self) -> Result<()> {
        // If Redis is away, the right to deliver runs out by itself.
        drop(self.in_time(self.delivery.rest(NextBatch::Nothing)).await);
        drop(timeout(self.command_timeout, self.records.exits.settle()).await);
        self.stop.cancel();
        Ok(())
    }
}

/// A new name for an operation or a daemon: 16 characters, as the scripts expect.
fn new_operation() -> String {
    Batch::new_id()
}

/// What is told of calls that got no reply.
fn unreached(fault: Fault) -> Error {
    match fault {
        Fault::Away(why) => Error::Away(why),
        Fault::Broken(why) => Error::Failed(format!("the connection to redis broke: {why}")),
    }
}

/// What it means if earlier calls of the same operation were made: that nothing was done is not so any
/// more.
fn midway(error: Error) -> Error {
    match error {
        Error::Away(why) => unreached(Fault::Away(why).midway()),
        error @ (Error::Slow(_) | Error::Unreadable(_) | Error::Failed(_)) => error,
    }
}

/// What is told of a call that Redis refused.
fn refusal(error: ServerError) -> Error {
    match error.code() {
        "WRONGTYPE" => Error::Unreadable("its key is of another type".to_owned()),
        code => {
            let details: String = error.details().unwrap_or_default().chars().take(200).collect();
            Error::Failed(format!("redis refused: {code} {details}"))
        }
    }
}

/// The fields and values of a hash.
fn pairs_of(value: &Value) -> Vec<(String, String)> {
    if let Value::Map(pairs) = value {
        let pairs = pairs.iter();
        return pairs.filter_map(|(field, value)| texts_of(field, value)).collect();
    }
    let Value::Array(flat) = value else { return Vec::new() };
    flat.chunks_exact(2).filter_map(|pair| texts_of(pair.first()?, pair.get(1)?)).collect()
}

fn texts_of(field: &Value, value: &Value) -> Option<(String, String)> {
    Some((text_of(field)?, text_of(value)?))
}
