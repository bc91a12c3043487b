//! The two calls whose failure the store must survive, in a place where a test can let them fail.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

type WriteCall = dyn Fn(&File, &[u8], u64) -> io::Result<()> + Send + Sync;
type SyncCall = dyn Fn(&File) -> io::Result<()> + Send + Sync;

/// How logs and snapshots are written and synced.
pub(super) struct Disk {
    write: Box<WriteCall>,
    sync: Box<SyncCall>,
}

impl Disk {
    /// What the system does.
    pub(super) fn new() -> Self {
        Self::with(|file, bytes, at| file.write_all_at(bytes, at), File::sync_data)
    }

    /// What the caller says.
    pub(super) fn with(
        write: impl Fn(&File, &[u8], u64) -> io::Result<()> + Send + Sync + 'static,
        sync: impl Fn(&File) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { write: Box::new(write), sync: Box::new(sync) }
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
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}
