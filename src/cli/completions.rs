//! `stated completions`: what a shell needs to complete these commands.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, output};

pub(super) fn run(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stated", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
