//! The log that is being written: groups at its end, each synced before the next.
//!
//! Behind its end lies room that is filled with zeros ahead of time. A sync that makes a file longer
//! has to write down its new length too, in the file system's own journal, and takes half as long
//! again; so most groups overwrite, and one in a great many makes new room.

use std::fs::File;
use std::io;

use super::acknowledged::Acknowledged;
use super::disk::Disk;
use super::folder::Folder;
use super::group::{FILE_HEADER_BYTES, FORMAT, FileHeader, Group};
use crate::crash::{self, Point};

/// What room is made of, at most so much in one call.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// An open log. All of its `length` is synced; from there up to `room` there are zeros, and up to
/// `extent` there may be anything that a failed write left.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    header: FileHeader,
    length: u64,
    room: u64,
    extent: u64,
    /// Up to there no room is made, as there was no space for it.
    no_room_before: u64,
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
        Ok(Self::opened(file, header, FILE_HEADER_BYTES as u64, first))
    }

    /// A log that was read to its end, and synced.
    pub(super) fn opened(file: File, header: FileHeader, length: u64, next: u64) -> Self {
        Self { file, header, length, room: length, extent: length, no_room_before: 0, next }
    }

    /// Writes the group and syncs it, with room for `ahead` bytes more if it needs any itself. After
    /// trouble the log ends where it did before.
    pub(super) fn append(
        &mut self,
        disk: &Disk,
        group: &mut Group,
        ahead: u64,
    ) -> Result<(), Trouble> {
        debug_assert_eq!(group.first(), self.next, "no change is left out");
        let end = self.length + group.len();
        if end > self.room
            && end >= self.no_room_before
            && let Err(error) = self.make_room(disk, end + ahead)
        {
            // There may be enough for what has to be written now.
            tracing::debug!("no room could be made in the store's log ahead of time: {error}");
            self.no_room_before = end + ahead;
            self.give_back_room(disk);
        }
        let bytes = group.seal(self.length, self.header.seed);
        self.extent = self.extent.max(end);
        if let Err(error) = disk.write(&self.file, bytes, self.length) {
            self.give_back_room(disk);
            return Err(Trouble::Write(error));
        }
        self.room = self.room.max(end);
        crash::point(Point::GroupWritten);
        disk.sync(&self.file).map_err(Trouble::Sync)?;
        crash::point(Point::GroupSynced);
        self.length += group.len();
        self.next = group.next();
        Ok(())
    }

    fn make_room(&mut self, disk: &Disk, end: u64) -> io::Result<()> {
        let mut at = self.room;
        self.extent = self.extent.max(end);
        while at < end {
            let part = (end - at).min(ZEROS.len() as u64);
            disk.write(&self.file, &ZEROS[..part as usize], at)?;
            at += part;
        }
        self.room = end;
        crash::point(Point::LogRoomMade);
        Ok(())
    }

    /// Gives back what lies behind the end. If that fails, what stays there is overwritten later.
    fn give_back_room(&mut self, disk: &Disk) {
        self.room = self.length;
        match disk.cut(&self.file, self.length) {
            Ok(()) => self.extent = self.length,
            Err(error) => {
                tracing::debug!("something stays behind the end of the store's log: {error}");
            }
        }
    }

    /// Lets the file end where the log does, durably, as nothing more is written to it.
    pub(super) fn finish(&mut self, disk: &Disk) -> io::Result<()> {
        if self.extent > self.length {
            disk.cut(&self.file, self.length)?;
            self.room = self.length;
            disk.sync(&self.file)?;
            self.extent = self.length;
            crash::point(Point::LogFinished);
        }
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
