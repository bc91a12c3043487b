//! The log that is being written: groups at its end, each synced before the next.

use std::fs::File;
use std::io;

use super::acknowledged::Acknowledged;
use super::disk::Disk;
use super::folder::Folder;
use super::group::{FILE_HEADER_BYTES, FORMAT, FileHeader, Group};
use crate::crash::{self, Point};

/// An open log. All of its `length` is synced.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    header: FileHeader,
    length: u64,
    next: u64,
}

/// Why a group is not durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It could not be written; what was durable before still is.
    #[error("the log can't be written: {0}")]
    Write(io::Error),
    /// It was written and not synced. Nothing can be told of it any more: the system may have
    /// dropped it from memory and yet report success when asked again.
    #[error("the log can't be synced: {0}")]
    Sync(io::Error),
}

impl LogFile {
    /// Makes an empty log, durably.
    pub(super) fn create(folder: &Folder, generation: u64, first: u64) -> io::Result<Self> {
        let (file, header) = folder.create_log(generation, first)?;
        Ok(Self { file, header, length: FILE_HEADER_BYTES as u64, next: first })
    }

    /// A log that was read to its end, and synced.
    pub(super) fn opened(file: File, header: FileHeader, length: u64, next: u64) -> Self {
        Self { file, header, length, next }
    }

    /// Writes the group and syncs it. After trouble the log ends where it did before.
    pub(super) fn append(&mut self, disk: &Disk, group: &mut Group) -> Result<(), Trouble> {
        debug_assert_eq!(group.first(), self.next, "no change is left out");
        let bytes = group.seal(self.length, self.header.seed);
        if let Err(error) = disk.write(&self.file, bytes, self.length) {
            // Gives back the space; the next try overwrites what this may leave behind.
            if let Err(error) = disk.cut(&self.file, self.length) {
                tracing::debug!(
                    "a part of a group stays behind the end of the store's log: {error}"
                );
            }
            return Err(Trouble::Write(error));
        }
        crash::point(Point::GroupWritten);
        disk.sync(&self.file).map_err(Trouble::Sync)?;
        crash::point(Point::GroupSynced);
        self.length += group.len();
        self.next = group.next();
        Ok(())
    }

    /// Its generation.
    pub(super) fn generation(&self) -> u64 {
        self.header.generation
    }

    /// Whether it was begun in an older format.
    pub(super) fn is_of_older_format(&self) -> bool {
        self.header.format < FORMAT
    }

    /// The number of its first change.
    pub(super) fn first(&self) -> u64 {
        self.header.first
    }

    /// The number of the next change.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Bytes of it, all synced.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// What may be acknowledged of it.
    pub(super) fn acknowledged(&self) -> Acknowledged {
        Acknowledged { generation: self.header.generation, length: self.length }
    }
}
