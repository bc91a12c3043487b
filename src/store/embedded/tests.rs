//! The embedded store against real files: reopened, cut, flipped, filled up, compacted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::state::NoJournal;

const LATER: Duration = Duration::from_secs(600);
const EVERYTHING: BatchLimits = BatchLimits { users_max: 10_000, entries_bytes_max: 1 << 20 };

fn user(number: usize) -> UserId {
    UserId::parse(&format!("user-{number}")).unwrap()
}

fn session(number: usize) -> SessionId {
    SessionId::parse(&format!("session-{number}")).unwrap()
}

fn time(number: usize) -> StudyTime {
    StudyTime::parse(&format!("{:02}:{:02}:00", number / 60, number % 60)).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Limits under which a log of a few records is compacted and the disk is tried again at once.
fn eager() -> Limits {
    Limits { log_bytes_min: 400, retry_after: Duration::from_millis(5), ..Limits::default() }
}

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir).unwrap()
}

fn copy_of(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Everything in a folder, to tell whether it was touched.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let names = files(dir).into_iter().filter(|name| name != "LOCK");
    names.map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

/// What the store says of `users` users.
fn study_times(store: &EmbeddedStore, users: usize) -> Vec<Option<StudyTime>> {
    run(async {
        let mut times = Vec::new();
        for number in 0..users {
            times.push(store.study_time(&user(number)).await.unwrap());
        }
        times
    })
}

fn record_each(store: &EmbeddedStore, users: std::ops::Range<usize>) {
    run(async {
        for number in users {
            store.record_study_time(&user(number), &time(number)).await.unwrap();
        }
    });
}

fn expected_times(users: usize) -> Vec<Option<StudyTime>> {
    (0..users).map(|number| Some(time(number))).collect()
}

#[test]
fn what_was_acknowledged_is_there_after_closing_dropping_and_copying() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/with/parents");
    let store = open(&path);
    record_each(&store, 0..3);
    run(store.close()).unwrap();
    assert!(matches!(run(store.record_study_time(&user(0), &time(9))), Err(Error::Failed(_))));
    let store = open(&path);
    record_each(&store, 3..5);
    drop(store);
    let store = open(&path);
    record_each(&store, 5..7);
    // As after `kill -9`: nothing was closed.
    let copy = copy_of(&path);
    assert_eq!(study_times(&open(copy.path()), 7), expected_times(7));
}

#[test]
fn a_folder_is_open_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    match EmbeddedStore::open(dir.path()) {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(store);
    open(dir.path());
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    for (name, content) in
        [("notes.txt", ""), ("VERSION", "17\n"), ("log-1", "a log of somebody else, of that name")]
    {
        let dir = tempfile::tempdir().unwrap();
        let long = content.repeat(2);
        fs::write(dir.path().join(name), &long).unwrap();
        let opened = EmbeddedStore::open(dir.path());
        assert!(matches!(opened, Err(OpenError::NotOurs { .. })), "{opened:?}");
        assert_eq!(files(dir.path()), [name]);
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), long);
    }
}

#[test]
fn a_folder_of_a_newer_format_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("VERSION"), "stated embedded store, format 2\n").unwrap();
    let before = contents(dir.path());
    let error = EmbeddedStore::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("written by a newer format 2"), "{error}");
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn a_store_whose_making_was_cut_short_at_any_step_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let steps = ["LOCK", "snapshot-1", "log-1", "acknowledged", "VERSION"];
    assert_eq!(files(dir.path()).len(), steps.len());
    for done in 0..steps.len() {
        for unfinished in [0, 7, 1000] {
            let cut = tempfile::tempdir().unwrap();
            for step in &steps[..done] {
                fs::copy(dir.path().join(step), cut.path().join(step)).unwrap();
            }
            let next = fs::read(dir.path().join(steps[done])).unwrap();
            let next = &next[..unfinished.min(next.len())];
            let in_place = matches!(steps[done], "LOCK" | "acknowledged");
            let name = format!("{}{}", steps[done], if in_place { "" } else { ".tmp" });
            fs::write(cut.path().join(name), next).unwrap();
            let store = open(cut.path());
            record_each(&store, 0..1);
            drop(store);
            assert_eq!(study_times(&open(cut.path()), 1), expected_times(1));
        }
    }
}

/// A folder with a snapshot and a log, both with something in them that was acknowledged.
fn small_store() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open_on(dir.path(), Disk::new(), eager()).unwrap();
    record_each(&store, 0..8);
    while files(dir.path()).contains(&"snapshot-1".to_owned()) {
        record_each(&store, 0..1);
    }
    drop(store);
    let store = open(dir.path());
    record_each(&store, 8..10);
    drop(store);
    dir
}

/// Opens the folder after something was done to it: the same state, or an error that left
/// everything as it was.
fn check_never_silently_less(dir: &Path) -> bool {
    let before = contents(dir);
    match EmbeddedStore::open(dir) {
        Ok(store) => {
            assert_eq!(study_times(&store, 10), expected_times(10));
            false
        }
        Err(
            OpenError::Damaged { .. } | OpenError::NotOurs { .. } | OpenError::NewerFormat { .. },
        ) => {
            assert_eq!(contents(dir), before);
            true
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn every_flipped_byte_is_told_as_damage() {
    let dir = small_store();
    for name in files(dir.path()).iter().filter(|name| *name != "LOCK") {
        let content = fs::read(dir.path().join(name)).unwrap();
        for at in 0..content.len() {
            let copy = copy_of(dir.path());
            let mut flipped = content.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(copy.path().join(name), flipped).unwrap();
            assert!(check_never_silently_less(copy.path()), "{name}, byte {at}");
        }
    }
}

#[test]
fn every_truncated_or_missing_file_is_told_as_damage() {
    let dir = small_store();
    for name in files(dir.path()).iter().filter(|name| *name != "LOCK") {
        let content = fs::read(dir.path().join(name)).unwrap();
        for length in 0..content.len() {
            let copy = copy_of(dir.path());
            fs::write(copy.path().join(name), &content[..length]).unwrap();
            assert!(check_never_silently_less(copy.path()), "{name}, cut to {length}");
        }
        let copy = copy_of(dir.path());
        fs::remove_file(copy.path().join(name)).unwrap();
        assert!(check_never_silently_less(copy.path()), "{name} removed");
    }
}

fn newest_log(dir: &Path) -> PathBuf {
    dir.join(files(dir).into_iter().rfind(|name| name.starts_with("log-")).unwrap())
}

#[test]
fn a_torn_end_that_nobody_was_told_of_is_cut_off() {
    let dir = small_store();
    let log = newest_log(dir.path());
    let content = fs::read(&log).unwrap();
    let store = open(dir.path());
    record_each(&store, 0..1);
    drop(store);
    let longer = fs::read(&log).unwrap();
    let mut garbage = content.clone();
    garbage.extend_from_slice(&[0x5a; 3000]);
    let mut zeros = content.clone();
    zeros.resize(5000, 0);
    let cuts = (content.len()..longer.len()).map(|length| longer[..length].to_vec());
    for torn in cuts.chain([garbage, zeros]) {
        let copy = copy_of(dir.path());
        fs::write(newest_log(copy.path()), torn).unwrap();
        let acknowledged = folder::Acknowledged {
            generation: fs::read(&log).map(|_| generation(&log)).unwrap(),
            length: content.len() as u64,
        };
        acknowledge(copy.path(), acknowledged);
        assert!(!check_never_silently_less(copy.path()));
        assert_eq!(fs::read(newest_log(copy.path())).unwrap(), content);
    }
}

fn generation(log: &Path) -> u64 {
    log.to_str().unwrap().rsplit_once('-').unwrap().1.parse().unwrap()
}

fn acknowledge(dir: &Path, acknowledged: folder::Acknowledged) {
    let (folder, _) = Folder::claim(dir).unwrap();
    folder::AcknowledgedFile::open(&folder).unwrap().0.write(acknowledged).unwrap();
}
