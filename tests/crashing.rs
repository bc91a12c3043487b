//! The program, built to die at named points: what `src/main.rs` is, for the tests alone.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    stated::cli::Cli::parse().run()
}
