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
    // A compaction that was cut short is finished first.
    while files(dir.path()).len() > 5 {
        std::thread::yield_now();
    }
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
        let path = dir.path().join(name);
        let content = fs::read(&path).unwrap();
        for at in 0..content.len() {
            let mut flipped = content.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&path, flipped).unwrap();
            assert!(check_never_silently_less(dir.path()), "{name}, byte {at}");
        }
        fs::write(&path, content).unwrap();
    }
    assert!(!check_never_silently_less(dir.path()));
}

#[test]
fn every_truncated_or_missing_file_is_told_as_damage() {
    let dir = small_store();
    for name in files(dir.path()).iter().filter(|name| *name != "LOCK") {
        let path = dir.path().join(name);
        let content = fs::read(&path).unwrap();
        for length in 0..content.len() {
            fs::write(&path, &content[..length]).unwrap();
            assert!(check_never_silently_less(dir.path()), "{name}, cut to {length}");
        }
        fs::remove_file(&path).unwrap();
        assert!(check_never_silently_less(dir.path()), "{name} removed");
        fs::write(&path, content).unwrap();
    }
    assert!(!check_never_silently_less(dir.path()));
}

fn newest_log(dir: &Path) -> PathBuf {
    dir.join(files(dir).into_iter().rfind(|name| name.starts_with("log-")).unwrap())
}

/// A store, and its newest log without and with the last change.
fn store_with_one_change_more() -> (TempDir, [Vec<u8>; 2]) {
    let dir = small_store();
    let log = newest_log(dir.path());
    let content = fs::read(&log).unwrap();
    let store = open(dir.path());
    record_each(&store, 0..1);
    drop(store);
    let longer = fs::read(&log).unwrap();
    (dir, [content, longer])
}

#[test]
fn a_torn_end_that_nobody_was_told_of_is_cut_off() {
    let (dir, [content, longer]) = store_with_one_change_more();
    let mut garbage = content.clone();
    garbage.extend_from_slice(&[0x5a; 3000]);
    let mut zeros = content.clone();
    zeros.resize(5000, 0);
    let cuts = (content.len()..longer.len()).map(|length| longer[..length].to_vec());
    for torn in cuts.chain([garbage, zeros]) {
        let copy = copy_of(dir.path());
        fs::write(newest_log(copy.path()), torn).unwrap();
        acknowledge(copy.path(), content.len());
        assert!(!check_never_silently_less(copy.path()));
        assert_eq!(fs::read(newest_log(copy.path())).unwrap(), content);
    }
}

#[test]
fn an_end_that_nobody_was_told_of_may_hold_anything_after_a_power_cut() {
    let (dir, [content, longer]) = store_with_one_change_more();
    for at in content.len()..longer.len() {
        let (mut flipped, mut zeros, mut hole) = (longer.clone(), longer.clone(), longer.clone());
        flipped[at] ^= 1 << (at % 8);
        zeros[at..].fill(0);
        hole[content.len()..=at].fill(0);
        for torn in [flipped, zeros, hole].into_iter().filter(|torn| *torn != longer) {
            let copy = copy_of(dir.path());
            fs::write(newest_log(copy.path()), torn).unwrap();
            acknowledge(copy.path(), content.len());
            assert!(!check_never_silently_less(copy.path()));
            assert_eq!(fs::read(newest_log(copy.path())).unwrap(), content);
        }
    }
}

#[test]
fn a_last_group_of_which_only_later_blocks_reached_the_disk_is_a_torn_end() {
    let dir = small_store();
    let log = newest_log(dir.path());
    let before = fs::read(&log).unwrap();
    let mut group = group::Group::new(next_change(dir.path()));
    for number in 0..1_000 {
        State::default().record_study_time(&mut group, &user(1), &time(number));
    }
    let seed = group::u32_at(&before, 36);
    let mut torn = before.clone();
    torn.extend_from_slice(group.seal(before.len() as u64, seed));
    for hole in [before.len()..before.len() + 4096, before.len() + 8192..before.len() + 12288] {
        let mut torn = torn.clone();
        torn[hole].fill(0);
        let copy = copy_of(dir.path());
        fs::write(newest_log(copy.path()), torn).unwrap();
        assert!(!check_never_silently_less(copy.path()));
        assert_eq!(fs::read(newest_log(copy.path())).unwrap(), before);
    }
}

#[test]
fn a_broken_group_before_another_one_is_damage_even_if_nothing_says_it_was_acknowledged() {
    let dir = small_store();
    let log = newest_log(dir.path());
    let content = fs::read(&log).unwrap();
    for at in group::FILE_HEADER_BYTES..group::FILE_HEADER_BYTES + 40 {
        let copy = copy_of(dir.path());
        acknowledge(copy.path(), group::FILE_HEADER_BYTES);
        let mut flipped = content.clone();
        flipped[at] ^= 1;
        fs::write(newest_log(copy.path()), flipped).unwrap();
        assert!(check_never_silently_less(copy.path()), "byte {at}");
    }
}

/// The number of the next change of a store that is closed.
fn next_change(dir: &Path) -> u64 {
    open(dir).shared.core().journal.next()
}

/// Writes that so much of the newest log is known to be synced, as an earlier moment had it.
fn acknowledge(dir: &Path, length: usize) {
    let log = newest_log(dir);
    let generation = log.to_str().unwrap().rsplit_once('-').unwrap().1.parse().unwrap();
    let acknowledged = acknowledged::Acknowledged { generation, length: length as u64 };
    let (folder, _) = Folder::claim(dir, Arc::new(Disk::new())).unwrap();
    acknowledged::AcknowledgedFile::open(&folder).unwrap().0.write(acknowledged).unwrap();
}
