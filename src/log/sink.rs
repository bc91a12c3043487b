//! Where lines go in the end: standard error, or the journal.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use super::journald::Journal;

/// Between two tries of a standard error that takes nothing and yet does not make one wait.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Writes lines, each with its line feed.
#[derive(Debug)]
pub(super) enum Sink {
    /// Standard error, as the lines are.
    Stderr,
    /// The journal; standard error for as long as it can't be reached.
    Journal {
        journal: Journal,
        /// Whether it took the line before.
        is_there: bool,
    },
}

impl Sink {
    /// The journal.
    pub(super) fn journal(journal: Journal) -> Self {
        Self::Journal { journal, is_there: true }
    }

    /// Writes one line and waits as long as that takes. An error means that it is lost.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => write_stderr(line),
            Self::Journal { journal, is_there } => {
                let sent = journal.send(line);
                let was_there = std::mem::replace(is_there, sent.is_ok());
                match sent {
                    Ok(()) if !was_there => tracing::info!("the journal is reachable again"),
                    Err(error) if was_there => tracing::warn!(
                        "the journal can't be reached, lines go to standard error: {error}"
                    ),
                    Ok(()) | Err(_) => {}
                }
                if *is_there { Ok(()) } else { write_stderr(line) }
            }
        }
    }
}

fn write_stderr(mut line: &[u8]) -> io::Result<()> {
    let mut stderr = io::stderr();
    while !line.is_empty() {
        match stderr.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Whoever shares the terminal or the pipe may have made it so.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::park_timeout(FULL_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether standard error leads into the journal: then `$JOURNAL_STREAM` names its device and
/// inode. A variable that was inherited by somebody with another standard error means nothing.
pub(super) fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let found = stderr.and_then(|stderr| stderr.metadata());
    found.is_ok_and(|found| stream == format!("{}:{}", found.dev(), found.ino()))
}
