//! Writes the whole state down, a piece at a time while it goes on changing.
//!
//! A snapshot is fuzzy: an entry in it is as it was some time between the snapshot's beginning and
//! its end. The log of its generation begins before it and holds the after-image of everything that
//! changed meanwhile, so both together are exact; for that the log must reach [`End::position`].

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::Limits;
use super::disk::Disk;
use super::folder::Folder;
use super::group::{FileHeader, Group, Kind};
use super::record::{self, End};
use super::shared::Shared;
use crate::crash::{self, Point};
use crate::store::state::State;

/// Bytes after which a snapshot is synced, so that the log's own syncs never wait behind all of it.
const SYNC_BYTES: u64 = 8 << 20;
/// Memory kept between two steps.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// A snapshot that is written and synced, and has not got its name yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// What it belongs to.
    pub(super) generation: u64,
    /// The log must be durable up to here before the snapshot counts.
    pub(super) position: u64,
    /// Its size.
    pub(super) bytes: u64,
}

/// The log a snapshot belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    /// Its generation, and the snapshot's.
    pub(super) generation: u64,
    /// The number of its first change. Everything before that is in the state already.
    pub(super) first: u64,
}

/// Writes the snapshot that belongs to `log`; `None` if it is not wanted any more. The unfinished
/// file of a failed one is removed.
pub(super) fn write(
    shared: &Shared,
    folder: &Folder,
    disk: &Disk,
    log: Log,
    limits: Limits,
) -> io::Result<Option<Written>> {
    let written = write_steps(shared, folder, disk, log, limits);
    if !matches!(written, Ok(Some(_))) {
        remove_unfinished(folder, log.generation);
    }
    written
}

/// Removes a snapshot that will never get its name.
pub(super) fn remove_unfinished(folder: &Folder, generation: u64) {
    if let Err(error) = folder.disk().remove(&folder.unfinished_path(Kind::Snapshot, generation)) {
        tracing::debug!("an unfinished snapshot of the store stays until the next start: {error}");
    }
}

/// Tells the writer how its snapshot ended, however its thread does.
#[derive(Debug)]
pub(super) struct EndOfSnapshot {
    shared: Arc<Shared>,
    ended: Option<io::Result<Option<Written>>>,
}

impl EndOfSnapshot {
    /// It has not ended yet.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, ended: None }
    }

    /// It ended so.
    pub(super) fn tell(mut self, ended: io::Result<Option<Written>>) {
        self.ended = Some(ended);
    }
}

impl Drop for EndOfSnapshot {
    fn drop(&mut self) {
        let panicked = || Err(io::Error::other("its thread panicked"));
        // Once: whoever takes it finds nothing more of this snapshot.
        let ended = self.ended.take().unwrap_or_else(panicked);
        let mut core = self.shared.core();
        core.snapshot = Some(ended);
        self.shared.wake_writer(core);
    }
}

fn write_steps(
    shared: &Shared,
    folder: &Folder,
    disk: &Disk,
    log: Log,
    limits: Limits,
) -> io::Result<Option<Written>> {
    let mut snapshot = SnapshotFile::create(folder, disk, log)?;
    let mut slot = 0;
    loop {
        let core = shared.core();
        if core.snapshot_unwanted || core.stopping {
            return Ok(None);
        }
        let end = core.state.slot_count();
        if slot >= end {
            let position = core.journal.next() - 1;
            snapshot.put_rest(&core.state, position);
            drop(core);
            return snapshot.finish(position).map(Some);
        }
        let step_end = end.min(slot + limits.snapshot_step_slots);
        snapshot.put_entries(&core.state, slot..step_end);
        drop(core);
        slot = step_end;
        snapshot.write_group()?;
    }
}

/// Writes the snapshot of an empty state.
pub(super) fn write_empty(folder: &Folder, disk: &Disk, log: Log) -> io::Result<Written> {
    let mut snapshot = SnapshotFile::create(folder, disk, log)?;
    snapshot.put_rest(&State::default(), 0);
    snapshot.finish(0)
}

struct SnapshotFile<'a> {
    file: File,
    disk: &'a Disk,
    header: FileHeader,
    group: Group,
    length: u64,
    synced: u64,
}

impl<'a> SnapshotFile<'a> {
    fn create(folder: &Folder, disk: &'a Disk, log: Log) -> io::Result<Self> {
        let file = disk.create(&folder.unfinished_path(Kind::Snapshot, log.generation))?;
        let (header, bytes) = FileHeader::create(Kind::Snapshot, log.generation, log.first);
        disk.write(&file, &bytes, 0)?;
        crash::point(Point::SnapshotBegun);
        let length = bytes.len() as u64;
        Ok(Self { file, disk, header, group: Group::new(0), length, synced: 0 })
    }

    fn put_entries(&mut self, state: &State, slots: std::ops::Range<usize>) {
        for entry in slots.filter_map(|slot| state.entry_at(slot)) {
            record::put_entry(self.group.records(), entry);
        }
    }

    fn put_rest(&mut self, state: &State, position: u64) {
        let records = self.group.records();
        record::put_night(records, &state.night());
        for night in state.past_nights() {
            record::put_past_night(records, night);
        }
        for batch in state.outstanding_batches() {
            record::put_batch(records, batch);
        }
        record::put_end(records, End { position });
    }

    fn write_group(&mut self) -> io::Result<()> {
        self.group.count_change();
        self.disk.write(&self.file, self.group.seal(self.length, self.header.seed), self.length)?;
        crash::point(Point::SnapshotPartWritten);
        self.length += self.group.len();
        self.group.reset(self.group.next(), BUFFER_BYTES_MAX);
        if self.length - self.synced >= SYNC_BYTES {
            self.disk.sync(&self.file)?;
            self.synced = self.length;
        }
        Ok(())
    }

    fn finish(mut self, position: u64) -> io::Result<Written> {
        self.write_group()?;
        self.disk.sync(&self.file)?;
        crash::point(Point::SnapshotSynced);
        Ok(Written { generation: self.header.generation, position, bytes: self.length })
    }
}
