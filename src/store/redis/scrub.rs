//! A pass over everything in Redis, step by step: counts it, and has what a crash left behind
//! mended. One daemon at a time makes passes; all of them read what was counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::call::Call;
use super::records::Records;
use super::scan::{scan, user_of_key};
use super::script::{DELETE_IF_EQUAL, HOLD_LOCK};
use super::servers::Layout;
use super::stored::{INDEX_PREFIX, POPULATION_KEY, SCRUB_LOCK_KEY, room_of_key};
use super::{text_of, unreached};
use crate::domain::{RoomId, SessionId, UnixMillis};
use crate::store::Result;
use crate::store::lookup::Population;
use crate::store::upkeep::Upkeep;

/// How long one step may take. A step that takes longer is given up, and its pass with it.
pub const STEP_MAX: Duration = Duration::from_secs(15);
/// How long the right to make a pass lasts without being renewed, which every step does.
const LEASE: Duration = Duration::from_secs(30);

/// Makes passes.
pub(super) struct Scrub {
    pub(super) records: Records,
    /// Who we are to the lock.
    pub(super) token: String,
    pub(super) upkeep: Arc<Upkeep>,
}

/// A pass under way. Redis may name a key twice while it grows or shrinks, so that what is counted
/// is right only if it does not.
pub struct Pass {
    layout: Layout,
    at: usize,
    cursor: u64,
    /// Rooms that were come across and are not through.
    pub(super) rooms: VecDeque<RoomWalk>,
    pub(super) counts: Counts,
}

/// A room's set, as far as it was looked at.
pub(super) struct RoomWalk {
    pub(super) room: RoomId,
    pub(super) cursor: u64,
    /// Somebody who was seen is live in it.
    pub(super) is_inhabited: bool,
}

/// What a pass has come across.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) users: u64,
    pub(super) sessions_live: u64,
    pub(super) rooms: u64,
    pub(super) left_alone: u64,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more; so many keys and members were looked at.
    More(usize),
    /// That was the last.
    Done(Population),
    /// Keys moved between servers meanwhile, or another daemon makes a pass: what was counted is
    /// worth nothing.
    Void,
}

impl Scrub {
    /// Begins a pass if the latest one ended longer ago than `every`, and nobody else is at it.
    pub(super) async fn begin(&self, every: Duration) -> Result<Option<Pass>> {
        if let Some(counted) = self.records.population().await? {
            self.upkeep.hear_of(counted);
            // Who counted may have had a clock that was ahead, which must not keep us from looking.
            let (now, then) = (UnixMillis::now(), counted.as_of);
            if now.since(then).max(then.since(now)) < every {
                return Ok(None);
            }
        }
        if !self.hold().await? {
            return Ok(None);
        }
        let layout = self.records.servers.layout().await.map_err(unreached)?;
        let (rooms, counts) = (VecDeque::new(), Counts::default());
        Ok(Some(Pass { layout, at: 0, cursor: 0, rooms, counts }))
    }

    /// Takes the next step, over about so many keys. After an error the pass is of no more use.
    pub(super) async fn step(&self, pass: &mut Pass, keys: usize) -> Result<Step> {
        if !self.hold().await? {
            return Ok(Step::Void);
        }
        let looked_at = match pass.rooms.is_empty() {
            true => self.look_at_keys(pass, keys).await?,
            false => self.look_at_rooms(pass, keys).await?,
        };
        if pass.at < pass.layout.servers.len() || !pass.rooms.is_empty() {
            return Ok(Step::More(looked_at));
        }
        self.end(pass).await
    }

    async fn look_at_keys(&self, pass: &mut Pass, keys: usize) -> Result<usize> {
        let Some(server) = pass.layout.servers.get(pass.at) else { return Ok(0) };
        let (cursor, found) = scan(server, pass.cursor, None, keys).await?;
        let users = found.iter().filter_map(|key| user_of_key(key)).collect();
        self.look_at_records(users, &mut pass.counts).await?;
        let sessions = found
            .iter()
            .filter_map(|key| SessionId::parse(key.strip_prefix(INDEX_PREFIX)?).ok())
            .collect();
        self.look_at_indexes(sessions, &mut pass.counts).await?;
        pass.rooms.extend(found.iter().filter_map(|key| room_of_key(key)).map(|room| RoomWalk {
            room,
            cursor: 0,
            is_inhabited: false,
        }));
        pass.cursor = cursor;
        pass.at += usize::from(cursor == 0);
        Ok(found.len())
    }

    async fn end(&self, pass: &Pass) -> Result<Step> {
        let now = self.records.servers.layout().await.map_err(unreached)?;
        let Counts { users, sessions_live, rooms, left_alone } = pass.counts;
        let counted = Population { users, sessions_live, rooms, as_of: UnixMillis::now() };
        let is_whole = now.is_as(&pass.layout);
        if is_whole {
            let call = Call::command("HSET", POPULATION_KEY)
                .arg("users")
                .number(users)
                .arg("sessions_live")
                .number(sessions_live)
                .arg("rooms")
                .number(rooms)
                .arg("as_of")
                .number(counted.as_of.0);
            self.records.servers.own(call).await?;
            self.upkeep.left_alone.store(left_alone, Relaxed);
            self.upkeep.hear_of(counted);
        }
        self.rest().await?;
        Ok(if is_whole { Step::Done(counted) } else { Step::Void })
    }

    /// Takes or renews the right to make a pass. Fails where nothing may be written at all.
    async fn hold(&self) -> Result<bool> {
        self.records.calendar.today().await?;
        let call = Call::script(&HOLD_LOCK, SCRUB_LOCK_KEY)
            .arg(self.token.as_str())
            .number(LEASE.as_millis());
        let held = self.records.servers.own(call).await?;
        Ok(text_of(&held).is_some_and(|held| held == "kept" || held == "taken"))
    }

    /// Lets others make passes.
    pub(super) async fn rest(&self) -> Result<()> {
        let call = Call::script(&DELETE_IF_EQUAL, SCRUB_LOCK_KEY).arg(self.token.as_str());
        self.records.servers.own(call).await?;
        Ok(())
    }
}
