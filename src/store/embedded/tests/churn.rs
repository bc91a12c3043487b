//! Many tasks at once on a disk that fails now and then, and the store closed under them: every
//! operation ends, whichever task polls it and whether or not one still does.

use std::fs::File;
use std::future::poll_fn;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tokio_util::task::TaskTracker;

use super::*;

const USERS: usize = 50;
/// Changes that are told before the store is closed.
const ENOUGH: usize = USERS * 100;
/// Far beyond what anything here takes: who is still waiting then is waiting for ever.
const FOR_EVER: Duration = Duration::from_secs(60);

/// A disk on which so many of a hundred calls fail.
fn flaky(failing: &Arc<AtomicUsize>) -> Disk {
    let failing = Arc::clone(failing);
    let fails = move || fastrand::usize(..100) < failing.load(Ordering::SeqCst);
    let write_fails = fails.clone();
    Disk::with(
        move |file, bytes, at| match write_fails() {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => file.write_all_at(bytes, at),
        },
        move |file: &File| {
            if fails() { Err(io::ErrorKind::Other.into()) } else { file.sync_data() }
        },
    )
}

/// A time that is greater than those before, also as text.
fn nth(number: usize) -> StudyTime {
    StudyTime::parse(&format!("{number:010}")).unwrap()
}

async fn record(store: Arc<EmbeddedStore>, number: usize, latest: usize) -> bool {
    store.record_study_time(&user(number), &nth(latest)).await.is_ok()
}

/// Makes changes of one user until the store is closed, each with a later time, and some of them
/// given up or handed to another task half-way; returns the latest of which it was told.
async fn change(store: Arc<EmbeddedStore>, number: usize, told: Arc<AtomicUsize>) -> usize {
    let mut latest_told = 0;
    for latest in 1.. {
        if store.shared.core().stopping {
            break;
        }
        let mut change = Box::pin(record(Arc::clone(&store), number, latest));
        let begun = poll_fn(|task| Poll::Ready(change.as_mut().poll(task))).await;
        let is_done = match (begun, fastrand::u8(..4)) {
            (Poll::Ready(is_done), _) => is_done,
            (Poll::Pending, 0) => false,
            (Poll::Pending, 1) => TaskTracker::new().spawn(change).await.unwrap(),
            (Poll::Pending, _) => change.await,
        };
        if is_done {
            latest_told = latest;
            told.fetch_add(1, Ordering::SeqCst);
        }
        // Refusals come at once.
        tokio::task::yield_now().await;
        drop(store.study_time(&user(fastrand::usize(..USERS))).await);
    }
    latest_told
}

/// The latest time that each user's task was told of.
async fn churn(store: &Arc<EmbeddedStore>, then: impl FnOnce()) -> Vec<usize> {
    let told = Arc::new(AtomicUsize::new(0));
    let tracker = TaskTracker::new();
    let begin = |number| tracker.spawn(change(Arc::clone(store), number, Arc::clone(&told)));
    let tasks: Vec<_> = (0..USERS).map(begin).collect();
    while told.load(Ordering::SeqCst) < ENOUGH {
        tokio::task::yield_now().await;
    }
    then();
    // What is pending may be lost with a disk like this, and is not told then.
    drop(store.close().await);
    let mut latest = Vec::new();
    for task in tasks {
        latest.push(task.await.unwrap());
    }
    latest
}

#[test]
fn on_a_flaky_disk_every_operation_ends_and_what_was_told_stays() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let limits = Limits {
        log_bytes_min: 20_000,
        retry_after: Duration::from_millis(1),
        snapshot_step_slots: 7,
        ..eager()
    };
    for failing_at_the_end in [2, 100, 2, 100] {
        let dir = tempfile::tempdir().unwrap();
        let failing = Arc::new(AtomicUsize::new(0));
        let disk = flaky(&failing);
        let store = Arc::new(EmbeddedStore::open_on(dir.path(), disk, limits).unwrap());
        failing.store(2, Ordering::SeqCst);
        let churned = churn(&store, || failing.store(failing_at_the_end, Ordering::SeqCst));
        let ended = runtime.block_on(async { tokio::time::timeout(FOR_EVER, churned).await });
        let told = ended.expect("nobody waits for ever");
        drop(store);
        for (number, found) in study_times(&open(dir.path()), USERS).into_iter().enumerate() {
            let told = (told[number] > 0).then(|| nth(told[number]));
            assert!(found >= told, "user {number}: {found:?}, told of {told:?}");
        }
    }
}
