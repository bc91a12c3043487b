//! Logs give way to snapshots while changes go on, whenever the daemon dies.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn folder_bytes(dir: &Path) -> u64 {
    files(dir).iter().map(|name| fs::metadata(dir.join(name)).unwrap().len()).sum()
}

#[test]
fn the_folder_follows_the_number_of_users_and_not_of_writes() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { log_bytes_min: 10_000, ..Limits::default() };
    let store = EmbeddedStore::open_on(dir.path(), Disk::new(), limits).unwrap();
    let threads = 4;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..10 {
                    record_each(store, thread * 50..(thread + 1) * 50);
                }
            });
        }
    });
    let users = threads * 50;
    assert!(!files(dir.path()).contains(&"snapshot-1".to_owned()));
    let copy = copy_of(dir.path());
    assert_eq!(study_times(&open(copy.path()), users), expected_times(users));
    run(store.close()).unwrap();
    let bytes = folder_bytes(dir.path());
    assert!(bytes < 60_000, "{bytes} bytes");
    assert_eq!(study_times(&open(dir.path()), users), expected_times(users));
}

#[test]
fn a_compaction_cut_short_at_any_step_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let told = Arc::new(AtomicUsize::new(0));
    let moments = Arc::new(Mutex::new(Vec::new()));
    let keep = {
        let (told, moments) = (Arc::clone(&told), Arc::clone(&moments));
        let path = dir.path().to_owned();
        move || {
            // One thread at a time, so that no file vanishes under the copy.
            let mut moments = moments.lock().unwrap();
            let told = told.load(Ordering::SeqCst);
            moments.push((told, copy_of(&path)));
        }
    };
    let on_sync = keep.clone();
    let disk = Disk::with(
        move |file, bytes, at| {
            keep();
            file.write_all_at(bytes, at)
        },
        move |file| {
            on_sync();
            file.sync_data()
        },
    );
    let limits = Limits { log_bytes_min: 1_000, ..eager() };
    let store = EmbeddedStore::open_on(dir.path(), disk, limits).unwrap();
    let third =
        |dir: &Path| !files(dir).iter().any(|name| name.ends_with("-1") || name.ends_with("-2"));
    for number in 0.. {
        record_each(&store, number..number + 1);
        told.store(number + 1, Ordering::SeqCst);
        if third(dir.path()) {
            break;
        }
    }
    drop(store);
    let moments = std::mem::take(&mut *moments.lock().unwrap());
    let unfinished =
        moments.iter().filter(|(_, copy)| files(copy.path()).iter().any(|f| f.ends_with(".tmp")));
    assert!(unfinished.count() > 0);
    for (told, copy) in moments {
        let store = open(copy.path());
        assert_eq!(study_times(&store, told), expected_times(told));
    }
}

#[test]
fn files_that_a_finished_snapshot_left_behind_are_ignored_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { log_bytes_min: 3_000, ..Limits::default() };
    let store = EmbeddedStore::open_on(dir.path(), Disk::new(), limits).unwrap();
    record_each(&store, 0..20);
    let older = copy_of(dir.path());
    while files(dir.path()).contains(&"snapshot-1".to_owned()) {
        record_each(&store, 0..20);
    }
    drop(store);
    let newer = files(dir.path());
    for (name, left) in [("snapshot-1", "snapshot-1"), ("log-1", "log-1"), ("log-1", "log-99.tmp")]
    {
        let copy = copy_of(dir.path());
        fs::copy(older.path().join(name), copy.path().join(left)).unwrap();
        assert_eq!(study_times(&open(copy.path()), 20), expected_times(20));
        assert_eq!(files(copy.path()), newer);
    }
}

const CHILD_DIR: &str = "STATED_TEST_EMBEDDED_CHILD_DIR";

#[test]
fn killed_at_any_moment_it_keeps_what_it_told() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        return write_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("store::embedded::tests::compaction::killed_at_any_moment_it_keeps_what_it_told")
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines.by_ref().filter(|line| line.as_ref().unwrap().starts_with("told "));
        let last = told.take(round * 120).last().unwrap().unwrap();
        child.kill().unwrap();
        // What it said between the last line that was read and its death counts too.
        let rest = lines.map_while(|line| line.ok()).filter(|line| line.starts_with("told "));
        let last = rest.last().unwrap_or(last);
        child.wait().unwrap();
        let last: usize = last.strip_prefix("told ").unwrap().parse().unwrap();
        assert_eq!(study_times(&open(dir.path()), last + 1), expected_times(last + 1));
    }
}

fn write_until_killed(dir: &Path) {
    let limits = Limits { log_bytes_min: 5_000, snapshot_step_slots: 16, ..eager() };
    let store = EmbeddedStore::open_on(dir, Disk::new(), limits).unwrap();
    for number in 0.. {
        record_each(&store, number..number + 1);
        println!("told {number}");
    }
}
