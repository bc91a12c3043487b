//! The Lua scripts, and how Redis is made to know them.

use std::sync::LazyLock;

use redis::{Cmd, Pipeline};

/// A Lua script and the hash by which Redis knows it.
pub(super) struct Script {
    source: String,
    hash: String,
}

/// How a script is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptAs {
    /// By its hash: short, but Redis may not know it.
    Hash,
    /// As it is, the first time in a pipeline: from then on Redis knows it.
    Source,
}

/// Which scripts a pipeline has made known by now.
pub(super) struct Known {
    sent: ScriptAs,
    sources: Vec<*const Script>,
}

impl Script {
    fn new(parts: &[&str]) -> Self {
        let source = parts.concat();
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }

    /// The beginning of a call of the script, up to its keys.
    pub(super) fn begin(&'static self, mut cmd: Cmd, known: &mut Known) -> Cmd {
        match known.has(self) {
            true => cmd.arg("EVALSHA").arg(&self.hash),
            false => cmd.arg("EVAL").arg(&self.source),
        };
        cmd
    }
}

impl Known {
    pub(super) fn new(sent: ScriptAs) -> Self {
        Self { sent, sources: Vec::new() }
    }

    /// Whether the script can be called by its hash; from now on it can.
    fn has(&mut self, script: &'static Script) -> bool {
        let is_known = match self.sent {
            ScriptAs::Hash => true,
            ScriptAs::Source => self.sources.contains(&std::ptr::from_ref(script)),
        };
        if !is_known {
            self.sources.push(script);
        }
        is_known
    }
}

/// A script on the night, after the prelude that reads it.
fn on_night(body: &str) -> Script {
    Script::new(&[include_str!("scripts/night.lua"), body])
}

/// A script with one key or several.
fn alone(source: &str) -> Script {
    Script::new(&[source])
}

pub(super) static RECORDS: LazyLock<Script> =
    LazyLock::new(|| alone(include_str!("scripts/records.lua")));
pub(super) static CLOSE_INDEXES: LazyLock<Script> =
    LazyLock::new(|| alone(include_str!("scripts/close_indexes.lua")));
pub(super) static CLOSE_DAY: LazyLock<Script> =
    LazyLock::new(|| on_night(include_str!("scripts/close_day.lua")));
pub(super) static CLOSE_OVERDUE_DAY: LazyLock<Script> =
    LazyLock::new(|| on_night(include_str!("scripts/close_overdue_day.lua")));
pub(super) static BEGIN_LISTING: LazyLock<Script> =
    LazyLock::new(|| on_night(include_str!("scripts/begin_listing.lua")));
pub(super) static RAISE_DAY: LazyLock<Script> =
    LazyLock::new(|| on_night(include_str!("scripts/raise_day.lua")));
pub(super) static END_SWEEP: LazyLock<Script> =
    LazyLock::new(|| on_night(include_str!("scripts/end_sweep.lua")));
pub(super) static COUNT_BATCH: LazyLock<Script> =
    LazyLock::new(|| on_night(include_str!("scripts/count_batch.lua")));
pub(super) static END_DELIVERY: LazyLock<Script> =
    LazyLock::new(|| on_night(include_str!("scripts/end_delivery.lua")));
pub(super) static FORM_BATCH: LazyLock<Script> =
    LazyLock::new(|| alone(include_str!("scripts/form_batch.lua")));
pub(super) static ACKNOWLEDGE_BATCH: LazyLock<Script> =
    LazyLock::new(|| alone(include_str!("scripts/acknowledge_batch.lua")));
pub(super) static FORGET_BATCH: LazyLock<Script> =
    LazyLock::new(|| alone(include_str!("scripts/forget_batch.lua")));
pub(super) static HOLD_LOCK: LazyLock<Script> =
    LazyLock::new(|| alone(include_str!("scripts/hold_lock.lua")));
pub(super) static DELETE_IF_EQUAL: LazyLock<Script> =
    LazyLock::new(|| alone(include_str!("scripts/delete_if_equal.lua")));
pub(super) static LEAD_TO: LazyLock<Script> =
    LazyLock::new(|| alone(include_str!("scripts/lead_to.lua")));
pub(super) static PROVE_WRITABLE: LazyLock<Script> =
    LazyLock::new(|| alone(include_str!("scripts/prove_writable.lua")));

/// All of them.
fn scripts() -> [&'static Script; 16] {
    [
        &RECORDS,
        &CLOSE_INDEXES,
        &CLOSE_DAY,
        &CLOSE_OVERDUE_DAY,
        &BEGIN_LISTING,
        &RAISE_DAY,
        &END_SWEEP,
        &COUNT_BATCH,
        &END_DELIVERY,
        &FORM_BATCH,
        &ACKNOWLEDGE_BATCH,
        &FORGET_BATCH,
        &HOLD_LOCK,
        &DELETE_IF_EQUAL,
        &LEAD_TO,
        &PROVE_WRITABLE,
    ]
}

/// Makes all scripts known. Redis may forget them again; but where it does not know one of several
/// calls sent at once, the later ones are made before it.
pub(super) fn load_scripts() -> Pipeline {
    let mut pipeline = Pipeline::new();
    for script in scripts() {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(&script.source);
    }
    pipeline
}
