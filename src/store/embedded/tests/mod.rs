//! The embedded store against real files: reopened, cut, flipped, filled up, compacted.

mod churn;
mod compaction;
mod damage;
mod faults;
mod model;
mod opening;
mod upgrade;
mod walk;

use std::{fs, io};

use tempfile::TempDir;

use super::*;

impl EmbeddedStore {
    /// A store, and what makes it refuse changes from now on, or take them again, as a disk does that
    /// is full for a while.
    pub(crate) fn open_with_switch(dir: &Path) -> (Self, impl Fn(bool)) {
        let store = Self::open(dir).unwrap();
        let shared = Arc::clone(&store.shared);
        let switch = move |refuses: bool| {
            shared.core().refusal = refuses.then(|| "the disk is full".into());
        };
        (store, switch)
    }
}

fn user(number: usize) -> UserId {
    UserId::parse(&format!("user-{number}")).unwrap()
}

fn time(number: usize) -> StudyTime {
    StudyTime::parse(&format!("{:02}:{:02}:00", number / 60, number % 60)).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Limits under which a log of a few records is compacted, one slot at a time, and the disk is
/// tried again at once.
fn eager() -> Limits {
    Limits {
        log_bytes_min: 400,
        log_ahead_bytes: 200,
        retry_after: Duration::from_millis(5),
        snapshot_step_slots: 1,
        ..Limits::default()
    }
}

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir).unwrap()
}

/// The folder as a process that dies now leaves it.
fn copy_of(dir: &Path) -> TempDir {
    loop {
        match try_copy_of(dir) {
            Ok(copy) => return copy,
            // A compaction that ends just now removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn try_copy_of(dir: &Path) -> io::Result<TempDir> {
    let copy = tempfile::tempdir()?;
    // First, so that it never says more than the copies of the logs hold.
    let acknowledged = fs::read(dir.join("acknowledged"))?;
    for name in files(dir) {
        fs::write(copy.path().join(&name), still_content_of(&dir.join(&name))?)?;
    }
    fs::write(copy.path().join("acknowledged"), acknowledged)?;
    Ok(copy)
}

/// What is in the file at one moment. Of a file that is written to while it is read, a later part may be
/// newer than an earlier one; no death leaves it so.
fn still_content_of(file: &Path) -> io::Result<Vec<u8>> {
    let mut content = fs::read(file)?;
    loop {
        let again = fs::read(file)?;
        if again == content {
            return Ok(content);
        }
        content = again;
    }
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
