//! The night under the worst: killed at any moment, again and again, while the fleet goes on
//! writing; and with very many users.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::fleet::{Fleet, times_in};
use crate::harness::{Daemon, Setup, rest, rest_of_life, wait_until};
use crate::place::Place;
use crate::played::Act;
use crate::requests::{enter, last, leave, listing, study_time};
use crate::wire::{Client, Framing};

/// How often the daemon is killed. More may be asked for: `NIGHT_KILLS=500`.
fn kills() -> usize {
    knob("NIGHT_KILLS", 25)
}

/// How many users the great night has. More may be asked for: `NIGHT_USERS=200000`.
fn users() -> usize {
    knob("NIGHT_USERS", 20_000)
}

fn knob(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// What one connection asked for, in its order. Values only ever grow, so that the later of two
/// can be told from the earlier.
#[derive(Default)]
pub(crate) struct Story {
    next: u64,
    /// Who may be told of without a time: a user who is online is, every day.
    pub(crate) online: BTreeSet<String>,
    /// For each user: values that were sent, whether or not an answer came.
    pub(crate) sent: BTreeMap<String, Vec<u64>>,
    standing: BTreeMap<String, Standing>,
    /// What must have reached auth: of this user, a value from the first to the second.
    owed: Vec<(String, u64, u64)>,
}

/// What was acknowledged of a user and not closed by an acknowledged close.
#[derive(Default)]
pub(crate) struct Standing {
    pub(crate) today: Option<u64>,
    /// Came after a listing.
    tomorrow: Option<u64>,
    /// A listing was sent. Whether it took effect may be unknown, and is then no matter: what is
    /// taken for tomorrow's is delivered earlier.
    pub(crate) listed: bool,
}

impl Story {
    /// A value for the user, sent now.
    pub(crate) fn value(&mut self, user: &str) -> u64 {
        self.next += 1;
        self.sent.entry(user.to_owned()).or_default().push(self.next);
        self.next
    }

    pub(crate) fn standing(&mut self, user: &str) -> &mut Standing {
        self.standing.entry(user.to_owned()).or_default()
    }

    pub(crate) fn left(&mut self, user: &str, value: u64) {
        let standing = self.standing(user);
        let day = if standing.listed { &mut standing.tomorrow } else { &mut standing.today };
        *day = Some(value);
    }

    /// The day was closed: of every user the latest acknowledged value is owed to auth, or one that
    /// was sent after it and may have replaced it.
    pub(crate) fn closed(&mut self) {
        for (user, standing) in &mut self.standing {
            if let Some(value) = standing.today {
                let latest = self.sent[user].last().copied().unwrap_or(value);
                self.owed.push((user.clone(), value, latest));
            }
            *standing = Standing { today: standing.tomorrow, ..Standing::default() };
        }
    }

    pub(crate) fn check(&self, frames: &[String]) {
        let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (user, time) in frames.iter().flat_map(|frame| times_in(frame)) {
            // Nobody is told of twice who did nothing and is not online: a null is a time that was
            // lost.
            let Some(time) = time else {
                assert!(self.online.contains(&user), "{user} is told without a time");
                continue;
            };
            told.entry(user).or_default().push(time.parse().unwrap());
        }
        for (user, from, to) in &self.owed {
            let values = told.get(user).map_or(&[][..], Vec::as_slice);
            let has = values.iter().any(|value| (from..=to).contains(&value));
            assert!(has, "{user}: {from} to {to} never reached auth, but {values:?}");
        }
        for (user, values) in &told {
            assert!(values.iter().all(|value| self.sent[user].contains(value)));
        }
    }
}

/// What happened in the life of one daemon.
#[derive(Default)]
struct Life {
    answered: AtomicUsize,
    /// Days closed, and that acknowledged.
    closed: AtomicUsize,
    /// How many frames auth had been told when the first close of this life was acknowledged: those
    /// of this life were of days that were closed before it.
    told_before_close: OnceLock<usize>,
}

/// What a life lasts until; it ends at a random moment soon after that.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// Its beginning.
    Born,
    /// So many requests are answered.
    Answered(usize),
    /// So many days are closed.
    Closed(usize),
    /// Auth is told so many more frames.
    Told(usize),
}

impl Until {
    /// Of this round, by the seed, and how long it lives after that at the most.
    fn of(round: usize) -> (Self, Duration) {
        let pick = |most: u64| {
            usize::try_from(rest_of_life(round, Duration::from_millis(most)).as_millis()).unwrap()
        };
        match round % 4 {
            0 => (Self::Born, Duration::from_millis(400)),
            1 => (Self::Closed(1 + pick(2)), Duration::from_millis(30)),
            2 => (Self::Told(1 + pick(6)), Duration::from_millis(10)),
            _ => (Self::Answered(pick(40)), Duration::from_millis(100)),
        }
    }

    fn is_reached(self, life: &Life, told_since: usize) -> bool {
        match self {
            Self::Born => true,
            Self::Answered(count) => life.answered.load(Ordering::Relaxed) >= count,
            Self::Closed(count) => life.closed.load(Ordering::Relaxed) >= count,
            Self::Told(count) => told_since >= count,
        }
    }
}

/// Steps of a day: in one of them users are listed, in the last one they are and the day is closed.
const DAY_STEPS: usize = 23;
const LISTING_STEP: usize = 9;

/// Lives days until the connection breaks: times, listings, closes, without a pause.
fn live(mut peer: Client, story: &mut Story, life: &Life, fleet: &Fleet) {
    for step in 0.. {
        let user = format!("u{}", step % 17);
        let value = story.value(&user);
        let text = value.to_string();
        let of_day = step % DAY_STEPS;
        let is_last = of_day == DAY_STEPS - 1;
        let is_listing = is_last || of_day == LISTING_STEP;
        let message = match (is_listing, is_last) {
            (_, true) => last(&[(&user, &text)]),
            (true, _) => listing(&[(&user, &text)]),
            (false, false) => leave(&user, &text),
        };
        story.standing(&user).listed |= is_listing;
        if peer.try_send_bytes(&Framing::Length4.frame(message.as_bytes())).is_err() {
            return;
        }
        let Ok(reply) = peer.try_reply() else { return };
        assert!(!reply.contains("\"error\""), "{reply}");
        if is_listing {
            story.standing(&user).today = Some(value);
        } else {
            story.left(&user, value);
        }
        if is_last {
            life.told_before_close.get_or_init(|| fleet.auth.told_count());
            story.closed();
            life.closed.fetch_add(1, Ordering::Relaxed);
        }
        life.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Answers as an auth service does that has its troubles: most frames are taken.
fn moody(fleet: &Fleet) {
    let count = AtomicUsize::new(0);
    fleet.auth.play(move |_| match count.fetch_add(1, Ordering::Relaxed) % 11 {
        3 => Act::Say("{\"error\":{}}".to_owned()),
        7 => Act::HangUp,
        _ => Act::Echo,
    });
}

pub(crate) fn no_acknowledged_study_time_is_lost_however_often_the_daemon_is_killed(place: &Place) {
    let fleet = Fleet::new();
    moody(&fleet);
    let setup = Setup::with(&fleet)
        .keeps(place)
        // Who comes after it need not wait until its right to deliver is over.
        .always_at_one_address()
        .key("rollover.batch_users", "4")
        .key("rollover.retry_max", "\"20ms\"");
    let mut story = Story::default();
    let (mut closed, mut inherited) = (0, 0);
    for round in 0..kills() {
        let (life, told) = (Life::default(), fleet.auth.told_count());
        story = die_in(round, &setup, &fleet, &life, story);
        closed += life.closed.load(Ordering::Relaxed);
        let until = life.told_before_close.get().copied();
        inherited += until.unwrap_or_else(|| fleet.auth.told_count()) - told;
    }
    let told = fleet.auth.told_count();
    let values = story.next;
    println!(
        "{values} values, {closed} days closed, {told} frames told, {inherited} of them inherited"
    );
    // Whoever is killed before a day is over, or after it is wholly delivered, proves little.
    let enough = kills() / 4;
    assert!(closed >= enough, "{closed} days closed");
    assert!(told >= 2 * enough, "{told} frames told");
    assert!(inherited >= enough, "{inherited} frames told of days that an earlier daemon closed");
    finish(&setup, &fleet, &mut story);
    story.check(&fleet.auth.told());
}

/// One daemon's life, up to where it is killed in this round.
fn die_in(round: usize, setup: &Setup, fleet: &Fleet, life: &Life, mut story: Story) -> Story {
    let told = fleet.auth.told_count();
    let daemon = setup.start();
    // Before it is killed, however late the thread gets its turn.
    let peer = daemon.connect();
    std::thread::scope(|scope| {
        let living = scope.spawn(move || {
            live(peer, &mut story, life, fleet);
            story
        });
        let (until, most) = Until::of(round);
        wait_until("its life has lasted", || {
            living.is_finished() || until.is_reached(life, fleet.auth.told_count() - told)
        });
        rest(rest_of_life(round, most));
        daemon.kill();
        living.join().expect("nothing was refused")
    })
}

/// A last close, and everything delivered.
fn finish(setup: &Setup, fleet: &Fleet, story: &mut Story) {
    fleet.auth.behave(Act::Echo);
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.served(last(&[]));
    story.closed();
    peer.served(last(&[]));
    story.closed();
    // A day of its own at the very end: when it is delivered, so are those before.
    peer.served(leave("end", "0"));
    story.sent.insert("end".to_owned(), vec![0]);
    peer.served(last(&[]));
    wait_until("the last day is delivered", || {
        fleet.auth.told().last().is_some_and(|frame| frame.contains("\"end\""))
    });
    for number in 0..17 {
        let user = format!("u{number}");
        assert_eq!(peer.ask(enter(&user)), study_time(&user, None));
    }
    drop(peer);
    daemon.stop();
}

pub(crate) fn a_delivery_goes_on_with_the_same_frame_after_a_crash(place: &Place) {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::KeepSilent);
    let setup = Setup::with(&fleet).keeps(place).key("rollover.stamp", "true");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    for number in 0..60 {
        peer.served(leave(&format!("u{number}"), &number.to_string()));
    }
    peer.served(last(&[]));
    fleet.auth.wait_told(1);
    daemon.kill();
    fleet.auth.behave(Act::Echo);
    let daemon = setup.start();
    fleet.auth.wait_told_that("everything", |told| {
        told.iter().skip(1).map(|told| times_in(told).len()).sum::<usize>() >= 60
    });
    daemon.stop();
    let told = fleet.auth.told();
    assert_eq!(told[0], told[1], "the frame that was not acknowledged comes first, unchanged");
    let mut times: Vec<_> = told[1..].iter().flat_map(|frame| times_in(frame)).collect();
    times.sort();
    times.dedup();
    assert_eq!(times.len(), 60);
    assert_eq!(told.len(), 4, "no frame but the one is sent twice");
}

pub(crate) fn a_stop_in_the_middle_of_a_delivery_repeats_no_frame(place: &Place) {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::Wait);
    let setup = Setup::with(&fleet).keeps(place).key("rollover.batch_users", "5");
    let daemon = setup.start();
    let mut peer = daemon.connect();
    for number in 0..50 {
        peer.served(leave(&format!("u{number}"), "1"));
    }
    peer.served(last(&[]));
    drop(peer);
    fleet.auth.wait_told(1);
    daemon.signal("-TERM");
    wait_until("it is stopping", || daemon.log.has("stopping"));
    fleet.auth.behave(Act::Echo);
    let (status, _) = daemon.ended();
    assert!(status.success());
    let daemon = setup.start();
    let enough = |told: &[String]| told.len() >= 10;
    let told = fleet.auth.wait_told_that("all ten frames", enough);
    daemon.stop();
    let mut times: Vec<_> = told.iter().flat_map(|frame| times_in(frame)).collect();
    times.sort();
    times.dedup();
    assert_eq!((times.len(), fleet.auth.told().len()), (50, 10));
}

pub(crate) fn a_night_that_was_cut_off_before_its_last_frame_still_closes_by_itself(place: &Place) {
    let fleet = Fleet::new();
    let setup = Setup::with(&fleet).keeps(place).key("rollover.last_timeout", "\"1s\"");
    let daemon = setup.start();
    daemon.connect().served(listing(&[("u1", "1")]));
    daemon.kill();
    let daemon = setup.start();
    let told = fleet.auth.wait_told(1);
    assert_eq!(times_in(&told[0]), [("u1".to_owned(), Some("1".to_owned()))]);
    daemon.stop();
}

/// The most memory the daemon has in use while `work` goes on, in KiB.
fn peak_during(daemon: &Daemon, work: impl FnOnce()) -> u64 {
    let done = Arc::new(AtomicUsize::new(0));
    let status = format!("/proc/{}/status", daemon.id());
    std::thread::scope(|scope| {
        let watching = Arc::clone(&done);
        let watcher = scope.spawn(move || {
            let mut peak = 0;
            while watching.load(Ordering::Relaxed) == 0 {
                peak = peak.max(crate::harness::resident_kib(&status));
                rest(Duration::from_millis(20));
            }
            peak
        });
        work();
        done.store(1, Ordering::Relaxed);
        watcher.join().unwrap()
    })
}

pub(crate) fn a_day_of_many_users_is_closed_at_once_and_delivered_in_flat_memory(place: &Place) {
    let users = users();
    let fleet = Fleet::new();
    fleet.auth.behave(Act::Wait);
    let daemon = Setup::with(&fleet).keeps(place).start();
    let mut peer = daemon.connect();
    let names: Vec<String> = (0..users).map(|number| format!("user-{number:07}")).collect();
    for frames in names.chunks(25 * 40) {
        for frame in frames.chunks(25) {
            let entries: Vec<_> = frame.iter().map(|name| (name.as_str(), "01:30:00")).collect();
            peer.send(listing(&entries));
        }
        frames.chunks(25).for_each(|_| assert!(peer.reply().contains("SCHEDULER")));
    }
    let before = daemon.resident_kib();
    // Whatever would grow with the users would not be answered within `limits.request_timeout`.
    peer.served(last(&[]));
    assert_eq!(peer.ask(enter(&names[users / 2])), study_time(&names[users / 2], None));
    fleet.auth.behave(Act::Say("SUCCESS".to_owned()));
    let peak = peak_during(&daemon, || {
        wait_until_told(&fleet, users);
    });
    // The day's data is there once: what is sealed is the record's own, not a copy.
    let grown = peak.saturating_sub(before);
    let allowed = 6 * 1024 + before / 4;
    assert!(grown < allowed, "grew by {grown} KiB from {before} KiB");
    drop(peer);
    daemon.stop();
    let told = fleet.auth.told();
    let mut seen: Vec<String> =
        told.iter().flat_map(|frame| times_in(frame)).map(|(user, _)| user).collect();
    seen.sort();
    assert_eq!(seen, names, "each user once");
}

/// Longer than anything else is waited for: it is the number of users that takes the time.
fn wait_until_told(fleet: &Fleet, users: usize) {
    let mut last = 0;
    while fleet.auth.told_count() < users.div_ceil(25) {
        wait_until("one more frame is told", || fleet.auth.told_count() > last);
        last = fleet.auth.told_count();
    }
}
