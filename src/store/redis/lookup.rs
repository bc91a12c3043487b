//! What operators look up in Redis.

use redis::Value;

use super::call::{Call, Reply};
use super::place::Place;
use super::records::{Records, unexpected};
use super::scan::scan;
use super::script::PROVE_WRITABLE;
use super::standing::Standing;
use super::stored::{CANARY_KEY, POPULATION_KEY, ROOM_PATTERN, room_key, room_of_key, session_key};
use super::{new_operation, pairs_of, refusal, text_of, unreached};
use crate::domain::{Record, RoomId, SessionId, UnixMillis, UserId};
use crate::store::lookup::{
    Cursor, KnownUser, Member, PAGE_ITEMS_MAX, Page, Population, RoomCount,
};
use crate::store::{Error, Result};

/// Keys looked at for one page of rooms.
const PAGE_KEYS_MAX: usize = 20_000;
/// Keys looked at in one step for it, at the least.
const STEP_KEYS_MIN: usize = 100;
/// How long what is written to prove that something can be written stays, in milliseconds.
const CANARY_MILLIS: u64 = 60_000;

impl Records {
    pub(super) async fn user(&self, user: &UserId) -> Result<Option<KnownUser>> {
        let read = self.read_each(std::slice::from_ref(user)).await?.pop();
        let Some(read) = read.ok_or_else(unexpected)?? else { return Ok(None) };
        let is_live = match &read.open {
            Some(session) => self.leads_to(session, user).await?,
            None => false,
        };
        Ok(Some(KnownUser { record: read.record, is_live }))
    }

    async fn leads_to(&self, session: &SessionId, user: &UserId) -> Result<bool> {
        let call = Call::command("GET", session_key(session));
        let owner = self.servers.one(call).await.map_err(unreached)?.map_err(refusal)?;
        Ok(matches!(owner, Value::BulkString(owner) if owner == user.as_str().as_bytes()))
    }

    pub(super) async fn session(&self, session: &SessionId) -> Result<Option<Record>> {
        let standing = self.standing_of_each(std::slice::from_ref(session)).await?.pop();
        match standing.ok_or_else(unexpected)? {
            Standing::Live(record) => Ok(Some(record)),
            Standing::Nobody | Standing::Leftover(_) => Ok(None),
            Standing::Unreadable(why) => Err(Error::Unreadable(why)),
        }
    }

    /// Rooms by SCAN, one server after the other. None is missed that is there all the time, but one
    /// whose slot is just moving; some may come twice.
    pub(super) async fn rooms(
        &self,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<RoomCount>> {
        self.exits.settle().await;
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let (servers, mark) = self.servers.survey().await.map_err(unreached)?;
        let mut place = Place::of(from, mark);
        let (mut items, mut looked_at) = (Vec::new(), 0);
        let step = limit.max(STEP_KEYS_MIN);
        while let Some(server) = servers.get(place.server) {
            if items.len() >= limit || looked_at >= PAGE_KEYS_MAX {
                return Ok(Page { items, next: Some(place.cursor()) });
            }
            let (scanned, keys) = scan(server, place.scanned, Some(ROOM_PATTERN), step).await?;
            items.extend(self.count_each(&keys).await?);
            looked_at += step;
            place.step_to(scanned);
        }
        let (_, now) = self.servers.survey().await.map_err(unreached)?;
        Ok(Page { items, next: (now != mark).then_some(Place::NOWHERE) })
    }

    /// The rooms whose sets these are; what is no set, or is empty by now, is none.
    async fn count_each(&self, keys: &[String]) -> Result<Vec<RoomCount>> {
        let rooms: Vec<_> = keys.iter().filter_map(|key| room_of_key(key)).collect();
        let calls = rooms.iter().map(|room| Call::command("SCARD", room_key(*room))).collect();
        let replies = self.ask_each(calls).await?;
        let counted = rooms.into_iter().zip(replies).filter_map(|(room, reply)| match reply {
            Ok(Value::Int(sessions)) => {
                let sessions = u64::try_from(sessions).ok().filter(|sessions| *sessions > 0)?;
                Some(RoomCount { room, sessions })
            }
            Ok(_) | Err(_) => None,
        });
        Ok(counted.collect())
    }

    pub(super) async fn room(&self, room: RoomId) -> Result<RoomCount> {
        self.exits.settle().await;
        let call = Call::command("SCARD", room_key(room));
        let reply = self.servers.one(call).await.map_err(unreached)?.map_err(of_set)?;
        let Value::Int(sessions) = reply else { return Err(unexpected()) };
        Ok(RoomCount { room, sessions: u64::try_from(sessions).unwrap_or_default() })
    }

    /// The sessions that the room's set names and that are live in this room.
    pub(super) async fn room_members(
        &self,
        room: RoomId,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Member>> {
        self.exits.settle().await;
        let [from, ..] = from.map_or([0; 3], |cursor| cursor.0);
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let call = Call::command("SSCAN", room_key(room)).number(from).arg("COUNT").number(limit);
        let (next, members) = read_set_page(self.servers.one(call).await.map_err(unreached)?)?;
        let sessions = members.into_iter().flatten();
        let sessions: Vec<_> =
            sessions.filter_map(|member| SessionId::parse(&member).ok()).collect();
        let standings = self.standing_of_each(&sessions).await?;
        let live = sessions.into_iter().zip(standings).filter_map(|(session, standing)| {
            let Standing::Live(record) = standing else { return None };
            (record.room == Some(room)).then_some(Member { session, user: record.user })
        });
        let next = (next != 0).then_some(Cursor([next, 0, 0]));
        Ok(Page { items: live.collect(), next })
    }

    pub(super) async fn population(&self) -> Result<Option<Population>> {
        let call = Call::command("HGETALL", POPULATION_KEY);
        let reply = self.servers.own(call).await?;
        let fields = pairs_of(&reply);
        let number = |name: &str| {
            let (_, value) = fields.iter().find(|(field, _)| field == name)?;
            value.parse::<u64>().ok()
        };
        let population = || {
            Some(Population {
                users: number("users")?,
                sessions_live: number("sessions_live")?,
                rooms: number("rooms")?,
                as_of: UnixMillis(number("as_of")?),
            })
        };
        Ok(population())
    }

    /// Every server that takes writes takes one.
    pub(super) async fn prove_writable(&self) -> Result<()> {
        // A newer version's store is nothing to write to.
        self.calendar.today().await?;
        let proof = new_operation();
        let keys = self.servers.key_on_each(CANARY_KEY).await.map_err(unreached)?;
        let call =
            |key| Call::script(&PROVE_WRITABLE, key).arg(proof.as_str()).number(CANARY_MILLIS);
        let replies = self.ask_each(keys.into_iter().map(call).collect()).await?;
        for reply in replies {
            if text_of(&reply.map_err(refusal)?) != Some(proof.clone()) {
                return Err(Error::Failed("redis forgets what it is given".to_owned()));
            }
        }
        Ok(())
    }
}

/// Reads one step of SSCAN over a room's set: the next cursor, and the members as far as they are
/// text.
pub(super) fn read_set_page(reply: Reply) -> Result<(u64, Vec<Option<String>>)> {
    let Value::Array(parts) = reply.map_err(of_set)? else { return Err(unexpected()) };
    let [next, Value::Array(members)] = parts.as_slice() else { return Err(unexpected()) };
    let next = text_of(next).and_then(|next| next.parse().ok()).ok_or_else(unexpected)?;
    Ok((next, members.iter().map(text_of).collect()))
}

/// What is told of a room's set that Redis refused to open.
fn of_set(error: redis::ServerError) -> Error {
    match refusal(error) {
        Error::Unreadable(_) => Error::Failed("the room's key is no set".to_owned()),
        error @ (Error::Away(_) | Error::Slow(_) | Error::Failed(_)) => error,
    }
}
