//! The embedded store under a daemon that is killed, stopped, doubled, or given a damaged folder.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fleet::{Fleet, times_in};
use crate::harness::{Setup, rest, rest_of_life, start_in_vain, wait_until};
use crate::place::Place;
use crate::played::Act;
use crate::requests::{enter, kick_out, leave, study_time, subscribe, unsubscribe};
use crate::schema::files_below;
use crate::wire::{Client, Framing, error_of};

/// How often the daemon is killed. More may be asked for: `DURABILITY_KILLS=500`.
fn kills() -> usize {
    std::env::var("DURABILITY_KILLS").map_or(20, |text| text.parse().expect("a number"))
}

/// What a writer knows of its own users, which nobody else writes to.
#[derive(Default, Clone)]
struct Known {
    /// For each user: the value that was acknowledged last, and the one sent after it.
    times: BTreeMap<String, (u64, u64)>,
    next: u64,
}

/// Writes, 16 requests at a time, until the connection breaks.
fn write(mut peer: Client, writer: usize, known: &mut Known) {
    const PIPELINED: u64 = 16;
    loop {
        let mut batch = Vec::new();
        for _ in 0..PIPELINED {
            known.next += 1;
            let user = format!("w{writer}-u{}", known.next % 40);
            known.times.entry(user.clone()).or_insert((0, 0)).1 = known.next;
            batch.push((user, known.next));
        }
        for (user, value) in &batch {
            let frame = Framing::Length4.frame(leave(user, &value.to_string()).as_bytes());
            if peer.try_send_bytes(&frame).is_err() {
                return;
            }
        }
        for (user, value) in batch {
            let Ok(reply) = peer.try_reply() else { return };
            assert_eq!(reply, study_time(&user, Some(&value.to_string())));
            known.times.insert(user, (value, value));
        }
    }
}

/// What is read is what was acknowledged last, or something sent later.
fn check(peer: &mut Client, known: &mut Known) {
    for (user, (acknowledged, sent)) in &mut known.times {
        let reply: serde_json::Value = serde_json::from_str(&peer.ask(enter(user))).unwrap();
        let found = reply["study_time"].as_str().map_or(0, |text| text.parse().unwrap());
        assert!(
            (*acknowledged..=*sent).contains(&found),
            "{user}: {found} is there, {acknowledged} was acknowledged, {sent} sent last"
        );
        (*acknowledged, *sent) = (found, found);
    }
}

#[test]
fn every_acknowledged_write_is_there_after_each_of_many_crashes() {
    let place = Place::embedded();
    let setup = Setup::new().keeps(&place);
    let mut writers: Vec<Known> = vec![Known::default(); 4];
    for round in 0..kills() {
        let daemon = setup.start();
        let mut peer = daemon.connect();
        writers.iter_mut().for_each(|known| check(&mut peer, known));
        std::thread::scope(|scope| {
            for (number, known) in writers.iter_mut().enumerate() {
                // Before it is killed, however late the thread gets its turn.
                let peer = daemon.connect();
                scope.spawn(move || write(peer, number, known));
            }
            rest(rest_of_life(round, Duration::from_millis(150)));
            daemon.kill();
        });
    }
    let daemon = setup.start();
    let mut peer = daemon.connect();
    writers.iter_mut().for_each(|known| check(&mut peer, known));
    let written: u64 = writers.iter().map(|known| known.next).sum();
    assert!(written > 100, "only {written} writes were tried");
}

#[test]
fn sessions_survive_a_crash_as_they_were() {
    let place = Place::embedded();
    let setup = Setup::new().keeps(&place);
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.served(subscribe("u1", i64::MAX, "s1"));
    peer.served(subscribe("u1", i64::MAX, "s2"));
    peer.served(subscribe("u2", 1, "s3"));
    peer.served(unsubscribe("s3"));
    peer.served(subscribe("가", 1, "세션"));
    daemon.kill();
    let daemon = setup.start();
    let mut peer = daemon.connect();
    let record =
        format!(r#"{{"userId":"u1","roomId":{},"sessionId":"s2","studyTime":null}}"#, i64::MAX);
    peer.refused(unsubscribe("s1"), "CHAT-001");
    assert_eq!(peer.ask(unsubscribe("s2")), record);
    peer.refused(unsubscribe("s3"), "CHAT-001");
    peer.served(unsubscribe("세션"));
}

#[test]
fn a_stop_under_load_answers_what_was_read_and_keeps_it() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::Wait);
    let place = Place::embedded();
    let setup = Setup::with(&fleet).keeps(&place);
    let daemon = setup.start();
    let mut peers: Vec<Client> = (0..10).map(|_| daemon.connect()).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.send(kick_out(&format!("slow{number}"), 1));
        for user in 0..20 {
            peer.send(leave(&format!("p{number}-{user}"), "1"));
        }
    }
    fleet.signaling.wait_told(10);
    let mut other = daemon.connect();
    wait_until("all of it was read", || {
        (0..10).all(|number| other.ask(enter(&format!("p{number}-19"))).contains("\"1\""))
    });
    daemon.signal("-TERM");
    wait_until("it is stopping", || daemon.log.has("stopping"));
    wait_until("nobody is let in", || std::net::TcpStream::connect(daemon.addresses[0]).is_err());
    fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    for (number, peer) in peers.iter_mut().enumerate() {
        assert_eq!(peer.reply(), "");
        for user in 0..20 {
            assert_eq!(peer.reply(), study_time(&format!("p{number}-{user}"), Some("1")));
        }
        peer.expect_end();
    }
    other.expect_end();
    drop((peers, other));
    let (status, log) = daemon.ended();
    assert!(status.success());
    assert!(log.has("\"message\":\"stopped\"") && !log.has("grace period is over"));
    let daemon = setup.start();
    assert_eq!(daemon.connect().ask(enter("p9-19")), study_time("p9-19", Some("1")));
}

#[test]
fn a_stop_waits_no_longer_than_the_grace_period_for_whoever_never_answers() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::KeepSilent);
    let daemon = Setup::with(&fleet)
        .key("gateways.signaling.reply_timeout", "\"30s\"")
        .key("limits.request_timeout", "\"30s\"")
        .key("limits.shutdown_grace", "\"1s\"")
        .start();
    let mut peer = daemon.connect();
    peer.send(kick_out("u1", 1));
    fleet.signaling.wait_told(1);
    daemon.signal("-TERM");
    // The timeouts alone would make it 30 s.
    let begun = std::time::Instant::now();
    let (status, _) = daemon.ended();
    assert!(status.success());
    assert!(begun.elapsed() < Duration::from_secs(15), "took {:?}", begun.elapsed());
}

#[test]
fn a_peer_that_never_stops_asking_does_not_keep_the_daemon_from_stopping() {
    let daemon = Setup::new().key("limits.shutdown_grace", "\"5s\"").start();
    let address = daemon.addresses[0];
    let asking = std::thread::spawn(move || {
        let mut peer = Client::connect(address, Framing::Length4);
        let frames: Vec<u8> = Framing::Length4.frame(enter("u1").as_bytes()).repeat(32);
        let mut owed = 0_u64;
        loop {
            if peer.try_send_bytes(&frames).is_err() {
                return;
            }
            owed += 32;
            while owed > 64 {
                if peer.try_reply().is_err() {
                    return;
                }
                owed -= 1;
            }
        }
    });
    rest(Duration::from_millis(100));
    daemon.stop();
    asking.join().unwrap();
}

#[test]
fn sigint_stops_as_sigterm_does() {
    let daemon = Setup::new().keeps(&Place::embedded()).start();
    daemon.connect().served(leave("u1", "1"));
    daemon.signal("-INT");
    let (status, log) = daemon.ended();
    assert!(status.success() && log.has("\"message\":\"stopped\""));
}

#[test]
fn a_second_daemon_on_the_same_folder_is_told_so_and_does_no_harm() {
    let place = Place::embedded();
    let setup = Setup::new().keeps(&place);
    let daemon = setup.start();
    daemon.connect().served(leave("u1", "1"));
    let (status, log) = start_in_vain(&setup);
    assert!(!status.success());
    log.tells("is in use by process");
    let mut peer = daemon.connect();
    assert_eq!(peer.ask(enter("u1")), study_time("u1", Some("1")));
    peer.served(leave("u1", "2"));
    daemon.kill();
    let daemon = setup.start();
    assert_eq!(daemon.connect().ask(enter("u1")), study_time("u1", Some("2")));
}

/// A folder in which something was written, and its largest file.
fn used_folder() -> (Place, PathBuf) {
    let place = Place::embedded();
    let daemon = Setup::new().keeps(&place).start();
    let mut peer = daemon.connect();
    for number in 0..200 {
        peer.served(leave(&format!("u{number}"), "00:10:00"));
    }
    drop(peer);
    daemon.stop();
    let files = files_below(place.dir.as_ref().unwrap());
    let largest = files.into_iter().max_by_key(|file| fs::metadata(file).unwrap().len());
    (place, largest.unwrap())
}

#[test]
fn a_damaged_folder_is_refused_and_left_as_it_is() {
    let (place, file) = used_folder();
    let length = fs::metadata(&file).unwrap().len();
    OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .write_all_at(b"\xff\x00\xff\x00", length / 2)
        .unwrap();
    let damaged = fs::read(&file).unwrap();
    for _ in 0..2 {
        let (status, log) = start_in_vain(&Setup::new().keeps(&place));
        assert!(!status.success());
        log.tells("is damaged at byte");
    }
    assert_eq!(fs::read(&file).unwrap(), damaged);
}

/// A folder as a version of format 1 left it in the middle of a night; its README says what is in it.
fn folder_of_format_1() -> Place {
    let place = Place::embedded();
    lay_folder_of_format_1(place.dir.as_ref().unwrap());
    place
}

pub(crate) fn lay_folder_of_format_1(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/embedded-format-1");
    for file in files_below(Path::new(fixture)) {
        if file.extension().is_none_or(|ending| ending != "md") {
            fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
        }
    }
}

/// Leaves behind the newest log what a power cut leaves of a group that was being written.
pub(crate) fn tear_end_of_log(dir: &Path) {
    let newest = |file: &PathBuf| {
        let name = file.file_name()?.to_str()?;
        name.strip_prefix("log-")?.parse::<u64>().ok()
    };
    let log = files_below(dir).into_iter().max_by_key(newest).unwrap();
    let mut log = OpenOptions::new().append(true).open(log).unwrap();
    log.write_all(&[0x5a; 50]).unwrap();
}

#[test]
fn a_night_that_an_older_version_left_half_delivered_goes_on() {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::HangUp);
    let place = folder_of_format_1();
    let setup = Setup::with(&fleet).keeps(&place).key("rollover.retry_max", "\"100ms\"");
    let daemon = setup.start();
    daemon.log.tells("older versions of stated can't open it any more");
    fleet.auth.wait_told(1);
    // Whatever the daemon dies over, its successor goes on.
    daemon.kill();
    let daemon = setup.start();
    assert!(!daemon.log.has("older versions"), "the second time it is nothing new");
    daemon.connect().served(unsubscribe("s1b"));
    fleet.auth.behave(Act::Echo);
    let frames = || {
        let mut frames: Vec<_> = fleet.auth.told().iter().map(|frame| times_in(frame)).collect();
        frames.dedup();
        frames.iter_mut().for_each(|times| times.sort());
        frames
    };
    wait_until("both days are delivered", || frames().len() >= 3);
    let of = |user: &str, time: &str| (user.to_owned(), Some(time.to_owned()));
    let first = vec![of("u1", "01:30:00"), of("u2", "02:00:00")];
    let rest = vec![of("u4", "04:00:00"), of("가", "03:30:00")];
    let second = vec![of("u1", "00:05:00"), of("u2", "00:20:00"), ("u5".to_owned(), None)];
    assert_eq!(frames()[..3], [first, rest, second]);
}

#[test]
fn a_folder_of_a_newer_version_is_refused_by_name_and_left_as_it_is() {
    let place = folder_of_format_1();
    let version = place.dir.as_ref().unwrap().join("VERSION");
    fs::write(&version, "stated embedded store, format 4\n").unwrap();
    let contents = || {
        let mut files = files_below(place.dir.as_ref().unwrap());
        files.sort();
        files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect::<Vec<_>>()
    };
    let before = contents();
    let (status, log) = start_in_vain(&Setup::new().keeps(&place));
    assert!(!status.success());
    let told = "was written in format 4 by a newer stated, this one knows up to format 3";
    log.tells(told);
    assert_eq!(contents(), before);
}

#[test]
fn a_folder_that_is_somebody_elses_is_refused() {
    let place = Place::embedded();
    let dir = place.dir.clone().unwrap();
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("thesis.txt"), "three years of work").unwrap();
    let (status, log) = start_in_vain(&Setup::new().keeps(&place));
    assert!(!status.success());
    log.tells("is not a stated folder");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn the_folders_size_follows_the_number_of_users_and_not_of_writes() {
    let place = Place::embedded();
    let daemon = Setup::new().keeps(&place).start();
    let mut peer = daemon.connect();
    let size = || -> u64 {
        let files = files_below(place.dir.as_ref().unwrap());
        // A file may be replaced between the two calls.
        files.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum()
    };
    let mut largest = 0;
    for round in 0..1600 {
        for number in 0..50 {
            peer.send(leave(&format!("u{number:0255}"), &format!("{round:064}")));
        }
        (0..50).for_each(|_| drop(peer.reply()));
        largest = largest.max(size());
    }
    // 80,000 writes of more than 320 bytes; a log begins anew at 16 MiB, with a MiB of room.
    assert!(largest < 19 << 20, "{largest} bytes for 50 users");
}

#[test]
fn on_a_full_disk_nothing_is_acknowledged_that_is_not_there_and_no_null_is_made_up() {
    let place = Place::embedded();
    let setup = Setup::new().keeps(&place);
    let daemon = setup.clone().file_blocks_max(64).start();
    let mut peer = daemon.connect();
    let mut acknowledged = 0;
    let refused = (1..2000).find(|number| {
        let reply = peer.ask(leave("u1", &format!("{number:064}")));
        let served = reply.contains("study_time");
        acknowledged += u64::from(served);
        !served && !error_of(&reply, "CHAT-031").is_null()
    });
    let refused = refused.expect("2,000 writes need more than 32 KiB");
    assert_eq!(acknowledged, refused - 1);
    let known =
        [refused - 1, refused].map(|number| study_time("u1", Some(&format!("{number:064}"))));
    for _ in 0..3 {
        let reply = peer.ask(enter("u1"));
        assert!(known.contains(&reply) || reply.contains("CHAT-031"), "{reply}");
    }
    drop(peer);
    daemon.kill();
    let daemon = setup.start();
    let found = daemon.connect().ask(enter("u1"));
    assert!(known.contains(&found), "{found} after {acknowledged} were acknowledged");
}
