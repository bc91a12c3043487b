//! `stated serve`: configure, open, serve, stop.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Runtime;

use super::ServeArgs;
use super::signals::{Signals, Wanted};
use crate::config::Sources;
use crate::config::running::{Loaded, Running};
use crate::connection::passed::Passed;
use crate::daemon::{Daemon, StartError};
use crate::descriptors;
use crate::log::{self, Filter, chain};
use crate::systemd::notify::Notifier;
use crate::systemd::report::Reporter;

/// The exit status of a daemon whose configuration is wrong, as clap has it for wrong arguments.
const WRONG_CONFIGURATION: u8 = 2;

/// How long the exit waits for system calls that block.
const BLOCKED_MAX: Duration = Duration::from_secs(1);

/// What serving begins with.
struct Start {
    running: Arc<Running>,
    filter: Filter,
    signals: Signals,
    notifier: Notifier,
    passed: Passed,
    exposure: Exposure,
}

/// Whether everybody on the machine can read a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exposure {
    None,
    /// It stands on the command line.
    CommandLine,
}

impl Exposure {
    fn of(args: &ServeArgs) -> Self {
        match args.store.as_deref() {
            Some(url) if url.contains('@') => Self::CommandLine,
            Some(_) | None => Self::None,
        }
    }
}

#[expect(clippy::print_stderr, reason = "before the log is set up")]
pub(super) fn run(args: ServeArgs) -> ExitCode {
    // First of all: a SIGHUP that nobody listens to ends the process.
    let (runtime, signals) = match runtime() {
        Ok(both) => both,
        Err(error) => {
            eprintln!("stated: the runtime can't be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exposure = Exposure::of(&args);
    let running = match Running::load(sources(args)) {
        Ok(running) => Arc::new(running),
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    let filter = match log::start(&running.current().config.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("stated: the log can't be set up: {}", chain(&error));
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    let _last_lines = log::LastLines;
    let notifier = Notifier::from_environment();
    let passed = match Passed::from_environment() {
        Ok(passed) => passed,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    let served =
        runtime.block_on(serve(Start { running, filter, signals, notifier, passed, exposure }));
    // What is still blocked now, say in a resolver, is not waited for without end.
    runtime.shutdown_timeout(BLOCKED_MAX);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        // What systemd passes comes from units: to start again would not mend them.
        Err(error @ StartError::Passed(_)) => {
            tracing::error!("{}", chain(&error));
            ExitCode::from(WRONG_CONFIGURATION)
        }
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> io::Result<(Runtime, Signals)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let signals = {
        let _within = runtime.enter();
        Signals::listen()?
    };
    Ok((runtime, signals))
}

fn sources(args: ServeArgs) -> Sources {
    Sources {
        file: args.config,
        environment: std::env::vars_os().collect(),
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        listen: args.listen,
        store: args.store,
    }
}

async fn serve(start: Start) -> Result<(), StartError> {
    let Start { running, filter, mut signals, notifier, passed, exposure } = start;
    announce(&running.current());
    if exposure == Exposure::CommandLine {
        tracing::warn!(
            "the store's password stands on the command line, where everybody on this machine can \
             read it; a credential, a variable or the file keeps it"
        );
    }
    let started = Daemon::start(Arc::clone(&running), filter.clone(), passed).await;
    let daemon = started.inspect_err(|error| {
        notifier.send(&[NotifyState::Status(&chain(error).to_string())]);
    })?;
    tracing::info!("ready");
    let mut reporter = Reporter::new(notifier, daemon.vitals());
    let name = loop {
        tokio::select! {
            never = reporter.report() => match never {},
            wanted = signals.next() => match wanted {
                Wanted::Stop(name) => break name,
                Wanted::Reload => {
                    reporter.reloading();
                    reporter.reloaded(daemon.reload(&filter).await.as_ref().err());
                }
            }
        }
    };
    reporter.stopping(running.now().config.limits.shutdown_grace);
    tracing::info!("{name}: stopping");
    let mut stopped = pin!(daemon.stop());
    loop {
        tokio::select! {
            never = reporter.report() => match never {},
            () = &mut stopped => return Ok(()),
            wanted = signals.next() => match wanted {
                Wanted::Stop(name) => tracing::info!("{name}: stopping already"),
                Wanted::Reload => tracing::warn!("no reload: the daemon stops"),
            }
        }
    }
}

/// The first lines of the log: what will be kept where, and who will be called.
fn announce(Loaded { config, tls, .. }: &Loaded) {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "stated starts");
    tracing::info!(store = %config.store.url, "the state is kept");
    let gateways = &config.gateways;
    for (service, gateway) in
        [("room", &gateways.room), ("signaling", &gateways.signaling), ("auth", &gateways.auth)]
    {
        tracing::info!(
            gateway = service,
            address = gateway.address,
            framing = gateway.framing.name(),
            tls = gateway.tls.is_on(),
            "will be called"
        );
    }
    for (key, certificate) in tls.certificates() {
        tracing::info!(key, "a certificate: {key} is {certificate}");
    }
    let most = descriptors::raise();
    tracing::info!(max_fds = most, "file descriptors: the soft limit is as high as it can be");
    let of_descriptors = descriptors::doubt(config, most);
    for doubt in config.doubts().into_iter().chain(tls.doubts()).chain(of_descriptors) {
        tracing::warn!("{doubt}");
    }
}
