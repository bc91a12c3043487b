//! What a command says: its result on standard output, its troubles on standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Prints the whole of a result. A reader that has seen enough and gone away is no trouble; any other
/// failure is told and is the exit status.
pub(super) fn print(text: &str) -> ExitCode {
    match write(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format_args!("stated: standard output: {error}"));
            ExitCode::FAILURE
        }
    }
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
