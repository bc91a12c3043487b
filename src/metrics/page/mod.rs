//! The page of all metrics at one moment.

mod store;
mod upstream;

use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Metrics;
use super::families as family;
use super::process::Process;
use super::requests::{Kind, Requests};
use super::runtime::Runtime;
use super::text::Text;
use crate::build;
use crate::config::Limits;
use crate::config::running::{Loaded, Reloads};
use crate::domain::{Context, UnixMillis};
use crate::log;
use crate::nightly::Stage;
use crate::store::Night;
use crate::throttle;
use crate::tls::InForce;

/// The media type of the page.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the page needs beyond what is counted: what was found out, last or just now.
#[derive(Debug)]
pub struct Found<'a> {
    /// Whether the daemon is alive, as `/livez` has it.
    pub is_alive: bool,
    /// Whether it can fulfil requests, as `/readyz` has it.
    pub is_ready: bool,
    /// What the system says about the process.
    pub process: Process,
    /// The runtime that serves.
    pub runtime: Runtime,
    /// Those whose state is known, by name, and whether they work.
    pub dependencies: &'a [(&'static str, bool)],
    /// Where the night stood when the store last answered.
    pub night: Option<&'a Night>,
    /// What the night's work of this daemon is at.
    pub stage: Stage,
}

/// Writes the page. It asks nobody: a store that hangs doesn't keep it waiting.
pub fn render(context: &Context, found: &Found<'_>) -> String {
    let mut text = Text::default();
    let metrics = &*context.metrics;
    text.family(&family::BUILD).labelled([build::VERSION, build::COMMIT, build::FEATURES], 1);
    put_process(&mut text, metrics.started_at, &found.process);
    put_runtime(&mut text, found.runtime);
    text.family(&family::ALIVE).value(u8::from(found.is_alive));
    text.family(&family::READY).value(u8::from(found.is_ready));
    let running = context.running.now();
    put_config(&mut text, &running, &context.running.reloads);
    put_certificates(&mut text, &running.tls);
    put_requests(&mut text, &metrics.requests);
    put_connections(&mut text, metrics, &running.config.limits);
    store::put(&mut text, &context.store);
    upstream::put(&mut text, &context.upstream);
    let mut up = text.family(&family::UP);
    for (name, is_up) in found.dependencies {
        up.labelled([*name], u8::from(*is_up));
    }
    put_night(&mut text, found, context);
    let mut samples = text.family(&family::LOG_HELD_BACK);
    for (cause, count) in throttle::held_back() {
        samples.labelled([cause.name()], count);
    }
    text.family(&family::LOG_LOST).value(log::lost_lines());
    text.finish()
}

fn put_process(text: &mut Text, started_at: SystemTime, process: &Process) {
    let started = started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    text.family(&family::STARTED).value(started.as_secs_f64());
    text.family(&family::CPU).value_if_known(process.cpu_seconds);
    text.family(&family::RESIDENT).value_if_known(process.resident_bytes);
    text.family(&family::VIRTUAL).value_if_known(process.virtual_bytes);
    text.family(&family::OPEN_FDS).value_if_known(process.open_fds);
    text.family(&family::MAX_FDS).value_if_known(process.max_fds);
    text.family(&family::THREADS).value_if_known(process.threads);
}

fn put_runtime(text: &mut Text, runtime: Runtime) {
    text.family(&family::WORKERS).value(runtime.workers);
    text.family(&family::TASKS).value(runtime.tasks);
    text.family(&family::RUN_QUEUE).value(runtime.queued);
    text.family(&family::BUSY).value(runtime.busy.as_secs_f64());
}

fn put_config(text: &mut Text, running: &Loaded, reloads: &Reloads) {
    text.family(&family::CONFIG).labelled([running.digest.as_str()], 1);
    text.family(&family::CONFIG_LOADED).value(running.loaded_at.0 as f64 / 1000.0);
    text.family(&family::NEEDS_RESTART).value(u8::from(!running.needs_restart.is_empty()));
    let mut samples = text.family(&family::RELOADS);
    samples.labelled(["applied"], reloads.applied.load(Relaxed));
    samples.labelled(["refused"], reloads.refused.load(Relaxed));
}

fn put_certificates(text: &mut Text, tls: &InForce) {
    let certificates = tls.certificates();
    let mut samples = text.family(&family::CERTIFICATE_ENDS);
    for (key, certificate) in &certificates {
        samples.labelled([key.as_str()], certificate.ends);
    }
    let mut samples = text.family(&family::CERTIFICATE_DAYS);
    for (key, certificate) in &certificates {
        samples.labelled([key.as_str()], certificate.days_left());
    }
}

fn put_requests(text: &mut Text, requests: &Requests) {
    let mut samples = text.family(&family::REQUESTS);
    for kind in Kind::ALL {
        for (outcome, count) in requests.outcomes(kind) {
            // What can't be decoded is never fulfilled.
            if kind != Kind::Invalid || outcome != "ok" {
                samples.labelled([kind.server(), kind.type_name(), outcome], count);
            }
        }
    }
    let mut samples = text.family(&family::REQUEST_DURATION);
    for (server, durations) in requests.durations() {
        samples.histogram([server], durations);
    }
    text.family(&family::IN_FLIGHT).value(requests.in_flight());
    text.family(&family::LATE).value(requests.late.load(Relaxed));
}

fn put_connections(text: &mut Text, metrics: &Metrics, limits: &Limits) {
    let connections = &metrics.connections;
    // The closed ones first: none of them is missing among the opened ones then.
    let closed: Vec<_> = connections.closed().collect();
    let opened = connections.opened();
    let ended: u64 = closed.iter().map(|(_, count)| count).sum();
    text.family(&family::CONNECTIONS).value(opened.saturating_sub(ended));
    text.family(&family::CONNECTIONS_MAX).value(limits.max_connections);
    text.family(&family::OPENED).value(opened);
    let mut samples = text.family(&family::TURNED_AWAY);
    for (limit, count) in connections.turned_away() {
        samples.labelled([limit.name()], count);
    }
    text.family(&family::BUFFER_BYTES).value(connections.buffer_bytes.load(Relaxed));
    text.family(&family::BUFFER_BYTES_MAX).value(limits.max_buffer_bytes);
    text.family(&family::ACCEPT_PAUSES).value(connections.accept_pauses.load(Relaxed));
    let mut samples = text.family(&family::PAUSES);
    for (limit, count) in connections.pauses() {
        samples.labelled([limit.name()], count);
    }
    let mut samples = text.family(&family::HANDSHAKES_FAILED);
    for (why, count) in metrics.handshakes.failed() {
        samples.labelled([why.name()], count);
    }
    let mut samples = text.family(&family::DENIED_CONNECTIONS);
    for (why, count) in connections.denied() {
        samples.labelled([why.name()], count);
    }
    let mut samples = text.family(&family::DENIED_REQUESTS);
    for (entry, count) in metrics.denials.counts() {
        samples.labelled([entry.as_str()], count);
    }
    let mut samples = text.family(&family::CLOSED);
    for (reason, count) in closed {
        samples.labelled([reason.name()], count);
    }
    text.family(&family::RECEIVED).value(connections.received_bytes());
    text.family(&family::SENT).value(connections.sent_bytes());
}

fn put_night(text: &mut Text, found: &Found<'_>, context: &Context) {
    let night = found.night;
    text.family(&family::DAY).value_if_known(night.map(|night| night.day.0));
    let undelivered = night.map(|night| night.undelivered.len());
    text.family(&family::UNDELIVERED).value_if_known(undelivered);
    let age = night.map(|night| {
        let oldest = night.undelivered.first();
        oldest.map_or(0.0, |day| UnixMillis::now().since(day.closed_at).as_secs_f64())
    });
    text.family(&family::UNDELIVERED_AGE).value_if_known(age);
    let mut samples = text.family(&family::STAGE);
    for stage in Stage::ALL {
        samples.labelled([stage.name()], u8::from(stage == found.stage));
    }
    let mut samples = text.family(&family::CLOSES);
    for (by, count) in context.store.closes() {
        samples.labelled([by.name()], count);
    }
    let nights = &context.metrics.nights;
    text.family(&family::BATCHES).value(nights.batches_delivered.load(Relaxed));
    text.family(&family::BATCH_USERS).value(nights.users_delivered.load(Relaxed));
    text.family(&family::BATCH_RETRIES).value(nights.batches_retried.load(Relaxed));
}
