//! What may lie on a disk, for fuzzers: records, and the headers around them.

use super::group::{FILE_HEADER_BYTES, FileHeader, GROUP_HEADER_BYTES, GroupHeader, Kind};
use super::record::{self, End};
use crate::store::state::State;

/// Records, as after a right checksum. What they restore can be written down, and that restores the
/// same.
pub(crate) fn records(data: &[u8]) {
    check_headers(data);
    let mut state = State::default();
    if record::restore(&mut state, data).is_err() {
        return;
    }
    assert!(state.user_count() <= data.len());
    let written = snapshot(&state);
    let mut again = State::default();
    let end = record::restore(&mut again, &written);
    assert_eq!(end, Ok(Some(End { position: 7 })));
    assert_eq!(snapshot(&again), written);
}

fn snapshot(state: &State) -> Vec<u8> {
    let mut written = Vec::new();
    for entry in (0..state.slot_count()).filter_map(|slot| state.entry_at(slot)) {
        record::put_entry(&mut written, entry);
    }
    record::put_night(&mut written, &state.night());
    for night in state.past_nights() {
        record::put_past_night(&mut written, night);
    }
    for batch in state.outstanding_batches() {
        record::put_batch(&mut written, batch);
    }
    record::put_end(&mut written, End { position: 7 });
    written
}

fn check_headers(data: &[u8]) {
    if let Some(bytes) = data.first_chunk::<FILE_HEADER_BYTES>() {
        for kind in [Kind::Log, Kind::Snapshot] {
            let _header = FileHeader::parse(bytes, kind);
        }
    }
    if let Some(bytes) = data.first_chunk::<GROUP_HEADER_BYTES>() {
        let _header = GroupHeader::parse(bytes, 0, 0);
    }
}
