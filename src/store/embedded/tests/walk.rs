//! Every call to the disk fails in turn, in every manner: whoever asks is told, nothing that was
//! acknowledged is lost, nothing is there by halves, and when the disk works again so does the store.

use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const IO_ERROR: i32 = 5;
const LAST_TIMEOUT: Duration = Duration::from_secs(600);
/// Enough for the log to be replaced several times.
const CHANGES: usize = 24;
/// These are only ever listed together.
const LISTED: usize = 3;
const USERS: usize = 6;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Half of it is done, if it has halves.
    HalfDone,
    /// It is done, and said not to be.
    Denied,
    /// Nothing works for a while.
    Repeated,
}

/// Of each user: what was acknowledged last.
type Acknowledged = [usize; USERS];

/// A disk on which one call fails, and what a process that dies over it leaves behind.
struct Failing {
    at: usize,
    failure: Failure,
    calls: AtomicUsize,
    dir: PathBuf,
    acknowledged: Mutex<Acknowledged>,
    deaths: Mutex<Vec<(Acknowledged, TempDir)>>,
}

impl Failing {
    fn fail(&self) -> bool {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let times = if self.failure == Failure::Repeated { 4 } else { 1 };
        (self.at..self.at + times).contains(&number)
    }

    fn die(&self) -> io::Result<()> {
        // First, so that the copy has at least that.
        let acknowledged = *self.acknowledged.lock().unwrap();
        if let Ok(copy) = try_copy_of(&self.dir) {
            self.deaths.lock().unwrap().push((acknowledged, copy));
        }
        Err(io::Error::from_raw_os_error(IO_ERROR))
    }

    fn call(
        &self,
        half: impl FnOnce() -> io::Result<()>,
        all: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        match (self.fail(), self.failure) {
            (false, _) => all(),
            (true, Failure::Denied) => all().and_then(|()| self.die()),
            (true, Failure::HalfDone | Failure::Repeated) => half().and_then(|()| self.die()),
        }
    }

    fn disk(self: &Arc<Self>) -> Disk {
        let (on_write, on_sync, on_other) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        // No power is cut here: nothing needs to reach the disk itself.
        Disk::with(
            move |file, bytes, at| {
                let half = || file.write_all_at(&bytes[..bytes.len() / 2], at);
                on_write.call(half, || file.write_all_at(bytes, at))
            },
            move |_| on_sync.call(|| Ok(()), || Ok(())),
        )
        .and(move |_, call| on_other.call(|| Ok(()), call))
    }
}

fn nth(number: usize) -> StudyTime {
    StudyTime::parse(&format!("{number:010}")).unwrap()
}

fn found(store: &EmbeddedStore) -> Acknowledged {
    let times = study_times(store, USERS);
    let number = |time: Option<StudyTime>| time.map_or(0, |time| time.as_str().parse().unwrap());
    times.into_iter().map(number).collect::<Vec<_>>().try_into().unwrap()
}

async fn until_well(store: &EmbeddedStore) {
    let well = async {
        while store.prove_writable().await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), well).await.expect("it recovers by itself");
}

/// Changes everything, to these numbers, and notes what of it was acknowledged.
async fn play(store: &EmbeddedStore, failing: &Failing, numbers: Range<usize>) {
    for number in numbers {
        let of = LISTED + number % (USERS - LISTED);
        let (users, done) = if number % 4 == 0 {
            let entry = |of| UserTime { user: user(of), study_time: Some(nth(number)) };
            let entries: Vec<_> = (0..LISTED).map(entry).collect();
            (0..LISTED, store.list_study_times(&entries, UnixMillis(0), LAST_TIMEOUT).await)
        } else {
            let recorded = store.record_study_time(&user(of), &nth(number)).await;
            (of..of + 1, recorded.map(drop))
        };
        match done {
            Ok(()) => failing.acknowledged.lock().unwrap()[users].fill(number),
            Err(Error::Failed(_)) => until_well(store).await,
            Err(other) => panic!("{other}"),
        }
    }
}

fn check(dir: &Path, acknowledged: Acknowledged) {
    let found = found(&open(dir));
    for (of, (found, acknowledged)) in found.iter().zip(acknowledged).enumerate() {
        assert!(*found >= acknowledged, "user {of}: {found}, acknowledged was {acknowledged}");
    }
    assert!(found[..LISTED].iter().all(|other| *other == found[0]), "half a listing: {found:?}");
}

/// Lives with a disk on which this call fails; returns how many calls it made.
fn live(at: usize, failure: Failure) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let failing = Arc::new(Failing {
        at,
        failure,
        calls: AtomicUsize::new(0),
        dir: dir.path().to_owned(),
        acknowledged: Mutex::default(),
        deaths: Mutex::default(),
    });
    let limits = Limits { retry_after: Duration::from_millis(1), ..eager() };
    // A store that can't be opened is left as it was, and can be another time.
    for first in [1, 1 + CHANGES] {
        let opened =
            (0..5).find_map(|_| match EmbeddedStore::open_on(dir.path(), failing.disk(), limits) {
                Ok(store) => Some(store),
                Err(OpenError::Io { .. }) => None,
                Err(other) => panic!("{other}"),
            });
        let store = opened.expect("no disk fails so often");
        run(play(&store, &failing, first..first + CHANGES));
        // What could not be written at the end was not acknowledged.
        drop(run(store.close()));
    }
    let acknowledged = *failing.acknowledged.lock().unwrap();
    check(dir.path(), acknowledged);
    for (acknowledged, copy) in failing.deaths.lock().unwrap().drain(..) {
        if files(copy.path()).contains(&"VERSION".to_owned()) {
            check(copy.path(), acknowledged);
        } else {
            assert_eq!(acknowledged, Acknowledged::default());
            drop(open(copy.path()));
        }
    }
    failing.calls.load(Ordering::SeqCst)
}

fn walk(failure: Failure) {
    let calls = live(usize::MAX - 4, failure);
    assert!(calls > 150, "only {calls} calls");
    for at in 0..calls {
        live(at, failure);
    }
}

#[test]
fn whichever_call_fails_half_way_nothing_acknowledged_is_lost() {
    walk(Failure::HalfDone);
}

#[test]
fn whichever_call_is_done_and_said_to_have_failed_nothing_acknowledged_is_lost() {
    walk(Failure::Denied);
}

#[test]
fn whenever_nothing_works_for_a_while_nothing_acknowledged_is_lost() {
    walk(Failure::Repeated);
}
