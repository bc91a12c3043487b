//! Why a folder is not opened.

use std::io;
use std::path::{Path, PathBuf};

/// Why a folder is not opened. Whatever the reason, nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the folder {} is in use by {}", dir.display(), holder(*pid))]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// The process that has it, if it said so.
        pid: Option<u32>,
    },
    /// It holds something else.
    #[error("the folder {} is not a stated folder: {found}", dir.display())]
    NotOurs {
        /// The folder.
        dir: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// A later version of this program wrote it.
    #[error("the folder {} was written in format {format} by a newer stated, this one knows up to \
             format {known}: start the newer one, or put back a copy of the folder from before it",
             dir.display())]
    NewerFormat {
        /// The folder.
        dir: PathBuf,
        /// The format found.
        format: u32,
        /// The newest format that is understood.
        known: u32,
    },
    /// Something that was written, and that somebody may rely on, is not there any more.
    #[error("the file {} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was found there.
        what: String,
    },
    /// The system refused something.
    #[error("can't {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// Makes the error of a failed call.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    pub(super) fn damaged(file: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), offset, what: what.into() }
    }
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
