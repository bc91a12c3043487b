//! `stated night`: what the night did and will do, and to close a day or deliver it by hand.

mod close;
mod plan;
mod standing;
mod wait;

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

pub(super) use self::standing::standing;
use super::api::{ApiArgs, Error};
use super::{asking, duration, output};
use crate::log::chain;

/// Where the night is told.
const NIGHT: &str = "/api/v1/night";
/// Exit status when the daemon was asked, and it was not done.
const NOT_DONE: u8 = 1;
/// Exit status when the daemon could not be asked.
const NOT_ASKED: u8 = 2;

#[derive(Debug, Subcommand)]
pub(super) enum NightCommand {
    /// Show which day runs, what is not delivered yet, and the last nights
    #[command(after_long_help = super::help::after("stated-night-status"))]
    Status(StatusArgs),
    /// Show what auth would be told if the day were closed now
    ///
    /// Nothing is changed. Study times that arrive meanwhile may be shown or not.
    #[command(after_long_help = super::help::after("stated-night-plan"))]
    Plan(PlanArgs),
    /// Close the running day now, as SCHEDULER_LAST does
    ///
    /// All study times of the day are sealed and delivered to auth, and a new day begins. That can't
    /// be undone, so on a terminal it asks first.
    #[command(after_long_help = super::help::after("stated-night-close"))]
    Close(CloseArgs),
    /// Try to deliver the closed days now, whatever pause the daemon is in
    #[command(after_long_help = super::help::after("stated-night-deliver"))]
    Deliver(DeliverArgs),
}

/// Arguments of `stated night status`.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Print the daemon's documents as one: {"night": …, "history": …}
    #[arg(long)]
    json: bool,
}

/// Arguments of `stated night plan`.
#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// So many users are shown; all are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    first: u64,
    /// Show all users
    #[arg(long, conflicts_with = "first")]
    all: bool,
    /// Print all of it as JSON: {"day": …, "entries": […]}
    #[arg(long, conflicts_with = "first")]
    json: bool,
}

/// Arguments of `stated night close`.
#[derive(Debug, clap::Args)]
pub(super) struct CloseArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Don't ask; without a terminal nothing else is possible
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Arguments of `stated night deliver`.
#[derive(Debug, clap::Args)]
pub(super) struct DeliverArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Whether a command waits for the delivery.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct WaitArgs {
    /// Wait until auth has acknowledged everything, so long at the most [without a value: 10m]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "10m",
          value_parser = duration)]
    wait: Option<Duration>,
}

pub(super) fn run(command: &NightCommand) -> ExitCode {
    let (name, done) = match command {
        NightCommand::Status(args) => ("status", asking::run(standing::show(args))),
        NightCommand::Plan(args) => ("plan", asking::run(plan::show(args))),
        NightCommand::Close(args) => ("close", asking::run(close::close(args))),
        NightCommand::Deliver(args) => ("deliver", asking::run(close::deliver(args))),
    };
    done.unwrap_or_else(|error: Error| {
        output::complain(&format_args!("stated night {name}: {}", chain(&error)));
        ExitCode::from(if error.is_refusal() { NOT_DONE } else { NOT_ASKED })
    })
}
