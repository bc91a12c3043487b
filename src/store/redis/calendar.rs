//! Which day it is: known without asking, for as long as no daemon can have ended it unheard.
//!
//! The running day stands in one key, and operations on users may not read a second one. So every
//! daemon reads it over and over and uses what it read for [`LEASE`] after it asked; and whoever
//! ends a day does not say so before that time has run out for everybody. An operation that still
//! works with the old day then began before the end was announced, and either order is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use redis::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call::Call;
use super::format::{self, FORMAT, FORMAT_FIELD};
use super::records::unexpected;
use super::script::RAISE_DAY;
use super::servers::Servers;
use super::stored::NIGHT_KEY;
use super::{refusal, text_of, unreached};
use crate::domain::{Day, UnixMillis};
use crate::store::{Error, Result};

/// How often the day is read.
const READ_EVERY: Duration = Duration::from_millis(100);
/// How often at the least while Redis is away.
const READ_EVERY_AWAY: Duration = Duration::from_secs(1);
/// For how long an answer may be used, from when the question was sent.
const LEASE: Duration = Duration::from_millis(300);
/// What the clocks of two machines may disagree over the length of a lease, by far.
const MARGIN: Duration = Duration::from_millis(50);

/// The running day and what else the scripts need to know of the night.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Today {
    pub(super) day: Day,
    /// The first day that is not wholly sealed: records without a day may belong to it.
    pub(super) swept: Day,
}

/// Knows which day it is.
#[derive(Clone)]
pub(super) struct Calendar {
    shared: Arc<Shared>,
}

struct Shared {
    servers: Servers,
    read_timeout: Duration,
    page: watch::Sender<Page>,
    wanted: Notify,
    /// How often Redis was found to have lost the running day.
    setbacks: AtomicU64,
    /// Whether the night's hash named a format when it was last read. It never loses that by itself.
    was_marked: AtomicBool,
    stop: CancellationToken,
}

/// What was read last.
#[derive(Debug, Clone)]
struct Page {
    today: Today,
    /// When this daemon first heard of the day.
    day_since: Instant,
    /// When the latest question that was answered was sent; none before the first.
    confirmed: Option<Instant>,
    /// When the latest question that failed was sent, and how.
    failed: Option<(Instant, Failure)>,
}

/// What the night's hash says that everybody has to know.
#[derive(Debug, Clone, Copy)]
struct Standing {
    day: Day,
    /// The first day that is not wholly sealed, if any day was ever closed.
    swept: Option<Day>,
    /// Whether it names a format.
    is_marked: bool,
}

/// An error that many may be told of.
#[derive(Debug, Clone)]
enum Failure {
    Away(String),
    Failed(String),
}

impl Calendar {
    /// Reads the day until `stop`.
    pub(super) fn keep(
        servers: Servers,
        read_timeout: Duration,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let today = Today { day: Day::FIRST, swept: Day::FIRST };
        let page = Page { today, day_since: Instant::now(), confirmed: None, failed: None };
        let page = watch::Sender::new(page);
        let shared = Arc::new(Shared {
            servers,
            read_timeout,
            page,
            wanted: Notify::new(),
            setbacks: AtomicU64::new(0),
            was_marked: AtomicBool::new(false),
            stop: stop.clone(),
        });
        let reader = shared.clone();
        tracker.spawn(async move { stop.run_until_cancelled_owned(reader.keep_reading()).await });
        Self { shared }
    }

    /// The running day, as it stood at some time since the caller began.
    pub(super) async fn today(&self) -> Result<Today> {
        let known = {
            let page = self.shared.page.borrow();
            page.confirmed.filter(|sent| sent.elapsed() < LEASE).map(|_| page.today)
        };
        match known {
            Some(today) => Ok(today),
            None => Box::pin(self.ask()).await,
        }
    }

    /// The running day, which a record proves to be `day` at the least.
    pub(super) async fn catch_up(&self, day: Day) -> Result<Today> {
        let today = self.ask().await?;
        if today.day >= day {
            return Ok(today);
        }
        // Redis has lost the night and kept records.
        self.shared.heard_of(day);
        self.shared.raise(day).await?;
        self.ask().await
    }

    /// The running day as it stands after now.
    async fn ask(&self) -> Result<Today> {
        let asked = Instant::now();
        let mut page = self.shared.page.subscribe();
        self.shared.wanted.notify_one();
        let told = page.wait_for(|page| page.is_newer_than(asked));
        // Nobody reads the day any more after that.
        let told = self.shared.stop.run_until_cancelled(told).await;
        let Some(Ok(page)) = told.map(|told| told.map(|page| page.clone())) else {
            return Err(Error::Away("the daemon is stopping".to_owned()));
        };
        match page.failed {
            Some((sent, failure)) if sent >= asked => Err(failure.into()),
            _ => Ok(page.today),
        }
    }

    /// The day before `day` was ended.
    pub(super) fn heard_of(&self, day: Day) {
        self.shared.heard_of(day);
    }

    /// How often this daemon found that Redis had lost the running day.
    pub(super) fn setbacks(&self) -> u64 {
        self.shared.setbacks.load(Relaxed)
    }

    /// Waits until nobody works with an older day than this daemon any more.
    pub(super) async fn settled(&self) {
        let since = self.shared.page.borrow().day_since;
        sleep_until(since + LEASE + MARGIN).await;
    }
}

impl Page {
    fn is_newer_than(&self, asked: Instant) -> bool {
        let failed = self.failed.as_ref().map(|(sent, _)| *sent);
        self.confirmed.max(failed).is_some_and(|sent| sent >= asked)
    }
}

impl Shared {
    async fn keep_reading(self: Arc<Self>) {
        loop {
            let sent = Instant::now();
            let pause = match self.read_marked().await {
                Ok(standing) => {
                    self.confirm(sent, &standing);
                    READ_EVERY
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    self.page.send_modify(|page| page.failed = Some((sent, failure)));
                    READ_EVERY_AWAY
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Where the night stands, once the mark is known to stand too, or is refused. What is done by it is
    /// missed then if it is lost, also right after the first of it.
    async fn read_marked(&self) -> Result<Standing> {
        let standing = self.in_time(self.read()).await?;
        if standing.is_marked || !self.in_time(self.mark()).await? {
            return Ok(standing);
        }
        // Somebody came first, perhaps with another format.
        match self.in_time(self.read()).await? {
            Standing { is_marked: false, .. } => Err(Error::Away("it was emptied".to_owned())),
            standing => Ok(standing),
        }
    }

    async fn in_time<T>(&self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(self.read_timeout, asked).await.unwrap_or(Err(Error::Slow(self.read_timeout)))
    }

    /// Where the night stands. The day never falls: if Redis has lost it, it is told again. Nothing
    /// is read, and so nothing done, if a newer version wrote it.
    async fn read(&self) -> Result<Standing> {
        let mut standing = self.look().await?;
        let (known, was_marked) = (self.page.borrow().today.day, self.was_marked.load(Relaxed));
        if standing.day < known || was_marked && !standing.is_marked {
            self.raise(known).await?;
            // What was lost says nothing of what is sealed.
            standing = self.look().await?;
        }
        self.was_marked.store(standing.is_marked, Relaxed);
        Ok(standing)
    }

    async fn look(&self) -> Result<Standing> {
        let call = Call::command("HMGET", NIGHT_KEY).arg("day").arg("swept").arg(FORMAT_FIELD);
        let value = self.servers.own(call).await?;
        let Value::Array(fields) = &value else { return Err(unexpected()) };
        let [day, swept, mark] = fields.as_slice() else { return Err(unexpected()) };
        format::check(text_of(mark).as_deref())?;
        let day_in = |field| text_of(field).and_then(|day| day.parse().ok()).map(Day);
        Ok(Standing {
            day: day_in(day).unwrap_or(Day::FIRST),
            swept: day_in(swept),
            is_marked: *mark != Value::Nil,
        })
    }

    /// Says which format is written here; whether somebody else had said so before. A Redis that refuses
    /// writes and is read all the same (it has no memory or no disk left) is tried again after the next
    /// reading.
    async fn mark(&self) -> Result<bool> {
        let call = Call::command("HSETNX", NIGHT_KEY).arg(FORMAT_FIELD).number(FORMAT);
        match self.servers.one(call).await.map_err(unreached)? {
            Ok(answer) => {
                self.was_marked.store(true, Relaxed);
                Ok(answer == Value::Int(0))
            }
            Err(error) => {
                tracing::debug!("the store takes no mark: {}", refusal(error));
                Ok(false)
            }
        }
    }

    fn confirm(&self, sent: Instant, standing: &Standing) {
        self.heard_of(standing.day);
        self.page.send_modify(|page| {
            page.today.swept = standing.swept.unwrap_or(standing.day);
            page.confirmed = Some(sent);
        });
    }

    fn heard_of(&self, day: Day) {
        self.page.send_if_modified(|page| {
            let is_new = page.today.day < day;
            if is_new {
                page.today.day = day;
                page.day_since = Instant::now();
            }
            is_new
        });
    }

    /// Only one of several daemons finds that anything was lost: whoever comes first.
    async fn raise(&self, day: Day) -> Result<()> {
        let call = Call::script(&RAISE_DAY, NIGHT_KEY).number(day.0).number(UnixMillis::now().0);
        let was_lost = self.servers.own(call).await?;
        if was_lost == Value::Int(1) {
            self.setbacks.fetch_add(1, Relaxed);
            tracing::error!(
                day = day.0,
                "redis has lost what it knew of the night, and with it closed days that were not \
                 delivered, if there were any: it was restarted empty, set back, or taken over by a \
                 replica that had heard less"
            );
        }
        Ok(())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Away(text) => Self::Away(text),
            Error::Failed(text) | Error::Unreadable(text) => Self::Failed(text),
            Error::Slow(limit) => Self::Away(format!("no answer within {limit:?}")),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(text) => Self::Away(text),
            Failure::Failed(text) => Self::Failed(text),
        }
    }
}
