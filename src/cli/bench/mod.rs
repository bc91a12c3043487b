//! `stated bench`: load for a daemon, and figures that mean something on any machine.

mod child;
mod echo;
#[cfg(feature = "grpc-bench")]
mod grpc;
mod idle;
mod load;
mod messages;
mod million;
mod open;
mod peer;
mod process;
mod redis_benchmark;
mod report;
mod suite;
mod table;
mod tail;
mod tally;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::ValueEnum;

use self::child::Server;
use self::load::{Load, Pace, Speech, Target};
use self::messages::Mix;
use self::process::Process;
use self::report::Report;
use super::{duration, framing};
use crate::connection::frame::{Framing, PayloadTooLong};

/// Exit status when a request was answered with an error, or not at all.
const ERRORS: u8 = 1;
/// Exit status when nothing could be measured.
const NOT_MEASURED: u8 = 2;

/// Arguments of `stated bench`.
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// The daemon's address. What is there is written to: users named bench-…
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8099")]
    addr: String,
    /// The listener's framing: length4, length2, length1, crlf or lf
    #[arg(long, value_name = "FRAMING", default_value = "length4", value_parser = framing)]
    framing: Framing,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Requests under way on each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    in_flight: u32,
    /// Messages that are sent
    #[arg(long, value_enum, default_value_t = Mix::Mixed)]
    mix: Mix,
    /// Users that are spoken of
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=90_000_000))]
    users: u64,
    /// How long a round lasts
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    duration: Duration,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Before each round, load that is not counted
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    warm_up: Duration,
    /// How long replies are waited for after a round
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    reply_max: Duration,
    /// Send this many requests a second, whatever becomes of them, and count latency from when
    /// each was due; without it, the next request waits for a reply
    #[arg(long, value_name = "N", conflicts_with = "in_flight", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// Threads that make the load [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: Option<u32>,
    /// Process whose time and memory are told [default: whoever listens, if it can be seen]
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Compare, round by round, with a server that does nothing
    #[arg(long, value_enum, value_name = "SERVER")]
    reference: Option<Reference>,
    /// Start everything that is needed, measure what the project promises, and print its table
    #[arg(long, conflicts_with_all = [
        "addr", "framing", "connections", "in_flight", "mix", "users", "duration", "rounds",
        "warm_up", "reply_max", "rate", "threads", "pid", "reference",
    ])]
    suite: bool,
    /// With --suite: three short rounds of each, to see that it works
    #[arg(long, requires = "suite")]
    quick: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of the echo server.
#[derive(Debug, clap::Args)]
pub(super) struct EchoArgs {
    #[arg(long, value_parser = framing)]
    framing: Framing,
}

/// What a daemon is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reference {
    /// A bare tokio server with the same framing that sends every frame back
    Echo,
    /// A unary tonic server that does the same work on the memory store
    #[cfg(feature = "grpc-bench")]
    Tonic,
}

impl Reference {
    /// Starts it; what to put on it is `load`, in its own speech.
    fn start(self, load: &Load) -> Result<(Server, Report), Error> {
        let (name, server, speech) = match self {
            Self::Echo => ("echo", Server::echo(load.framing)?, Speech::Frames),
            #[cfg(feature = "grpc-bench")]
            Self::Tonic if matches!(load.pace, Pace::Open { .. }) => {
                return Err(Error::Server("tonic can't be called at a given rate".to_owned()));
            }
            #[cfg(feature = "grpc-bench")]
            Self::Tonic => ("tonic", Server::tonic()?, Speech::Grpc),
        };
        let report = Report::new(name, server.target(), Load { speech, ..load.clone() });
        Ok((server, report))
    }
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{address} is no address: {source}")]
    Address { address: String, source: io::Error },
    #[error("can't connect to {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("a message does not fit the framing: {0}")]
    TooLong(#[from] PayloadTooLong),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("{0}")]
    Server(String),
    #[error("no runtime could be started")]
    Runtime,
    #[error("a thread of the load panicked")]
    Panic,
}

impl Error {
    fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// Whether all requests were answered as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Clean,
    Errors,
}

#[expect(clippy::print_stderr, reason = "a command's own output")]
pub(super) fn run(args: &BenchArgs) -> ExitCode {
    let outcome = if args.suite { suite::run(args.quick, args.json) } else { measure(args) };
    match outcome {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(Outcome::Errors) => ExitCode::from(ERRORS),
        Err(error) => {
            eprintln!("stated bench: {error}");
            ExitCode::from(NOT_MEASURED)
        }
    }
}

pub(super) fn serve_echo(args: &EchoArgs) -> ExitCode {
    ended("bench-echo", echo::serve(args.framing, tell_address))
}

#[cfg(feature = "grpc-bench")]
pub(super) fn serve_tonic() -> ExitCode {
    ended("bench-tonic", grpc::serve(tell_address))
}

/// In the words in which the daemon's log tells the same.
#[expect(clippy::print_stderr, reason = "a command's own output")]
fn tell_address(address: SocketAddr) {
    eprintln!(r#"{{"message":"listening","address":"{address}"}}"#);
}

#[expect(clippy::print_stderr, reason = "a command's own output")]
fn ended(command: &str, served: io::Result<()>) -> ExitCode {
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stated {command}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Rounds against one daemon; with a reference, a round of each in turn, so that what drifts on the
/// machine drifts for both.
#[expect(clippy::print_stdout, reason = "a command's own output")]
fn measure(args: &BenchArgs) -> Result<Outcome, Error> {
    let target = target(args)?;
    let load = load(args);
    let reference = args.reference.map(|reference| reference.start(&load)).transpose()?;
    // The server is dropped, and with it ended, when all is measured.
    let (_server, mut reference) = reference.unzip();
    let mut daemon = Report::new("daemon", target, load);
    for _ in 0..args.rounds {
        if let Some(reference) = &mut reference {
            reference.measure_round()?;
        }
        daemon.measure_round()?;
    }
    if args.json {
        println!("{}", report::json(&daemon, reference.as_ref()));
    } else {
        print!("{}", report::text(&daemon, reference.as_ref()));
    }
    let clean = daemon.is_clean() && reference.is_none_or(|reference| reference.is_clean());
    Ok(if clean { Outcome::Clean } else { Outcome::Errors })
}

fn target(args: &BenchArgs) -> Result<Target, Error> {
    let failed = |source| Error::Address { address: args.addr.clone(), source };
    let address = args.addr.to_socket_addrs().map_err(failed)?.next();
    let address = address.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let process = args.pid.map(Process).or_else(|| Process::listening_at(address));
    Ok(Target { address, process })
}

fn load(args: &BenchArgs) -> Load {
    Load {
        speech: Speech::Frames,
        framing: args.framing,
        mix: args.mix,
        users: args.users,
        connections: args.connections as usize,
        pace: match args.rate {
            Some(rate) => Pace::Open { rate: rate.into() },
            None => Pace::Closed { in_flight: args.in_flight as usize },
        },
        warm_up: args.warm_up,
        duration: args.duration,
        reply_max: args.reply_max,
        threads: args.threads.map_or_else(threads, |threads| threads as usize),
    }
}

/// One for each processor.
fn threads() -> usize {
    available_parallelism().map_or(1, usize::from)
}
