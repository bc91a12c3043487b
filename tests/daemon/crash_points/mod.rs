//! The daemon dies at each of its named points, once at least: nothing that was acknowledged is lost
//! by that, nothing is told wrongly, and no session leads to somebody else.

mod script;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use stated::crash::Point;

use self::script::Witness;
use crate::fleet::Fleet;
use crate::harness::{Setup, WAIT_MAX, rest, rest_of_life};
use crate::http::observed;
use crate::place::Place;

const SIGABRT: i32 = 6;
/// Daemons that are walked through at once: they mostly wait, for the disk, or for a dead one's right
/// to deliver to run out.
const AT_ONCE: usize = 8;

/// The daemon that dies where it is told to, built with what the tests are built with.
pub(crate) fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test: PathBuf = std::env::current_exe().unwrap();
        let target = test.parent().and_then(Path::parent).unwrap();
        let profile = match target.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet", "--features", "crash-points"])
            .args(["--example", "stated_crashing", "--profile", profile, "--target-dir"])
            .arg(target.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(status.unwrap().success(), "the daemon that dies can't be built");
        target.join("examples/stated_crashing").to_str().unwrap().to_owned()
    })
}

/// Which store's way a point is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Embedded,
    Redis,
    Both,
}

fn on(point: Point) -> On {
    match point {
        Point::FolderMade
        | Point::FolderLocked
        | Point::SnapshotBegun
        | Point::SnapshotPartWritten
        | Point::SnapshotSynced
        | Point::SnapshotNamed
        | Point::LeftoverRemoved
        | Point::LogBegun
        | Point::LogHeaderSynced
        | Point::FileRenamed
        | Point::LogNamed
        | Point::LogReplaced
        | Point::AcknowledgedMade
        | Point::VersionWritten
        | Point::VersionNamed
        | Point::FormatRaised
        | Point::TornEndCut
        | Point::StoreOpened
        | Point::ChangeApplied
        | Point::LogRoomMade
        | Point::LogFinished
        | Point::GroupWritten
        | Point::GroupSynced
        | Point::GroupNoted
        | Point::StoreClosed => On::Embedded,
        Point::RightHeld
        | Point::PageSealed
        | Point::Swept
        | Point::FoundBatchFinished
        | Point::AcknowledgementMarked
        | Point::BatchCounted
        | Point::TimesForgotten
        | Point::IndexesRemoved
        | Point::DayEnded
        | Point::ListingBegun
        | Point::ListedBeforeClose
        | Point::SessionWritten
        | Point::SessionLookedUp => On::Redis,
        Point::Done(_)
        | Point::OverdueDayClosed
        | Point::FrameFormed
        | Point::MessageSent
        | Point::FrameAnswered
        | Point::FrameAcknowledged
        | Point::RoomOutBegun
        | Point::RoomOutAnswered => On::Both,
    }
}

/// How manieth times of a point are walked. Not every one comes as often; the first must.
fn times(point: Point) -> &'static [u64] {
    match point {
        Point::FolderMade
        | Point::FolderLocked
        | Point::AcknowledgedMade
        | Point::VersionWritten
        | Point::VersionNamed
        | Point::FormatRaised
        | Point::TornEndCut
        | Point::StoreOpened
        | Point::StoreClosed
        | Point::OverdueDayClosed
        | Point::FoundBatchFinished
        | Point::PageSealed
        | Point::Swept
        | Point::ListingBegun => &[1],
        Point::SnapshotBegun
        | Point::SnapshotPartWritten
        | Point::SnapshotSynced
        | Point::SnapshotNamed
        | Point::LeftoverRemoved
        | Point::LogBegun
        | Point::LogHeaderSynced
        | Point::LogNamed
        | Point::LogReplaced
        | Point::RightHeld
        | Point::AcknowledgementMarked
        | Point::BatchCounted
        | Point::TimesForgotten
        | Point::IndexesRemoved
        | Point::DayEnded
        | Point::ListedBeforeClose
        | Point::SessionWritten
        | Point::SessionLookedUp
        | Point::Done(_)
        | Point::FrameFormed
        | Point::FrameAnswered
        | Point::FrameAcknowledged
        | Point::RoomOutBegun
        | Point::RoomOutAnswered => &[1, 2],
        Point::FileRenamed | Point::MessageSent => &[1, 2, 3, 4],
        Point::ChangeApplied | Point::GroupWritten | Point::GroupNoted => &[1, 7, 30],
        Point::LogRoomMade | Point::LogFinished => &[1, 2],
        // The later ones are the steps of the nights.
        Point::GroupSynced => &[1, 7, 30, 128, 131, 134, 137, 140, 143, 146, 149, 152, 155],
    }
}

/// Lives until the point, dies there, and is followed by a daemon that finds everything in order.
/// Says whether the point was reached.
fn die_at(point: Point, nth: u64, place: &Place) -> bool {
    let fleet = Fleet::new();
    let setup = observed(Setup::with(&fleet).keeps(place))
        .key("rollover.batch_users", "3")
        .key("rollover.stamp", "true")
        .key("rollover.last_timeout", "\"1s\"")
        .key("rollover.retry_max", "\"50ms\"")
        // What is left of a dead daemon's right to deliver lasts as long as these.
        .key("gateways.auth.connect_timeout", "\"500ms\"")
        .key("gateways.auth.reply_timeout", "\"500ms\"");
    let mut witness = Witness::default();
    prepare(point, &setup, &fleet, place, &mut witness);
    let mortal = setup.clone().dies_at(&format!("{}:{nth}", point.name()));
    let status = match mortal.start_mortal() {
        Ok(daemon) => witness.live(daemon, &fleet),
        Err(status) => status,
    };
    let reached = status.signal() == Some(SIGABRT);
    assert!(reached || status.success(), "{}: {status}", point.name());
    witness.look_after(&setup, &fleet);
    reached
}

/// What has to be there before, for a daemon to come to the point at all.
fn prepare(point: Point, setup: &Setup, fleet: &Fleet, place: &Place, witness: &mut Witness) {
    let dies_at = |point: Point| setup.clone().dies_at(point.name());
    if point == Point::FormatRaised {
        crate::durability::lay_folder_of_format_1(place.dir.as_ref().unwrap());
        witness.knows_nothing_of_others();
    } else if point == Point::TornEndCut {
        witness.begin(setup);
        crate::durability::tear_end_of_log(place.dir.as_ref().unwrap());
    } else if point == Point::FoundBatchFinished {
        let daemon = dies_at(Point::AcknowledgementMarked).start_mortal().unwrap();
        witness.live(daemon, fleet);
    }
}

/// Walks all points of the store, several at once.
fn walk(points: impl Iterator<Item = Point>, place: impl Fn() -> Place + Sync) {
    program();
    let all: Vec<(Point, u64)> =
        points.flat_map(|point| times(point).iter().map(move |nth| (point, *nth))).collect();
    let left = Mutex::new(all.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((point, nth)) = left.lock().unwrap().next() else { return };
                    let begun = std::time::Instant::now();
                    let reached = die_at(point, nth, &place());
                    println!("{}:{nth}: {reached}, {:?}", point.name(), begun.elapsed());
                    assert!(reached || nth > 1, "nobody comes by {}", point.name());
                    assert!(begun.elapsed() < 3 * WAIT_MAX);
                }
            });
        }
    });
}

#[test]
fn whatever_step_the_daemon_dies_after_the_embedded_store_has_what_was_acknowledged() {
    walk(Point::ALL.into_iter().filter(|point| on(*point) != On::Redis), Place::embedded);
}

#[test]
fn whatever_step_the_daemon_dies_after_redis_has_what_was_acknowledged() {
    walk(Point::ALL.into_iter().filter(|point| on(*point) != On::Embedded), Place::redis);
}

/// How often the daemon is killed over its sessions. More may be asked for: `SESSION_KILLS=500`.
fn kills() -> usize {
    std::env::var("SESSION_KILLS").map_or(15, |text| text.parse().expect("a number"))
}

fn no_session_leads_to_somebody_else_however_often_the_daemon_is_killed(place: &Place) {
    let setup = Setup::new().keeps(place);
    let mut witness = Witness::default();
    for round in 0..kills() {
        let daemon = setup.start();
        let address = daemon.addresses[0];
        witness.end_sessions(&mut daemon.connect());
        std::thread::scope(|scope| {
            scope.spawn(|| witness.roam(address));
            rest(rest_of_life(round, Duration::from_millis(100)));
            daemon.kill();
        });
    }
    let daemon = setup.start();
    witness.end_sessions(&mut daemon.connect());
}

#[test]
fn no_session_of_the_embedded_store_leads_to_somebody_else_however_often_the_daemon_is_killed() {
    no_session_leads_to_somebody_else_however_often_the_daemon_is_killed(&Place::embedded());
}

#[test]
fn no_session_in_redis_leads_to_somebody_else_however_often_the_daemon_is_killed() {
    no_session_leads_to_somebody_else_however_often_the_daemon_is_killed(&Place::redis());
}
