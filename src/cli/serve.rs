//! `stated serve`: configure, open, serve, stop.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::ServeArgs;
use crate::config::running::Running;
use crate::config::{Config, Sources};
use crate::connection::passed::Passed;
use crate::daemon::Daemon;
use crate::log::{self, chain};
use crate::systemd::notify::Notifier;
use crate::systemd::report::Reporter;

/// The exit status of a daemon whose configuration is wrong, as clap has it for wrong arguments.
const WRONG_CONFIGURATION: u8 = 2;

/// How long the exit waits for system calls that block.
const BLOCKED_MAX: Duration = Duration::from_secs(1);

#[expect(clippy::print_stderr, reason = "before the log is set up")]
pub(super) fn run(args: ServeArgs) -> ExitCode {
    let sources = Sources {
        file: args.config,
        environment: std::env::vars_os().collect(),
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        listen: args.listen,
        store: args.store,
    };
    let running = match Running::load(sources) {
        Ok(running) => Arc::new(running),
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    let _filter = match log::start(&running.current().config.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("stated: the log can't be set up: {}", chain(&error));
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    // What systemd passes stands in the environment, which is read before threads start.
    let notifier = Notifier::from_environment();
    let passed = match Passed::from_environment() {
        Ok(passed) => passed,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the runtime can't be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let served = runtime.block_on(serve(running, passed, notifier));
    // What is still blocked now, say in a resolver, is not waited for without end.
    runtime.shutdown_timeout(BLOCKED_MAX);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    running: Arc<Running>,
    passed: Passed,
    notifier: Notifier,
) -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    announce(&running.current().config);
    let daemon = Daemon::start(Arc::clone(&running), passed).await.inspect_err(|error| {
        notifier.send(&[NotifyState::Status(&chain(error).to_string())]);
    })?;
    tracing::info!("ready");
    let mut reporter = Reporter::new(notifier, daemon.vitals());
    let name = tokio::select! {
        never = reporter.report() => match never {},
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    reporter.stopping(running.now().config.limits.shutdown_grace);
    tracing::info!("{name}: stopping");
    tokio::select! {
        never = reporter.report() => match never {},
        () = daemon.stop() => {}
    }
    Ok(())
}

/// The first lines of the log: what will be kept where, and who will be called.
fn announce(config: &Config) {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "stated starts");
    tracing::info!(store = %config.store.url, "the state is kept");
    let gateways = &config.gateways;
    for (peer, gateway) in
        [("room", &gateways.room), ("signaling", &gateways.signaling), ("auth", &gateways.auth)]
    {
        tracing::info!(
            peer,
            address = gateway.address,
            framing = gateway.framing.name(),
            "will be called"
        );
    }
    for doubt in config.doubts() {
        tracing::warn!("{doubt}");
    }
}
