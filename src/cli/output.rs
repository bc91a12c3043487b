//! What a command says: its result on standard output, its troubles on standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Prints the whole of a result.
pub(super) fn print(text: &str) -> ExitCode {
    match write(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// The exit status of a command that can't write what it found. A reader that has seen enough and gone
/// away is no trouble; anything else is told.
pub(super) fn failed(error: &io::Error) -> ExitCode {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ExitCode::SUCCESS;
    }
    complain(&format_args!("stated: standard output: {error}"));
    ExitCode::FAILURE
}

/// Writes to standard output, wholly.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Tells a trouble, on a line of its own.
pub(super) fn complain(trouble: &dyn Display) {
    // Where even this can't be told, the exit status still is.
    drop(writeln!(io::stderr().lock(), "{trouble}"));
}
