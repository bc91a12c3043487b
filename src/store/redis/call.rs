//! What is asked of Redis: a script or a plain command, on one key at the most.

use std::sync::LazyLock;

use redis::{Arg, Cmd, Pipeline, ServerError, ServerErrorKind, ToRedisArgs, Value};

/// A Lua script and the hash by which Redis knows it.
pub(super) struct Script {
    source: String,
    hash: String,
}

impl Script {
    fn new(parts: &[&str]) -> Self {
        let source = parts.concat();
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }
}

/// A script on a user's record, after the prelude that reads it.
fn on_record(body: &str) -> Script {
    Script::new(&[include_str!("scripts/record.lua"), body])
}

/// A script on the night, after the prelude that reads it.
fn on_night(body: &str) -> Script {
    Script::new(&[include_str!("scripts/night.lua"), body])
}

pub(super) static OPEN_SESSION: LazyLock<Script> =
    LazyLock::new(|| on_record(include_str!("scripts/open_session.lua")));
pub(super) static HOLDS_SESSION: LazyLock<Script> =
    LazyLock::new(|| on_record(include_str!("scripts/holds_session.lua")));
pub(super) static CLOSE_SESSION: LazyLock<Script> =
    LazyLock::new(|| on_record(include_str!("scripts/close_session.lua")));
pub(super) static RECORD_STUDY_TIME: LazyLock<Script> =
    LazyLock::new(|| on_record(include_str!("scripts/record_study_time.lua")));
pub(super) static LIST_STUDY_TIME: LazyLock<Script> =
    LazyLock::new(|| on_record(include_str!("scripts/list_study_time.lua")));
pub(super) static SEAL_STUDY_TIME: LazyLock<Script> =
    LazyLock::new(|| on_record(include_str!("scripts/seal_study_time.lua")));
pub(super) static FORGET_SEALED_TIME: LazyLock<Script> =
    LazyLock::new(|| on_record(include_str!("scripts/forget_sealed_time.lua")));
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
    LazyLock::new(|| Script::new(&[include_str!("scripts/form_batch.lua")]));
pub(super) static ACKNOWLEDGE_BATCH: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("scripts/acknowledge_batch.lua")]));
pub(super) static FORGET_BATCH: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("scripts/forget_batch.lua")]));
pub(super) static HOLD_LOCK: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("scripts/hold_lock.lua")]));
pub(super) static DELETE_IF_EQUAL: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("scripts/delete_if_equal.lua")]));
pub(super) static LEAD_TO: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("scripts/lead_to.lua")]));
pub(super) static CLOSE_INDEX: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("scripts/close_index.lua")]));
pub(super) static PROVE_WRITABLE: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("scripts/prove_writable.lua")]));

/// All of them.
fn scripts() -> [&'static Script; 22] {
    [
        &OPEN_SESSION,
        &HOLDS_SESSION,
        &CLOSE_SESSION,
        &RECORD_STUDY_TIME,
        &LIST_STUDY_TIME,
        &SEAL_STUDY_TIME,
        &FORGET_SEALED_TIME,
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
        &CLOSE_INDEX,
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

/// A script or a command, its one key if it has any, and its further arguments.
///
/// Every call may be sent twice: the second time it changes nothing that the first has not.
#[derive(Clone)]
pub(super) struct Call {
    /// As it is sent, a script by its hash.
    cmd: Cmd,
    script: Option<&'static Script>,
    /// None for what is asked of a server, not of a key.
    key: Option<String>,
}

/// Room for a call on a record: the client's own guess is too small for any of them.
const ARGUMENTS: usize = 16;
const ARGUMENT_BYTES: usize = 320;

/// What Redis said to one call.
pub(super) type Reply = Result<Value, ServerError>;

impl Call {
    pub(super) fn script(script: &'static Script, key: impl Into<String>) -> Self {
        let mut cmd = Cmd::with_capacity(ARGUMENTS, ARGUMENT_BYTES);
        cmd.arg("EVALSHA").arg(&script.hash).arg(1);
        Self { script: Some(script), ..Self::on_key(cmd, key.into()) }
    }

    pub(super) fn command(name: &'static str, key: impl Into<String>) -> Self {
        Self::on_key(redis::cmd(name), key.into())
    }

    fn on_key(mut cmd: Cmd, key: String) -> Self {
        cmd.arg(&key);
        Self { cmd, script: None, key: Some(key) }
    }

    /// A command about a server; the key in it, if any, does not say where it goes.
    pub(super) fn of_server(name: &'static str) -> Self {
        Self { cmd: redis::cmd(name), script: None, key: None }
    }

    pub(super) fn arg(mut self, argument: impl AsRef<[u8]>) -> Self {
        self.cmd.arg(argument.as_ref());
        self
    }

    pub(super) fn number(mut self, argument: impl ToRedisArgs) -> Self {
        self.cmd.arg(argument);
        self
    }

    /// What says where the call goes; empty if nothing does.
    pub(super) fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }

    /// The same with the script itself in the place of its hash.
    fn with_source(&self, script: &Script) -> Cmd {
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(&script.source);
        for argument in self.cmd.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                cmd.arg(argument);
            }
        }
        cmd
    }
}

/// How a script is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptAs {
    /// By its hash: short, but Redis may not know it.
    Hash,
    /// As it is, the first time in a pipeline: from then on Redis knows it.
    Source,
}

/// The calls in their order, as one write.
pub(super) fn pipeline(calls: &[Call], sent: ScriptAs) -> Pipeline {
    let mut known: Vec<*const Script> = Vec::new();
    let mut pipeline = Pipeline::with_capacity(calls.len());
    for call in calls {
        pipeline.add_command(match (sent, call.script) {
            (ScriptAs::Source, Some(script)) if first_of(&mut known, script) => {
                call.with_source(script)
            }
            (ScriptAs::Source | ScriptAs::Hash, Some(_) | None) => call.cmd.clone(),
        });
    }
    pipeline
}

fn first_of(known: &mut Vec<*const Script>, script: &'static Script) -> bool {
    let is_new = !known.contains(&std::ptr::from_ref(script));
    if is_new {
        known.push(script);
    }
    is_new
}

/// What came back, one reply a call.
pub(super) fn replies(values: Vec<Value>) -> Vec<Reply> {
    values.into_iter().map(reply).collect()
}

fn reply(value: Value) -> Reply {
    if let Value::ServerError(error) = value { Err(error) } else { Ok(value) }
}

/// Whether Redis did not know a script by its hash.
pub(super) fn is_unknown_script(reply: &Reply) -> bool {
    matches!(reply, Err(error) if error.kind() == Some(ServerErrorKind::NoScript))
}
