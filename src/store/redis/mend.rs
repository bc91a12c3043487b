//! What a crash between two keys leaves behind, found and put right.
//!
//! Only what provably is not so any more is taken away: what can't be read, or was written by
//! somebody who spells it otherwise, is left alone and counted. What looks wrong is looked at twice,
//! with a pause between: whoever is at it just now, in whatever order of keys, is through by then.

use std::collections::HashSet;
use std::time::Duration;

use redis::Value;
use tokio::time::sleep;

use super::call::Call;
use super::lookup::read_set_page;
use super::rooms::{Seat, may_be_in, member_call};
use super::scrub::{Counts, Pass, RoomWalk, Scrub};
use super::standing::{Owner, Read, Standing};
use super::stored::room_key;
use crate::domain::{SessionId, UserId};
use crate::store::upkeep::Mended;
use crate::store::{Error, Result};

/// The pause before what looks wrong is looked at again.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// Rooms' sets that are looked at in one step.
const ROOMS_MAX: usize = 16;

impl Scrub {
    /// Counts users and live sessions, and puts sessions into their rooms' sets.
    pub(super) async fn look_at_records(
        &self,
        users: Vec<UserId>,
        counts: &mut Counts,
    ) -> Result<()> {
        let reads = self.records.read_each(&users).await?;
        let (mut owners, mut seats) = (Vec::new(), Vec::new());
        for (user, read) in users.into_iter().zip(reads) {
            match read {
                Ok(Some(Read { record, open })) => {
                    counts.users += 1;
                    if let Some(session) = open {
                        owners.push(user);
                        seats.push((session, record.room));
                    }
                }
                Ok(None) => {}
                Err(Error::Unreadable(_)) => counts.left_alone += 1,
                Err(error @ (Error::Away(_) | Error::Slow(_) | Error::Failed(_))) => {
                    return Err(error);
                }
            }
        }
        let sessions: Vec<_> = seats.iter().map(|(session, _)| session.clone()).collect();
        let found = self.records.owner_of_each(&sessions).await?;
        let live = owners.into_iter().zip(seats).zip(found).filter_map(|((user, seat), owner)| {
            matches!(owner, Owner::User(owner) if owner == user).then_some(seat)
        });
        let live: Vec<_> = live.collect();
        counts.sessions_live += live.len() as u64;
        let seats =
            live.into_iter().filter_map(|(session, room)| Some(Seat { room: room?, session }));
        self.seat_missing(seats.collect()).await
    }

    async fn seat_missing(&self, seats: Vec<Seat>) -> Result<()> {
        let enter = seats.iter().map(|seat| member_call("SADD", seat)).collect();
        let replies = self.records.ask_each(enter).await?;
        let missing = seats.into_iter().zip(replies);
        let missing = missing.filter(|(_, reply)| matches!(reply, Ok(Value::Int(1))));
        let missing: Vec<_> = missing.map(|(seat, _)| seat).collect();
        // Who left after the record was read is taken out again.
        let left = self.not_in_room(missing.clone()).await?;
        self.records.remove_members(&left).await?;
        self.upkeep.add_mended(Mended::MissingMember, (missing.len() - left.len()) as u64);
        Ok(())
    }

    /// Removes indexes that lead nowhere.
    pub(super) async fn look_at_indexes(
        &self,
        sessions: Vec<SessionId>,
        counts: &mut Counts,
    ) -> Result<()> {
        let standings = self.records.standing_of_each(&sessions).await?;
        let unreadable = standings.iter().filter(|found| matches!(found, Standing::Unreadable(_)));
        counts.left_alone += unreadable.count() as u64;
        let suspects = sessions.into_iter().zip(standings);
        let suspects = suspects.filter(|(_, found)| matches!(found, Standing::Leftover(_)));
        let suspects: Vec<_> = suspects.map(|(session, _)| session).collect();
        if suspects.is_empty() {
            return Ok(());
        }
        sleep(SECOND_LOOK).await;
        let standings = self.records.standing_of_each(&suspects).await?;
        let leftover = suspects.into_iter().zip(standings).filter_map(|(session, found)| {
            if let Standing::Leftover(user) = found { Some((user, session)) } else { None }
        });
        let leftover: Vec<_> = leftover.collect();
        match self.records.remove_indexes(&leftover).await {
            Ok(removed) => self.upkeep.add_mended(Mended::StaleIndex, removed),
            // Somebody made a record unreadable just now.
            Err(Error::Unreadable(_)) => counts.left_alone += 1,
            Err(error @ (Error::Away(_) | Error::Slow(_) | Error::Failed(_))) => return Err(error),
        }
        Ok(())
    }

    /// Looks at a part of some rooms' sets; returns how many members.
    pub(super) async fn look_at_rooms(&self, pass: &mut Pass, members: usize) -> Result<usize> {
        let count = pass.rooms.len().min(ROOMS_MAX);
        let walks: Vec<_> = pass.rooms.drain(..count).collect();
        let call = |walk: &RoomWalk| {
            let call = Call::command("SSCAN", room_key(walk.room)).number(walk.cursor);
            call.arg("COUNT").number(members.div_ceil(count))
        };
        let replies = self.records.ask_each(walks.iter().map(call).collect()).await?;
        let (mut looked_at, mut seats, mut looked) = (0, Vec::new(), Vec::new());
        for (walk, reply) in walks.into_iter().zip(replies) {
            if reply.as_ref().is_err_and(|error| error.code() == "WRONGTYPE") {
                pass.counts.left_alone += 1;
                continue;
            }
            let (cursor, members) = read_set_page(reply)?;
            let (room, all) = (walk.room, members.len());
            let ids = members.into_iter().flatten();
            let sessions = ids.filter_map(|id| SessionId::parse(&id).ok());
            let before = seats.len();
            seats.extend(sessions.map(|session| Seat { room, session }));
            // What is no session's id is nothing that we put there.
            pass.counts.left_alone += (all - (seats.len() - before)) as u64;
            looked_at += all;
            looked.push(RoomWalk { cursor, ..walk });
        }
        let suspects = self.not_in_room(seats.clone()).await?;
        let gone: HashSet<_> = suspects.iter().collect();
        let is_live = |seat: &&Seat| !gone.contains(seat);
        let inhabited: HashSet<_> = seats.iter().filter(is_live).map(|seat| seat.room).collect();
        for mut walk in looked {
            walk.is_inhabited |= inhabited.contains(&walk.room);
            match walk.cursor {
                0 => pass.counts.rooms += u64::from(walk.is_inhabited),
                _ => pass.rooms.push_back(walk),
            }
        }
        self.empty_stale(suspects, &mut pass.counts).await?;
        Ok(looked_at)
    }

    /// Takes those out of their rooms' sets who are still not live there after a while.
    async fn empty_stale(&self, suspects: Vec<Seat>, counts: &mut Counts) -> Result<()> {
        if suspects.is_empty() {
            return Ok(());
        }
        sleep(SECOND_LOOK).await;
        let suspects = self.not_in_room(suspects).await?;
        let (quoted, stale): (Vec<_>, Vec<_>) =
            suspects.into_iter().partition(|seat| unquoted(seat).is_some());
        let stale_quoted = self.stale_quoted(quoted, counts).await?;
        let stale = [stale, stale_quoted].concat();
        let removed = self.records.remove_members(&stale).await?;
        self.upkeep.add_mended(Mended::StaleMember, removed);
        Ok(())
    }

    /// Those whose id, if its quotes are another program's way of writing texts, is not live in the
    /// room either.
    async fn stale_quoted(&self, quoted: Vec<Seat>, counts: &mut Counts) -> Result<Vec<Seat>> {
        let meant: Vec<_> = quoted.iter().filter_map(unquoted).collect();
        let standings = self.records.standing_of_each(&meant).await?;
        let stale =
            quoted.iter().zip(standings).filter(|(seat, found)| !may_be_in(found, seat.room));
        let stale: Vec<_> = stale.map(|(seat, _)| seat.clone()).collect();
        counts.left_alone += (quoted.len() - stale.len()) as u64;
        Ok(stale)
    }

    /// The seats whose session is provably not live in the room.
    async fn not_in_room(&self, seats: Vec<Seat>) -> Result<Vec<Seat>> {
        let sessions: Vec<_> = seats.iter().map(|seat| seat.session.clone()).collect();
        let standings = self.records.standing_of_each(&sessions).await?;
        let stale = seats.into_iter().zip(standings);
        let stale = stale.filter(|(seat, found)| !may_be_in(found, seat.room));
        Ok(stale.map(|(seat, _)| seat).collect())
    }
}

/// The id in an id that is a JSON string.
fn unquoted(seat: &Seat) -> Option<SessionId> {
    let id: String = serde_json::from_str(seat.session.as_str()).ok()?;
    SessionId::parse(&id).ok()
}
