//! `stated night close` and `stated night deliver`: what an operator does by hand.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use super::wait::{self, Delivery};
use super::{CloseArgs, DeliverArgs, NIGHT, NOT_ASKED, NOT_DONE, WaitArgs};
use crate::cli::api::{Daemon, Error};
use crate::cli::output;
use crate::cli::screen::count;

pub(super) async fn close(args: &CloseArgs) -> Result<ExitCode, Error> {
    let daemon = Daemon::of(&args.api)?;
    if !args.yes
        && let Some(status) = ask_first(&daemon).await?
    {
        return Ok(status);
    }
    let closed = daemon.post("/api/v1/night/close").await?;
    let day = closed.part().get("day").number();
    if let Err(error) = output::write(&format!("day {} is closed\n", count(day))) {
        return Ok(output::failed(&error));
    }
    delivered(&daemon, args.wait).await
}

/// The exit status if the day is not to be closed.
async fn ask_first(daemon: &Daemon) -> Result<Option<ExitCode>, Error> {
    if !io::stdin().is_terminal() {
        output::complain(&"stated night close: nobody is there to be asked; say --yes");
        return Ok(Some(ExitCode::from(NOT_ASKED)));
    }
    let day = running_day(daemon).await?;
    let reason = match is_agreed(&format!("Close day {day} now? It can't be undone. [y/N] ")) {
        Err(error) => error.to_string(),
        Ok(false) => "nothing was done".to_owned(),
        // Somebody else may have closed it, and the next day was not asked about.
        Ok(true) if running_day(daemon).await? != day => {
            format!("day {day} was closed meanwhile; nothing was done")
        }
        Ok(true) => return Ok(None),
    };
    output::complain(&format_args!("stated night close: {reason}"));
    Ok(Some(ExitCode::from(NOT_DONE)))
}

async fn running_day(daemon: &Daemon) -> Result<String, Error> {
    let night = daemon.get(NIGHT).await?;
    Ok(count(night.part().get("day").number()))
}

pub(super) async fn deliver(args: &DeliverArgs) -> Result<ExitCode, Error> {
    let daemon = Daemon::of(&args.api)?;
    daemon.post("/api/v1/night/deliver").await?;
    if let Err(error) = output::write("the daemon tries to deliver\n") {
        return Ok(output::failed(&error));
    }
    delivered(&daemon, args.wait).await
}

/// On a terminal only; the end of the input is a no.
fn is_agreed(question: &str) -> io::Result<bool> {
    let mut out = io::stderr().lock();
    write!(out, "{question}")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

async fn delivered(daemon: &Daemon, args: WaitArgs) -> Result<ExitCode, Error> {
    let Some(within) = args.wait else { return Ok(ExitCode::SUCCESS) };
    match wait::until_delivered(daemon, within).await? {
        Delivery::Complete => Ok(output::print("everything is delivered\n")),
        Delivery::Owed(days) => {
            let days: Vec<_> = days.iter().map(|day| count(Some(*day))).collect();
            output::complain(&format_args!(
                "not delivered in time: day {}; the daemon goes on trying",
                days.join(", ")
            ));
            Ok(ExitCode::from(NOT_DONE))
        }
    }
}
