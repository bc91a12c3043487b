//! The disk refuses: what is durable stays readable, nothing is told that is not so, and when the
//! disk takes more everything goes on.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::disk::Call;
use super::*;

const NO_SPACE: i32 = 28;
const IO_ERROR: i32 = 5;

/// What the disk of a test does.
#[derive(Debug, Default)]
struct Faults {
    /// Writes that are to fail half-way.
    writes: AtomicUsize,
    /// Syncs that are to fail.
    syncs: AtomicUsize,
    synced: AtomicUsize,
    /// Held by a test to let writes wait.
    gate: Mutex<()>,
}

impl Faults {
    fn disk(self: &Arc<Self>) -> Disk {
        let (on_write, on_sync) = (Arc::clone(self), Arc::clone(self));
        Disk::with(
            move |file, bytes, at| {
                drop(on_write.gate.lock());
                if take(&on_write.writes) {
                    file.write_all_at(&bytes[..bytes.len() / 2], at)?;
                    return Err(io::Error::from_raw_os_error(NO_SPACE));
                }
                file.write_all_at(bytes, at)
            },
            move |file| {
                if take(&on_sync.syncs) {
                    return Err(io::Error::from_raw_os_error(IO_ERROR));
                }
                on_sync.synced.fetch_add(1, Ordering::SeqCst);
                file.sync_data()
            },
        )
    }
}

fn take(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn faulty(dir: &Path, limits: Limits) -> (EmbeddedStore, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    (EmbeddedStore::open_on(dir, faults.disk(), limits).unwrap(), faults)
}

fn detail(result: Result<Record>) -> String {
    result.unwrap_err().to_string()
}

async fn until_well(store: &EmbeddedStore) {
    let well = async {
        while store.shared.core().trouble.is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), well).await.unwrap();
}

fn log_bytes(dir: &Path, generation: u64) -> u64 {
    fs::metadata(dir.join(format!("log-{generation}"))).unwrap().len()
}

#[test]
fn a_full_disk_refuses_changes_keeps_reads_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (store, faults) = faulty(dir.path(), eager());
    record_each(&store, 0..1);
    let good_bytes = log_bytes(dir.path(), 1);
    faults.writes.store(usize::MAX, Ordering::SeqCst);
    run(async {
        let failed = detail(store.record_study_time(&user(1), &time(1)).await);
        assert!(failed.contains("No space left"), "{failed}");
        // Refused before it touches anything: there is no such user, then and later.
        let refused = detail(store.record_study_time(&user(7), &time(7)).await);
        assert!(refused.contains("No space left"), "{refused}");
        assert_eq!(store.study_time(&user(7)).await.unwrap(), None);
        assert_eq!(store.study_time(&user(0)).await.unwrap(), Some(time(0)));
        // Not durable, so not told.
        store.study_time(&user(1)).await.unwrap_err();
        let proof = store.prove_writable().await.unwrap_err().to_string();
        assert!(proof.contains("No space left"), "{proof}");
        let died = open(copy_of(dir.path()).path());
        assert_eq!(died.study_time(&user(1)).await.unwrap(), None);
        faults.writes.store(0, Ordering::SeqCst);
        until_well(&store).await;
        assert!(log_bytes(dir.path(), 1) > good_bytes);
        assert_eq!(store.study_time(&user(1)).await.unwrap(), Some(time(1)));
        store.record_study_time(&user(2), &time(2)).await.unwrap();
    });
    drop(store);
    assert_eq!(study_times(&open(dir.path()), 3), expected_times(3));
}

#[test]
fn what_proves_that_the_log_takes_changes_is_synced_and_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, faults) = faulty(dir.path(), eager());
    record_each(&store, 0..1);
    let before = contents(dir.path());
    let synced = faults.synced.load(Ordering::SeqCst);
    run(store.prove_writable()).unwrap();
    assert_eq!(faults.synced.load(Ordering::SeqCst), synced + 1);
    assert_ne!(contents(dir.path()), before);
    for failing in [&faults.writes, &faults.syncs] {
        failing.store(1, Ordering::SeqCst);
        run(store.prove_writable()).unwrap_err();
        run(until_well(&store));
        run(store.prove_writable()).unwrap();
    }
    drop(store);
    let store = open(dir.path());
    assert_eq!((store.user_count(), study_times(&store, 1)), (1, expected_times(1)));
}

#[test]
fn after_a_failed_sync_the_log_is_left_behind_for_a_snapshot() {
    for failures in [1, 2, 5] {
        let dir = tempfile::tempdir().unwrap();
        let (store, faults) = faulty(dir.path(), eager());
        record_each(&store, 0..2);
        faults.syncs.store(failures, Ordering::SeqCst);
        run(async {
            let failed = detail(store.record_study_time(&user(2), &time(2)).await);
            assert!(failed.contains("can't be synced"), "{failed}");
            until_well(&store).await;
            store.record_study_time(&user(3), &time(3)).await.unwrap();
        });
        let copy = copy_of(dir.path());
        assert_eq!(study_times(&open(copy.path()), 4), expected_times(4));
        drop(store);
        assert_eq!(files(dir.path()), ["LOCK", "VERSION", "acknowledged", "log-2", "snapshot-2"]);
        assert_eq!(study_times(&open(dir.path()), 4), expected_times(4));
    }
}

#[test]
fn a_store_on_a_full_disk_closes_with_an_error_and_without_hanging() {
    let dir = tempfile::tempdir().unwrap();
    let (store, faults) = faulty(dir.path(), Limits::default());
    record_each(&store, 0..1);
    faults.writes.store(usize::MAX, Ordering::SeqCst);
    run(async {
        store.record_study_time(&user(1), &time(1)).await.unwrap_err();
        let closed = store.close().await.unwrap_err().to_string();
        assert!(closed.contains("No space left"), "{closed}");
    });
    assert_eq!(study_times(&open(dir.path()), 1), expected_times(1));
}

#[test]
fn what_is_left_unwritten_at_the_close_leaves_no_gap_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (store, faults) = faulty(dir.path(), Limits::default());
    record_each(&store, 0..1);
    let gate = faults.gate.lock().unwrap();
    let apply = |number| {
        store.apply(|core| {
            let Core { state, journal, .. } = core;
            state.record_study_time(journal, &user(number), &time(number));
        })
    };
    apply(1).unwrap();
    while !store.shared.core().journal.is_empty() {
        std::thread::yield_now();
    }
    // The writer is at the first of the two; only its write fails.
    apply(2).unwrap();
    faults.writes.store(1, Ordering::SeqCst);
    store.stop();
    drop(gate);
    run(store.close()).unwrap_err();
    assert_eq!(study_times(&open(dir.path()), 3), [Some(time(0)), None, None]);
}

#[test]
fn a_snapshot_that_fails_is_tried_again_while_the_log_grows_on() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { log_bytes_min: 1_000, ..eager() };
    let (store, faults) = faulty(dir.path(), limits);
    record_each(&store, 0..30);
    // The snapshot's own writes and the log's share the faults, so either may meet them.
    faults.writes.store(3, Ordering::SeqCst);
    run(async {
        for number in 0..400 {
            let number = number % 30;
            if store.record_study_time(&user(number), &time(number)).await.is_err() {
                until_well(&store).await;
            }
        }
    });
    drop(store);
    assert!(!files(dir.path()).contains(&"snapshot-1".to_owned()));
    assert_eq!(study_times(&open(dir.path()), 30), expected_times(30));
}

#[test]
fn room_is_made_ahead_once_for_many_changes_and_given_back_at_the_close() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { log_ahead_bytes: 100_000, ..Limits::default() };
    let (store, _) = faulty(dir.path(), limits);
    record_each(&store, 0..1);
    let with_room = log_bytes(dir.path(), 1);
    record_each(&store, 1..100);
    assert_eq!(log_bytes(dir.path(), 1), with_room);
    // Whoever dies leaves the room behind, which is no damage.
    let died = copy_of(dir.path());
    assert_eq!(study_times(&open(died.path()), 100), expected_times(100));
    drop(store);
    let closed = log_bytes(dir.path(), 1);
    assert!(closed < with_room, "{closed} of {with_room} bytes");
    assert_eq!(study_times(&open(dir.path()), 100), expected_times(100));
}

#[test]
fn where_there_is_no_space_for_room_changes_are_taken_as_long_as_they_fit() {
    let dir = tempfile::tempdir().unwrap();
    let (store, faults) = faulty(dir.path(), eager());
    // The first write of a group that needs room is the one that makes it.
    faults.writes.store(1, Ordering::SeqCst);
    record_each(&store, 0..1);
    assert_eq!(faults.writes.load(Ordering::SeqCst), 0);
    let without_room = log_bytes(dir.path(), 1);
    drop(store);
    assert_eq!(log_bytes(dir.path(), 1), without_room);
    assert_eq!(study_times(&open(dir.path()), 1), expected_times(1));
}

#[test]
fn many_writers_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (store, faults) = faulty(dir.path(), Limits::default());
    let before = faults.synced.load(Ordering::SeqCst);
    run(join_all((0..1_000).map(|number| {
        let store = &store;
        async move { store.record_study_time(&user(number), &time(number)).await.unwrap() }
    })));
    let syncs = faults.synced.load(Ordering::SeqCst) - before;
    assert!(syncs < 500, "{syncs} syncs for 1000 operations");
}

#[test]
fn what_waits_to_be_written_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { pending_bytes_max: 1_000, ..Limits::default() };
    let (store, faults) = faulty(dir.path(), limits);
    let gate = faults.gate.lock().unwrap();
    let apply =
        || store.apply(|core| core.state.record_study_time(&mut core.journal, &user(1), &time(1)));
    let refused = (0..10_000).find_map(|_| apply().err()).unwrap();
    assert!(refused.to_string().contains("too much is waiting"), "{refused}");
    drop(gate);
    run(store.close()).unwrap();
}

#[test]
fn nobody_waits_for_a_writer_that_panicked() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let dying = Disk::with(|_, _, _| panic!("the disk of the test"), File::sync_data);
    let store = EmbeddedStore::open_on(dir.path(), dying, Limits::default()).unwrap();
    let limit = Duration::from_secs(30);
    run(async {
        for number in 0..3 {
            let (user, time) = (user(number), time(number));
            let changed = tokio::time::timeout(limit, store.record_study_time(&user, &time)).await;
            let why = changed.expect("it ends").unwrap_err().to_string();
            assert!(why.contains("panicked"), "{why}");
        }
        tokio::time::timeout(limit, store.close()).await.expect("it ends").unwrap_err();
    });
}

#[test]
fn a_log_that_was_begun_in_vain_and_could_not_be_removed_hides_nothing_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let disk = Disk::new().and(|call, done| match call {
        // The name is there, and nobody knows whether it stays.
        Call::SyncFolder | Call::Remove => Err(io::Error::from_raw_os_error(IO_ERROR)),
        Call::Create | Call::Read | Call::Note | Call::Cut | Call::Rename => done(),
    });
    let limits = Limits { log_bytes_min: 1_000, ..eager() };
    let store = EmbeddedStore::open_on(dir.path(), disk, limits).unwrap();
    record_each(&store, 0..40);
    assert!(files(dir.path()).contains(&"log-2".to_owned()));
    drop(store);
    for _ in 0..2 {
        let store = open(dir.path());
        assert_eq!(study_times(&store, 40), expected_times(40));
        record_each(&store, 0..1);
    }
}

#[test]
fn a_snapshot_whose_thread_panics_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let panics = AtomicUsize::new(1);
    let disk = Disk::with(
        move |file, bytes, at| {
            assert!(!(bytes.starts_with(b"stat.snp") && take(&panics)), "the disk of the test");
            file.write_all_at(bytes, at)
        },
        File::sync_data,
    );
    let store = EmbeddedStore::open_on(dir.path(), disk, eager()).unwrap();
    while files(dir.path()).contains(&"snapshot-1".to_owned()) {
        record_each(&store, 0..3);
    }
    drop(store);
    assert_eq!(study_times(&open(dir.path()), 3), expected_times(3));
}

#[test]
fn dropping_a_store_whose_disk_hangs_does_not_hang() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { drop_wait_max: Duration::from_millis(20), ..Limits::default() };
    let (store, faults) = faulty(dir.path(), limits);
    record_each(&store, 0..1);
    let gate = faults.gate.lock().unwrap();
    let apply =
        || store.apply(|core| core.state.record_study_time(&mut core.journal, &user(1), &time(1)));
    apply().unwrap();
    drop(store);
    // The folder is still its own.
    assert!(matches!(EmbeddedStore::open(dir.path()), Err(OpenError::InUse { .. })));
    drop(gate);
    while matches!(EmbeddedStore::open(dir.path()), Err(OpenError::InUse { .. })) {
        std::thread::yield_now();
    }
    assert_eq!(study_times(&open(dir.path()), 2), expected_times(2));
}
