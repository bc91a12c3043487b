//! A folder of an older format is read, and is of this one from then on.

use super::model::everything;
use super::*;
use crate::store::night::{ClosedBy, ClosedDay};
use crate::store::state::entry::Entry;

/// What the last version of each format wrote; its README says how.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
const LIMITS: BatchLimits =
    BatchLimits { users_max: 25, entries_bytes_max: 2000, call_max: Duration::ZERO };
/// The record that says so in formats 1 and 2.
const NO_BATCH: u8 = 5;
const LAST_TIMEOUT: Duration = Duration::from_secs(600);

fn of_format_1() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in files(&Path::new(FIXTURES).join("embedded-format-1")) {
        let from = Path::new(FIXTURES).join("embedded-format-1").join(&name);
        if name != "README.md" {
            fs::copy(from, dir.path().join(name)).unwrap();
        }
    }
    dir
}

fn named(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn of(text: &str) -> Option<StudyTime> {
    Some(StudyTime::parse(text).unwrap())
}

/// The entry of a user with this room, session and study time of this day.
fn entry(name: &str, room: Option<i64>, session: Option<&str>, day: u64, time: &str) -> Entry {
    let mut entry = Entry::new(named(name), Day(day));
    entry.room = room.map(RoomId);
    entry.session = session.map(|session| SessionId::parse(session).unwrap());
    entry.live = session.is_some();
    entry.study_time = (!time.is_empty()).then(|| StudyTime::parse(time).unwrap());
    entry
}

fn expected_entries() -> Vec<Entry> {
    let mut u1 = entry("u1", Some(8), Some("s1b"), 3, "");
    u1.closed = [(Day(1), of("01:30:00")), (Day(2), of("00:05:00"))].into_iter().collect();
    let mut u2 = entry("u2", Some(7), Some("s2"), 2, "00:20:00");
    (u2.live, u2.closed) = (false, [(Day(1), of("02:00:00"))].into_iter().collect());
    let mut u4 = entry("u4", None, None, 1, "04:00:00");
    u4.listed = true;
    let mut u5 = entry("u5", Some(-7), Some("s5"), 4, "00:01:00");
    u5.closed = [(Day(2), None), (Day(3), of("00:31:00"))].into_iter().collect();
    let u6 = entry("u6", None, None, 3, "00:06:00");
    let mut ga = entry("가", None, None, 1, "03:30:00");
    ga.listed = true;
    vec![u1, u2, u4, u5, u6, ga]
}

#[test]
fn a_folder_of_format_1_is_read_to_the_last_record() {
    let dir = of_format_1();
    let store = open(dir.path());
    let (entries, night, batch, history) = everything(&store);
    assert_eq!(entries, expected_entries());
    assert_eq!(night.day, Day(3));
    assert!(night.listed_at.is_some());
    let days: Vec<_> = night.undelivered.iter().map(|closed| closed.day).collect();
    assert_eq!(days, [Day(1), Day(2)]);
    let batch = batch.first().cloned().unwrap();
    assert_eq!((batch.id.as_str(), batch.closed), ("8374d414f6a02da8", night.undelivered[0]));
    let told = |name: &str, time| UserTime { user: named(name), study_time: of(time) };
    assert_eq!(batch.users, [told("u1", "01:30:00"), told("u2", "02:00:00")]);
    assert_eq!(history, [], "what was closed before nights were remembered stays unknown");
    // The index of sessions is made of the records.
    for (session, owner) in [("s1", None), ("s1b", Some("u1")), ("s2", None), ("s5", Some("u5"))] {
        let closed = run(store.close_session(&SessionId::parse(session).unwrap())).unwrap();
        assert_eq!(closed.map(|record| record.user), owner.map(named), "{session}");
    }
}

#[test]
fn a_folder_of_format_1_goes_on_in_format_3_and_is_closed_to_older_versions() {
    let dir = of_format_1();
    let store = open(dir.path());
    // From the moment it is open; its log gives way to one of the new format at once.
    let version = fs::read_to_string(dir.path().join("VERSION")).unwrap();
    assert_eq!(version, "stated embedded store, format 3\n");
    let NextBatch::Send(batch) = run(store.next_batch(LIMITS)).unwrap() else { panic!("no frame") };
    assert_eq!(batch.id, "8374d414f6a02da8", "the frame that was formed before is sent first");
    run(store.acknowledge_batch(&batch, KeepOnline::Yes)).unwrap();
    let day = run(store.close_day(&[], UnixMillis(u64::MAX), LAST_TIMEOUT)).unwrap();
    assert_eq!(day, Day(4), "the night that was listing was overdue");
    let copy = copy_of(dir.path());
    let before = everything(&store);
    assert_eq!(before.3.len(), 2);
    let closed = ClosedDay { day: Day(4), closed_at: UnixMillis(u64::MAX) };
    assert_eq!(before.3[0], PastNight::new(closed, ClosedBy::Last));
    // As after a crash, whether or not the compaction had ended.
    assert_eq!(everything(&open(copy.path())), before);
    while files(dir.path()).contains(&"log-2".to_owned()) {
        std::thread::yield_now();
    }
    run(store.close()).unwrap();
    assert_eq!(everything(&open(dir.path())), before);
    let names = files(dir.path());
    assert_eq!(names, ["LOCK", "VERSION", "acknowledged", "log-3", "snapshot-3"]);
    for name in ["log-3", "snapshot-3"] {
        let header = fs::read(dir.path().join(name)).unwrap();
        assert_eq!(header[8..12], 3_u32.to_le_bytes(), "{name}");
    }
}

/// Makes the folder's empty log one of format 2 with these records.
fn lay_log_of_format_2(dir: &Path, records: &[u8]) {
    let log = dir.join("log-1");
    let mut bytes = fs::read(&log).unwrap();
    assert_eq!(bytes.len(), group::FILE_HEADER_BYTES);
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let seed = crc32fast::hash(&bytes[..36]);
    bytes[36..40].copy_from_slice(&seed.to_le_bytes());
    let mut group = Group::new(1);
    group.records().extend_from_slice(records);
    group.count_change();
    bytes.extend_from_slice(group.seal(group::FILE_HEADER_BYTES as u64, seed));
    fs::write(log, bytes).unwrap();
    fs::write(dir.join("VERSION"), "stated embedded store, format 2\n").unwrap();
}

#[test]
fn a_folder_of_format_2_goes_on_in_format_3_with_its_one_frame() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let closed = ClosedDay { day: Day(1), closed_at: UnixMillis(7) };
    let night = Night { day: Day(2), listed_at: None, undelivered: vec![closed] };
    let frame = |name: &str| {
        let users = vec![UserTime { user: named(name), study_time: of("1") }];
        Batch { id: Batch::new_id(), closed, users }
    };
    let (done, outstanding) = (frame("u1"), frame("u2"));
    let mut records = Vec::new();
    record::put_night(&mut records, &night);
    record::put_batch(&mut records, &done);
    records.push(NO_BATCH);
    record::put_batch(&mut records, &outstanding);
    lay_log_of_format_2(dir.path(), &records);
    let store = open(dir.path());
    let (_, found, batches, _) = everything(&store);
    assert_eq!((found, batches), (night, vec![outstanding]));
    let version = fs::read_to_string(dir.path().join("VERSION")).unwrap();
    assert_eq!(version, "stated embedded store, format 3\n");
}

#[test]
fn a_folder_whose_upgrade_was_cut_short_is_of_one_format_or_the_other() {
    // The mark is in place and nothing else was done yet.
    let dir = of_format_1();
    fs::write(dir.path().join("VERSION"), "stated embedded store, format 3\n").unwrap();
    assert_eq!(everything(&open(dir.path())).0, expected_entries());
    // The mark was being written.
    let dir = of_format_1();
    fs::write(dir.path().join("VERSION.tmp"), "stated embedded").unwrap();
    assert_eq!(everything(&open(dir.path())).0, expected_entries());
}

#[test]
fn a_damaged_folder_of_format_1_stays_as_it_is() {
    let dir = of_format_1();
    let log = dir.path().join("log-2");
    let mut bytes = fs::read(&log).unwrap();
    bytes[100] ^= 1;
    fs::write(&log, bytes).unwrap();
    let before = contents(dir.path());
    assert!(matches!(EmbeddedStore::open(dir.path()), Err(OpenError::Damaged { .. })));
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn in_a_folder_of_an_older_format_nothing_is_written_before_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    // A daemon died between the snapshot that leaves a log behind and the log after it.
    let (folder, _) = Folder::claim(dir.path(), Arc::new(Disk::new())).unwrap();
    let log = snapshot::Log { generation: 2, first: 1 };
    snapshot::write_empty(&folder, folder.disk(), log).unwrap();
    folder.finish_file(group::Kind::Snapshot, 2).unwrap();
    drop(folder);
    let version = dir.path().join("VERSION");
    fs::write(&version, "stated embedded store, format 1\n").unwrap();
    let before = contents(dir.path());
    // Not even the mark is written: then nothing is.
    let disk = Disk::with(|_, _, _| Err(io::ErrorKind::StorageFull.into()), fs::File::sync_data);
    EmbeddedStore::open_on(dir.path(), disk, Limits::default()).unwrap_err();
    fs::remove_file(dir.path().join("VERSION.tmp")).unwrap();
    assert_eq!(contents(dir.path()), before);
    drop(open(dir.path()));
    assert_eq!(fs::read_to_string(version).unwrap(), "stated embedded store, format 3\n");
}
