//! How much of the newest log is known to be synced, and so may have been acknowledged.
//!
//! The record of it is overwritten after each sync and not synced itself: a process that is killed
//! leaves the latest one, a power cut perhaps an older one. It never says more than is true. It is
//! what tells a torn end from damage where nothing else does: in the last group of the log.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::disk::Disk;
use super::error::OpenError;
use super::folder::Folder;
use super::group::{checksum, u32_at, u64_at};
use crate::crash::{self, Point};

/// Bytes of the file.
pub(super) const ACKNOWLEDGED_BYTES: usize = 20;

/// A length that is known to be synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// Which log.
    pub(super) generation: u64,
    /// Bytes of it.
    pub(super) length: u64,
}

/// The open file of what is acknowledged.
#[derive(Debug)]
pub(super) struct AcknowledgedFile {
    file: File,
    disk: Arc<Disk>,
}

impl AcknowledgedFile {
    /// Makes the file, durably but for its name.
    pub(super) fn create(folder: &Folder, acknowledged: Acknowledged) -> io::Result<Self> {
        let disk = Arc::clone(folder.disk());
        let created = Self { file: disk.create(&folder.acknowledged_path())?, disk };
        created.write(acknowledged)?;
        created.sync()?;
        crash::point(Point::AcknowledgedMade);
        Ok(created)
    }

    /// Opens the file and reads what is in it.
    pub(super) fn open(folder: &Folder) -> Result<(Self, Acknowledged), OpenError> {
        let path = folder.acknowledged_path();
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = match file {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(OpenError::damaged(&path, 0, "the file is missing"));
            }
            other => other.map_err(OpenError::io("open", &path))?,
        };
        let mut bytes = [0; ACKNOWLEDGED_BYTES];
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(OpenError::damaged(&path, 0, "the file is too short"));
            }
            other => other.map_err(OpenError::io("read", &path))?,
        }
        if checksum(0, &bytes[..16]) != u32_at(&bytes, 16) {
            return Err(OpenError::damaged(&path, 0, "the file's checksum is wrong"));
        }
        let acknowledged =
            Acknowledged { generation: u64_at(&bytes, 0), length: u64_at(&bytes, 8) };
        Ok((Self { file, disk: Arc::clone(folder.disk()) }, acknowledged))
    }

    /// Overwrites it: one call of less than a sector, so that no reader ever finds half of it.
    pub(super) fn write(&self, acknowledged: Acknowledged) -> io::Result<()> {
        let mut bytes = [0; ACKNOWLEDGED_BYTES];
        bytes[0..8].copy_from_slice(&acknowledged.generation.to_le_bytes());
        bytes[8..16].copy_from_slice(&acknowledged.length.to_le_bytes());
        let sum = checksum(0, &bytes[..16]);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        self.disk.note(&self.file, &bytes)
    }

    /// Makes it survive a power cut too, at the few moments when that is worth a sync.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.file)
    }
}
