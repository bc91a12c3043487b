//! `stated status`: how a daemon is, on one screen, once or over and over.

mod page;
mod rates;

use std::io::{self, IsTerminal, stdout};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use self::rates::{Counters, Rates};
use super::api::{Answer, ApiArgs, Daemon, Error, Part};
use super::screen::Paint;
use super::{asking, output};
use crate::log::chain;

/// Where the document is.
const PATH: &str = "/api/v1/status";
/// Exit status of a daemon that serves, while a service it calls is away.
const DEGRADED: u8 = 1;
/// Exit status when the daemon could not be asked.
const NOT_ASKED: u8 = 2;
/// Exit status of a daemon that does not serve.
const UNREADY: u8 = 3;
/// Cursor to the top left of a terminal.
const HOME: &str = "\x1b[H";
/// Forget the rest of a line, and the rest of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Arguments of `stated status`.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Print the daemon's document as it is
    #[arg(long)]
    json: bool,
    /// Look again and again, with the rates between two looks, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

pub(super) fn run(args: &StatusArgs) -> ExitCode {
    let looked = asking::run(async {
        let daemon = Daemon::of(&args.api)?;
        match args.watch {
            None => Ok(look_once(args, &daemon.get(PATH).await?)),
            Some(seconds) => watch(args, &daemon, Duration::from_secs(seconds)).await,
        }
    });
    looked.unwrap_or_else(|error: Error| {
        output::complain(&format_args!("stated status: {}", chain(&error)));
        ExitCode::from(NOT_ASKED)
    })
}

fn look_once(args: &StatusArgs, answer: &Answer) -> ExitCode {
    let shown = show(args, answer, None);
    match output::write(&shown) {
        Ok(()) => exit_status(answer.part()),
        Err(error) => output::failed(&error),
    }
}

fn show(args: &StatusArgs, answer: &Answer, rates: Option<Rates>) -> String {
    if args.json {
        format!("{}\n", answer.text())
    } else {
        page::render(answer.part(), rates, Paint::for_output())
    }
}

/// What is said of readiness, as an exit status; what isn't understood is no good news.
fn exit_status(status: Part<'_>) -> ExitCode {
    match status.get("readiness").get("status").text().as_deref() {
        Some("ready") => ExitCode::SUCCESS,
        Some("degraded") => ExitCode::from(DEGRADED),
        Some(_) | None => ExitCode::from(UNREADY),
    }
}

/// Looks until a signal ends it. A daemon that can't be asked may come back, so that is shown, and
/// the next look comes all the same. The exit status is that of the last look.
async fn watch(args: &StatusArgs, daemon: &Daemon, every: Duration) -> Result<ExitCode, Error> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut before: Option<Counters> = None;
    let mut last = ExitCode::from(NOT_ASKED);
    loop {
        let next = Instant::now() + every;
        let looked = tokio::select! {
            looked = daemon.get(PATH) => looked,
            _ = interrupt.recv() => return Ok(last),
            _ = terminate.recv() => return Ok(last),
        };
        let shown = match &looked {
            Ok(answer) => {
                let now = Counters::of(answer.part());
                let rates = before.as_ref().and_then(|before| Rates::between(before, &now));
                before = Some(now);
                last = exit_status(answer.part());
                show(args, answer, rates)
            }
            Err(error) => {
                before = None;
                last = ExitCode::from(NOT_ASKED);
                let trouble = format!("stated status: {}", chain(error));
                if args.json {
                    // Whoever reads documents reads nothing else.
                    output::complain(&trouble);
                    String::new()
                } else {
                    format!("{trouble}\n")
                }
            }
        };
        if let Err(error) = redraw(args, &shown) {
            return Ok(output::failed(&error));
        }
        tokio::select! {
            () = sleep_until(next) => {}
            _ = interrupt.recv() => return Ok(last),
            _ = terminate.recv() => return Ok(last),
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(Error::Runtime)
}

/// Over the last look on a terminal, below it elsewhere.
fn redraw(args: &StatusArgs, shown: &str) -> io::Result<()> {
    if args.json {
        return output::write(shown);
    }
    if !stdout().is_terminal() {
        return output::write(&format!("{shown}\n"));
    }
    let lines: String = shown.lines().map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
    output::write(&format!("{HOME}{lines}{CLEAR_BELOW}"))
}
