//! The calls whose failure the store must survive, in a place where a test can let them fail.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

type WriteCall = dyn Fn(&File, &[u8], u64) -> io::Result<()> + Send + Sync;
type SyncCall = dyn Fn(&File) -> io::Result<()> + Send + Sync;
type AnyCall = dyn Fn(Call, &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> + Send + Sync;

/// A call that is neither a write nor a sync of a log or a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Makes a file, or empties it.
    Create,
    /// Opens a file to read it.
    Read,
    /// Overwrites the note of what is acknowledged.
    Note,
    /// Cuts off the end of a file.
    Cut,
    /// Gives a file its name.
    Rename,
    /// Removes a file.
    Remove,
    /// Makes names durable.
    SyncFolder,
}

/// How the store's files are written, synced, named and removed.
pub(super) struct Disk {
    write: Box<WriteCall>,
    sync: Box<SyncCall>,
    other: Box<AnyCall>,
}

impl Disk {
    /// What the system does.
    pub(super) fn new() -> Self {
        Self::with(|file, bytes, at| file.write_all_at(bytes, at), File::sync_data)
    }

    /// Writes and syncs as the caller says.
    pub(super) fn with(
        write: impl Fn(&File, &[u8], u64) -> io::Result<()> + Send + Sync + 'static,
        sync: impl Fn(&File) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { write: Box::new(write), sync: Box::new(sync), other: Box::new(|_, call| call()) }
    }

    /// Makes every other call as the caller says, who is given what the system would do.
    #[cfg(test)]
    pub(super) fn and(
        mut self,
        other: impl Fn(Call, &mut dyn FnMut() -> io::Result<()>) -> io::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.other = Box::new(other);
        self
    }

    /// Writes all of `bytes` at `at`. After an error any part of them may be there.
    pub(super) fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        (self.write)(file, bytes, at)
    }

    /// Makes what was written durable. After an error nothing is known of what was written since
    /// the last success, whatever a later call says.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        (self.sync)(file)
    }

    /// Makes the file, or empties it if it is there.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        self.opened(Call::Create, || options.open(path))
    }

    /// Opens the file to read it.
    pub(super) fn read(&self, path: &Path) -> io::Result<File> {
        self.opened(Call::Read, || File::open(path))
    }

    /// Overwrites a note that is shorter than a sector.
    pub(super) fn note(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        (self.other)(Call::Note, &mut || file.write_all_at(bytes, 0))
    }

    /// Cuts the file off at `length`.
    pub(super) fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        (self.other)(Call::Cut, &mut || file.set_len(length))
    }

    /// Gives the file another name, in the place of what had it.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.other)(Call::Rename, &mut || fs::rename(from, to))
    }

    /// Removes the file.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        (self.other)(Call::Remove, &mut || fs::remove_file(path))
    }

    /// Makes the folder's names durable.
    pub(super) fn sync_folder(&self, folder: &File) -> io::Result<()> {
        (self.other)(Call::SyncFolder, &mut || folder.sync_all())
    }

    fn opened(&self, call: Call, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
        let mut file = None;
        (self.other)(call, &mut || {
            file = Some(open()?);
            Ok(())
        })?;
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}
