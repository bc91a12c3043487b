//! A day in the life of a daemon that dies somewhere in it, and what must be so afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::ExitStatus;

use serde_json::Value;

use crate::fleet::{Fleet, times_in};
use crate::harness::{Daemon, Setup, wait_until};
use crate::http::admin_address;
use crate::night_kills::Story;
use crate::requests::{enter, last, leave, listing, subscribe, unsubscribe};
use crate::status::ask;
use crate::wire::{Client, Framing, error_of};

/// Enough changes for the crashing daemon to replace its log a few times.
const CHANGES: usize = 120;

/// Who saw all that was sent and acknowledged.
#[derive(Default)]
pub(super) struct Witness {
    story: Story,
    /// To whom each session may lead.
    owners: BTreeMap<String, BTreeSet<Option<String>>>,
    /// The session each user opened last.
    sessions: BTreeMap<String, String>,
    /// How often each user left, whether or not an answer came.
    leaves: BTreeMap<String, usize>,
    /// There were users before of whom nothing is known.
    others: bool,
}

/// The daemon is gone.
struct Gone;

impl Witness {
    pub(super) fn knows_nothing_of_others(&mut self) {
        self.others = true;
    }

    /// Something is there before.
    pub(super) fn begin(&mut self, setup: &Setup) {
        let daemon = setup.start();
        let mut peer = daemon.connect();
        for number in 0..5 {
            assert!(self.leave(&mut peer, &format!("t{number}")).is_ok());
        }
        daemon.kill();
    }

    /// Until the daemon dies, or is stopped after all is done.
    pub(super) fn live(&mut self, mut daemon: Daemon, fleet: &Fleet) -> ExitStatus {
        if self.play(&mut daemon, fleet).is_ok() {
            daemon.signal("-TERM");
        }
        daemon.ended().0
    }

    fn play(&mut self, daemon: &mut Daemon, fleet: &Fleet) -> Result<(), Gone> {
        let mut peer =
            Client::try_connect(daemon.addresses[0], Framing::Length4).map_err(|_| Gone)?;
        self.enter_rooms(&mut peer)?;
        for number in 0..CHANGES {
            self.leave(&mut peer, &format!("t{}", number % 8))?;
        }
        self.leave(&mut peer, "c0")?;
        self.leave(&mut peer, "c2")?;
        self.end_day(&mut peer)?;
        self.end_day(&mut peer)?;
        self.leave(&mut peer, "t1")?;
        self.close_by_hand(daemon)?;
        self.leave(&mut peer, "c0")?;
        // The last frame of this night never comes.
        let value = self.list(&mut peer, "t2")?;
        let told = |fleet: &Fleet| {
            let times = fleet.auth.told().into_iter().flat_map(|frame| times_in(&frame));
            times.into_iter().any(|(user, time)| user == "t2" && time.as_deref() == Some(&value))
        };
        wait_until("the night closed by itself", || !daemon.is_alive() || told(fleet));
        // The last frame's answer has been written down when the next time somebody is listed.
        self.leave(&mut peer, "t3")?;
        wait_until("the store was looked at", || {
            !daemon.is_alive() || get_night(daemon).is_none_or(|night| night == "idle")
        });
        if daemon.is_alive() { Ok(()) } else { Err(Gone) }
    }

    fn enter_rooms(&mut self, peer: &mut Client) -> Result<(), Gone> {
        self.subscribe(peer, "c0", 1, "s0")?;
        self.subscribe(peer, "c1", 1, "s1")?;
        self.subscribe(peer, "c0", 2, "s0b")?;
        self.subscribe(peer, "c2", 2, "s1")?;
        self.subscribe(peer, "c3", 3, "s3")?;
        self.unsubscribe(peer, "s3")?;
        self.subscribe(peer, "c3", 3, "s3")?;
        self.subscribe(peer, "c4", 3, "s4")?;
        self.unsubscribe(peer, "s4")
    }

    /// A listing, times that come after it, and the night's last frame.
    fn end_day(&mut self, peer: &mut Client) -> Result<(), Gone> {
        self.list(peer, "t0")?;
        self.leave(peer, "t0")?;
        let value = self.story.value("t1").to_string();
        self.story.standing("t1").listed = true;
        self.tell(peer, &last(&[("t1", &value)]))?;
        self.story.standing("t1").today = value.parse().ok();
        self.story.closed();
        Ok(())
    }

    fn list(&mut self, peer: &mut Client, user: &str) -> Result<String, Gone> {
        let value = self.story.value(user);
        self.story.standing(user).listed = true;
        self.tell(peer, &listing(&[(user, &value.to_string())]))?;
        self.story.standing(user).today = Some(value);
        Ok(value.to_string())
    }

    fn leave(&mut self, peer: &mut Client, user: &str) -> Result<(), Gone> {
        let value = self.story.value(user);
        *self.leaves.entry(user.to_owned()).or_default() += 1;
        self.tell(peer, &leave(user, &value.to_string()))?;
        self.story.left(user, value);
        Ok(())
    }

    fn close_by_hand(&mut self, daemon: &mut Daemon) -> Result<(), Gone> {
        let closed = ask(admin_address(daemon), &["night", "close", "--yes"]).output().unwrap();
        if !closed.status.success() {
            wait_until("the daemon is gone, if it closed no day", || !daemon.is_alive());
            return Err(Gone);
        }
        self.story.closed();
        Ok(())
    }

    fn subscribe(
        &mut self,
        peer: &mut Client,
        user: &str,
        room: i64,
        session: &str,
    ) -> Result<(), Gone> {
        self.story.online.insert(user.to_owned());
        let owner = Some(user.to_owned());
        let before = self.sessions.insert(user.to_owned(), session.to_owned());
        // A session that somebody else has by now is not taken away.
        let is_own =
            |before: &String| self.owners.get(before).is_some_and(|is| is.contains(&owner));
        let before = before.filter(|before| before != session && is_own(before));
        self.owners.entry(session.to_owned()).or_insert([None].into()).insert(owner.clone());
        if let Some(before) = &before {
            self.owners.entry(before.clone()).or_default().insert(None);
        }
        self.tell(peer, &subscribe(user, room, session))?;
        self.owners.insert(session.to_owned(), [owner].into());
        if let Some(before) = before {
            self.owners.insert(before, [None].into());
        }
        Ok(())
    }

    fn unsubscribe(&mut self, peer: &mut Client, session: &str) -> Result<(), Gone> {
        self.owners.entry(session.to_owned()).or_default().insert(None);
        self.tell(peer, &unsubscribe(session))?;
        self.owners.insert(session.to_owned(), [None].into());
        Ok(())
    }

    fn tell(&mut self, peer: &mut Client, message: &str) -> Result<(), Gone> {
        let frame = Framing::Length4.frame(message.as_bytes());
        peer.try_send_bytes(&frame).map_err(|_| Gone)?;
        let reply = peer.try_reply().map_err(|_| Gone)?;
        assert!(!reply.contains("\"error\""), "{message}: {reply}");
        Ok(())
    }

    /// Sessions come, go, and pass from one user to another, until the daemon is gone.
    pub(super) fn roam(&mut self, daemon: SocketAddr) {
        let Ok(mut peer) = Client::try_connect(daemon, Framing::Length4) else { return };
        for step in 0.. {
            let (user, session) = (format!("c{}", step % 5), format!("s{}", step % 7));
            let moved = self.subscribe(&mut peer, &user, step % 3, &session);
            let left = moved.and_then(|()| match step % 4 {
                0 => self.unsubscribe(&mut peer, &session),
                _ => Ok(()),
            });
            if left.is_err() {
                return;
            }
        }
    }

    /// Every session leads to whom it may; afterwards to nobody.
    pub(super) fn end_sessions(&mut self, peer: &mut Client) {
        self.check_sessions(peer);
        self.owners.values_mut().for_each(|owners| *owners = [None].into());
    }

    /// The next daemon opens what is there, and everything is as it was acknowledged.
    pub(super) fn look_after(mut self, setup: &Setup, fleet: &Fleet) {
        let daemon = setup.start();
        let mut peer = daemon.connect();
        self.check_times(&mut peer);
        self.check_sessions(&mut peer);
        for _ in 0..2 {
            peer.served(last(&[]));
            self.story.closed();
        }
        // A day of its own at the very end: when it is delivered, so are those before.
        peer.served(leave("end", "0"));
        self.story.sent.insert("end".to_owned(), vec![0]);
        peer.served(last(&[]));
        wait_until("the last day is delivered", || {
            fleet.auth.told().last().is_some_and(|frame| frame.contains("\"end\""))
        });
        drop(peer);
        daemon.stop();
        let mut told = fleet.auth.told();
        if self.others {
            told.retain(|frame| times_in(frame).iter().all(|(user, _)| self.knows(user)));
        }
        self.story.check(&told);
        check_repeated(&told);
        self.check_room(&fleet.room.told());
    }

    fn knows(&self, user: &str) -> bool {
        self.story.sent.contains_key(user) || self.story.online.contains(user)
    }

    /// Nobody has a time that was never sent. That none is missing is seen once all are with auth.
    fn check_times(&self, peer: &mut Client) {
        for (user, sent) in &self.story.sent {
            let reply: Value = serde_json::from_str(&peer.ask(enter(user))).unwrap();
            let found = reply["study_time"].as_str().map(|text| text.parse().unwrap());
            assert!(found.is_none_or(|found| sent.contains(&found)), "{user}: {reply}");
        }
    }

    fn check_sessions(&self, peer: &mut Client) {
        for (session, owners) in &self.owners {
            let reply = peer.ask(unsubscribe(session));
            let record: Value = serde_json::from_str(&reply).unwrap();
            let owner = record["userId"].as_str().map(str::to_owned);
            match &owner {
                Some(_) => assert_eq!(record["sessionId"], **session, "{reply}"),
                None => drop(error_of(&reply, "CHAT-001")),
            }
            assert!(owners.contains(&owner), "{session} leads to {owner:?}, not to {owners:?}");
        }
    }

    fn check_room(&self, told: &[String]) {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for message in told {
            let message: Value = serde_json::from_str(message).unwrap();
            *count.entry(message["user_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        for (user, told) in count {
            let left = self.leaves.get(&user).copied().unwrap_or_default();
            assert!(told <= left, "room was told {told} times that {user} left, who left {left}");
        }
    }
}

/// A frame that is sent again is the same, to its last byte, and no time is in two frames.
fn check_repeated(told: &[String]) {
    let mut frames: BTreeMap<String, &str> = BTreeMap::new();
    let mut batches: BTreeMap<(String, String), String> = BTreeMap::new();
    for frame in told {
        let stamp: Value = serde_json::from_str(frame).unwrap();
        let batch = stamp["batch"].as_str().unwrap().to_owned();
        assert_eq!(*frames.entry(batch.clone()).or_insert(frame), frame);
        for (user, time) in times_in(frame) {
            let Some(time) = time else { continue };
            let first = batches.entry((user.clone(), time)).or_insert(batch.clone());
            assert_eq!(*first, batch, "a time of {user} is in two frames");
        }
    }
}

/// Where the night stands; nothing if nobody answers any more.
fn get_night(daemon: &Daemon) -> Option<String> {
    let status = ask(admin_address(daemon), &["night", "status", "--json"]).output().unwrap();
    let night: Value = serde_json::from_slice(&status.stdout).ok()?;
    night["night"]["stage"].as_str().map(str::to_owned)
}
