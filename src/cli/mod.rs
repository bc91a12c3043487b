//! The command line.

mod bench;
mod child;
pub mod demo;
mod send;
mod serve;
mod signals;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::build;
use crate::config;
use crate::connection::frame::Framing;

/// State-management daemon for fleets of real-time services: who is where, and for how long.
#[derive(Debug, Parser)]
#[command(
    name = "stated",
    version = build::VERSION,
    long_version = build::DESCRIPTION,
    propagate_version = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve(ServeArgs),
    /// Say every mistake in a configuration file at once
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Send messages to a daemon and print the replies
    Send(SendArgs),
    /// Play a day in the life of a fleet against a real daemon, and check it
    Demo,
    /// Put load on a daemon and measure what it bears
    Bench(bench::BenchArgs),
    /// The server that does nothing but answer: what `bench` compares with
    #[command(hide = true)]
    BenchEcho(bench::EchoArgs),
}

/// Arguments of `stated serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Configuration file; without one every key has its default
    #[arg(long, value_name = "FILE", env = "STATED_CONFIG")]
    config: Option<PathBuf>,
    /// Listen here, in place of the configured listeners
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Keep the state here: memory: | embedded:DIR | redis://… | redis+cluster://… |
    /// redis+sentinel://…
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

/// Arguments of `stated send`.
#[derive(Debug, clap::Args)]
pub struct SendArgs {
    /// The daemon's address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8099")]
    addr: String,
    /// The listener's framing: length4, length2, length1, crlf or lf
    #[arg(long, value_name = "FRAMING", default_value = "length4", value_parser = framing)]
    framing: Framing,
    /// Print replies as they came, one a line
    #[arg(long)]
    raw: bool,
    /// How long to wait for a connection and for each reply
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// Messages; - reads them from standard input, one a line
    #[arg(value_name = "JSON", required = true)]
    messages: Vec<String>,
}

fn framing(name: &str) -> Result<Framing, String> {
    Framing::from_name(name).ok_or_else(|| "length4, length2, length1, crlf or lf".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from(signed).map_err(|error| format!("{error}"))
}

impl Cli {
    /// Does what was asked; the exit status says how it went.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(args) => serve::run(args),
            Command::CheckConfig { file } => check_config(&file),
            Command::Send(args) => send::run(&args),
            Command::Demo => demo::run(),
            Command::Bench(args) => bench::run(&args),
            Command::BenchEcho(args) => bench::serve_echo(&args),
        }
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command's own output")]
fn check_config(file: &std::path::Path) -> ExitCode {
    match config::check(file) {
        Ok(config) => {
            println!("{}: no mistakes", file.display());
            for doubt in config.doubts() {
                println!("{}: {doubt}", file.display());
            }
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::FAILURE
        }
    }
}
