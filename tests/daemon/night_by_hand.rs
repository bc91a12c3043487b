//! A night in the hands of an operator: closed, hurried and watched.

use std::sync::Arc;

use stated::config::Sources;
use stated::config::running::Running;
use stated::connection::passed::Passed;
use stated::daemon::Daemon;
use stated::domain::Day;
use stated::log::Filter;
use stated::nightly::{Delivering, Nightly, Stage};
use stated::store::night::ClosedBy;
use stated::store::{PastNight, StateStore};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::fleet::{Fleet, times_in};
use crate::harness::{Setup, wait_until, write_config};
use crate::place::Place;
use crate::played::Act;
use crate::requests::{enter, last, leave, listing, study_time};
use crate::wire::{Client, Framing};

/// A daemon in this process, whose night is in the test's hands. Dropped, it stops.
struct Held {
    runtime: Runtime,
    daemon: Option<Daemon>,
    night: Arc<Nightly>,
    _dir: TempDir,
}

impl Held {
    fn start(setup: &Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = Some(write_config(dir.path(), &setup.toml()));
        let running = Running::load(Sources { file, ..Sources::default() }).unwrap();
        let runtime = Runtime::new().unwrap();
        let daemon = Daemon::start(Arc::new(running), Filter::of_no_log(), Passed::default());
        let daemon = runtime.block_on(daemon).unwrap();
        let night = daemon.nightly();
        Self { runtime, daemon: Some(daemon), night, _dir: dir }
    }

    fn connect(&self) -> Client {
        let addresses = &self.daemon.as_ref().unwrap().addresses;
        Client::connect(addresses[0], Framing::Length4)
    }

    fn close_now(&self) -> Day {
        self.runtime.block_on(self.night.close_now()).unwrap()
    }

    fn history(&self) -> Vec<PastNight> {
        let store = &self.daemon.as_ref().unwrap().context().store;
        self.runtime.block_on(store.night_history(9)).unwrap()
    }

    fn stage(&self) -> Stage {
        let store = &self.daemon.as_ref().unwrap().context().store;
        let night = self.runtime.block_on(store.night()).unwrap();
        self.night.doing().stage(Some(&night))
    }

    fn wait_for_stage(&self, stage: Stage) {
        wait_until(stage.name(), || self.stage() == stage);
    }

    fn delivering(&self) -> Delivering {
        self.night.delivering().expect("a frame is on its way")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            self.runtime.block_on(daemon.stop());
        }
    }
}

/// Pauses between attempts that no test would live through.
fn patient(place: &Place, fleet: &Fleet) -> Setup {
    Setup::with(fleet).keeps(place).key("rollover.retry_max", "\"1h\"")
}

fn an_operator_closes_the_day(place: &Place) {
    let fleet = Fleet::new();
    let held = Held::start(&patient(place, &fleet));
    let mut peer = held.connect();
    assert_eq!(held.stage(), Stage::Idle);
    peer.served(leave("u1", "01:00:00"));
    peer.served(listing(&[("u2", "02:00:00")]));
    assert_eq!(held.stage(), Stage::Listing);
    assert_eq!(held.close_now(), Day(1));
    assert_eq!(peer.ask(enter("u1")), study_time("u1", None), "closed at once");
    wait_until("the day is delivered", || held.history()[0].delivered_at.is_some());
    let mut told: Vec<_> = fleet.auth.told().iter().flat_map(|frame| times_in(frame)).collect();
    told.sort();
    let time = |user: &str, time: &str| (user.to_owned(), Some(time.to_owned()));
    assert_eq!(told, [time("u1", "01:00:00"), time("u2", "02:00:00")]);
    peer.served(last(&[]));
    held.wait_for_stage(Stage::Idle);
    let history = held.history();
    let of = |night: &PastNight| (night.closed.day.0, night.closed_by, night.users, night.frames);
    let expected = [(2, ClosedBy::Last, 0, 0), (1, ClosedBy::Operator, 2, 1)];
    assert_eq!(history.iter().map(of).collect::<Vec<_>>(), expected);
}

#[test]
fn an_operator_closes_the_day_in_memory() {
    an_operator_closes_the_day(&Place::memory());
}

#[test]
fn an_operator_closes_the_day_in_the_embedded_store() {
    an_operator_closes_the_day(&Place::embedded());
}

#[test]
fn an_operator_closes_the_day_in_redis() {
    an_operator_closes_the_day(&Place::redis());
}

#[test]
fn who_is_in_a_hurry_waits_for_no_pause() {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::HangUp);
    let held = Held::start(&patient(&Place::memory(), &fleet));
    let mut peer = held.connect();
    peer.served(leave("u1", "01:00:00"));
    peer.served(last(&[]));
    held.wait_for_stage(Stage::Retrying);
    let first = held.delivering();
    assert_eq!((first.closed.day, first.users), (Day(1), 1));
    // By themselves so many attempts take an hour.
    for _ in 0..14 {
        let before = held.delivering().attempts;
        held.night.deliver_now();
        wait_until("the next attempt", || held.delivering().attempts > before);
    }
    wait_until("it pauses", || held.delivering().next_attempt_at.is_some());
    let frame = held.delivering();
    assert_eq!((frame.batch.as_str(), frame.since), (first.batch.as_str(), first.since));
    assert!(frame.last_error.is_some_and(|error| error.contains("auth")));
    fleet.auth.behave(Act::Echo);
    held.night.deliver_now();
    held.wait_for_stage(Stage::Idle);
    assert_eq!(held.night.delivering(), None);
    assert_eq!((held.history()[0].users, held.history()[0].frames), (1, 1));
}

#[test]
fn a_frame_counts_once_though_the_daemon_died_over_it() {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::HangUp);
    let place = Place::embedded();
    let daemon = patient(&place, &fleet).start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "01:00:00"));
    peer.served(last(&[]));
    // Auth has it, and the daemon has not heard so.
    fleet.auth.wait_told(1);
    daemon.kill();
    fleet.auth.behave(Act::Echo);
    let held = Held::start(&patient(&place, &fleet));
    wait_until("the day is delivered", || held.history()[0].delivered_at.is_some());
    assert!(fleet.auth.told().len() >= 2);
    assert_eq!((held.history()[0].users, held.history()[0].frames), (1, 1));
}

#[test]
fn of_two_daemons_on_one_redis_one_delivers_and_the_other_says_so() {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::Wait);
    let place = Place::redis();
    let held = [(); 2].map(|()| Held::start(&patient(&place, &fleet)));
    let mut peer = held[0].connect();
    peer.served(leave("u1", "01:00:00"));
    peer.served(last(&[]));
    let stages = || {
        let mut stages = held.each_ref().map(|held| held.stage().name());
        stages.sort_unstable();
        stages
    };
    wait_until("both know who delivers", || stages() == ["delivering", "elsewhere"]);
    let busy = held.iter().filter(|held| held.night.delivering().is_some());
    assert_eq!(busy.count(), 1);
    fleet.auth.behave(Act::Echo);
    wait_until("the night is over", || stages() == ["idle", "idle"]);
    // What one of them delivered, both of them remember.
    assert_eq!(held[0].history(), held[1].history());
    assert_eq!((held[1].history()[0].users, held[1].history()[0].frames), (1, 1));
}
