//! The program: everything is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    stated::cli::Cli::parse().run()
}
