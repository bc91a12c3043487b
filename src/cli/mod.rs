//! The command line.

mod api;
mod asking;
mod bench;
mod child;
mod completions;
pub mod demo;
mod help;
mod man;
mod night;
mod output;
mod screen;
mod send;
mod serve;
mod signals;
mod status;
mod tls;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::build;
use crate::config::{self, Checked};
use crate::connection::frame::Framing;

/// State-management daemon for fleets of real-time services: who is where, and for how long
///
/// Chat, signaling, auth and room servers ask it over TCP. It keeps each user's room, session and
/// study time of the day, in an embedded store or in Redis, and closes the day every night: all study
/// times go to the auth service, and not one is lost.
#[derive(Debug, Parser)]
#[command(
    name = "stated",
    version = build::VERSION,
    long_version = build::DESCRIPTION,
    propagate_version = true,
    after_long_help = help::after("stated")
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    ///
    /// It says on standard error what it does, and runs in the foreground until it is told to stop.
    #[command(after_long_help = help::after("stated-serve"))]
    Serve(ServeArgs),
    /// Say every mistake in a configuration file at once
    ///
    /// Each with its line and column, what was found and what is allowed. Looks at the file alone,
    /// not at variables, so that it says the same on every machine.
    #[command(after_long_help = help::after("stated-check-config"))]
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Send messages to a daemon and print the replies
    ///
    /// One connection, one reply for each message, in order. Characters that the wire carries as
    /// \uXXXX are shown as themselves.
    #[command(after_long_help = help::after("stated-send"))]
    Send(SendArgs),
    /// Show how a daemon is: health, load, gateways, the night
    ///
    /// Asks the daemon's admin address over HTTP. What a daemon of another version does not say is
    /// shown as -.
    #[command(after_long_help = help::after("stated-status"))]
    Status(status::StatusArgs),
    /// See what the night did and will do; close the day, deliver it again
    ///
    /// A day is closed by SCHEDULER_LAST, and its study times are delivered to auth. Here an operator
    /// sees that, and does it by hand where SCHEDULER_LAST did not come.
    #[command(subcommand_required = true, arg_required_else_help = true,
              after_long_help = help::after("stated-night"))]
    Night {
        #[command(subcommand)]
        command: night::NightCommand,
    },
    /// Play a day in the life of a fleet against a real daemon, and check it
    ///
    /// The daemon is this program, with a store in a temporary folder; its peers are played. Nothing
    /// is left behind.
    #[command(after_long_help = help::after("stated-demo"))]
    Demo,
    /// Put load on a daemon and measure what it bears
    ///
    /// Never on a daemon in use: what is sent is written.
    #[command(after_long_help = help::after("stated-bench"))]
    Bench(bench::BenchArgs),
    /// The server that does nothing but answer: what `bench` compares with
    #[command(hide = true)]
    BenchEcho(bench::EchoArgs),
    /// The gRPC server that `bench` compares with
    #[cfg(feature = "grpc-bench")]
    #[command(hide = true)]
    BenchTonic,
    /// Print the completions of these commands for a shell
    #[command(after_long_help = help::after("stated-completions"))]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual, or write all its pages
    #[command(after_long_help = help::after("stated-man"))]
    Man {
        /// Write a page for each command into this folder, which is made if it isn't there
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
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
    #[command(flatten)]
    tls: tls::TlsArgs,
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
            Command::Status(args) => status::run(&args),
            Command::Night { command } => night::run(&command),
            Command::Demo => demo::run(),
            Command::Bench(args) => bench::run(&args),
            Command::BenchEcho(args) => bench::serve_echo(&args),
            #[cfg(feature = "grpc-bench")]
            Command::BenchTonic => bench::serve_tonic(),
            Command::Completions { shell } => completions::run(shell),
            Command::Man { out } => man::run(out.as_deref()),
        }
    }
}

fn check_config(file: &std::path::Path) -> ExitCode {
    match config::check_with_certificates(file) {
        Ok(Checked { config, tls, not_looked_at }) => {
            let certificates = tls.certificates().into_iter();
            let certificates = certificates.map(|(key, one)| format!("{key} is {one}"));
            let more = config.doubts().into_iter().chain(not_looked_at).chain(certificates);
            let name = file.display();
            let more = more.map(|sentence| format!("{name}: {sentence}\n"));
            output::print(&format!("{name}: no mistakes\n{}", more.collect::<String>()))
        }
        Err(mistakes) => {
            output::complain(&mistakes);
            ExitCode::FAILURE
        }
    }
}
