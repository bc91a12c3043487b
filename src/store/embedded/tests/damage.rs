//! Damage is told, whatever byte it hits; a torn end is not damage.

use std::path::PathBuf;

use super::*;

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
