//! `stated demo`: a day in the life of a fleet, against the real daemon, with no peer installed.

mod daemon;
mod peers;
mod story;

use std::io;
use std::process::ExitCode;

/// Why the demo is not what it should be.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("{who} expected\n      {expected}\n  but got\n      {found}")]
    Unexpected { who: &'static str, expected: String, found: String },
    #[error("{0}")]
    Daemon(String),
}

impl Error {
    fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command's own output")]
pub(super) fn run() -> ExitCode {
    match story::tell() {
        Ok(()) => {
            println!("\nEverything was as it should be.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nThe demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}
