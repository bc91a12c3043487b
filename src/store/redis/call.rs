//! What is asked of Redis: a plain command, or a script with one key or none; and operations of a kind
//! that may share one script.

use redis::{Cmd, ServerError, ServerErrorKind, ToRedisArgs, Value};

use super::script::{Known, Script, ScriptAs};
use super::stored::style_name;
use super::words::Words;
use crate::config::FieldStyle;
use crate::domain::Day;

/// What is asked on one key, or of a server.
///
/// Every call may be sent twice: the second time it changes nothing that the first has not.
#[derive(Clone)]
pub(super) struct Call {
    what: What,
    /// None for what is asked of a server, not of a key.
    key: Option<String>,
    /// A second key, in the same server.
    beside: Option<String>,
}

#[derive(Clone)]
enum What {
    /// A command, as it is sent.
    Command(Cmd),
    /// A script of its own: what follows its key.
    Script(&'static Script, Words),
    /// An operation of a script that takes several at once, each on a key of its own and with so many
    /// words.
    Part(Whole, Words),
}

/// A script that takes several operations, and what it is told once for all of them.
#[derive(Clone, Copy)]
pub(super) struct Whole {
    script: &'static Script,
    night: Option<Night>,
}

/// What every script on records is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Night {
    /// The running day.
    pub(super) day: Day,
    /// The first day that is not wholly sealed.
    pub(super) swept: Day,
    pub(super) style: FieldStyle,
}

/// What Redis said to one call.
pub(super) type Reply = Result<Value, ServerError>;

impl PartialEq for Whole {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.script, other.script) && self.night == other.night
    }
}

impl Call {
    pub(super) fn script(script: &'static Script, key: impl Into<String>) -> Self {
        Self { what: What::Script(script, Words::default()), key: Some(key.into()), beside: None }
    }

    pub(super) fn command(name: &'static str, key: impl Into<String>) -> Self {
        let (mut cmd, key) = (redis::cmd(name), key.into());
        cmd.arg(&key);
        Self { what: What::Command(cmd), key: Some(key), beside: None }
    }

    /// An operation that may share its script with others.
    pub(super) fn part(
        script: &'static Script,
        night: Option<Night>,
        key: String,
        words: Words,
    ) -> Self {
        let what = What::Part(Whole { script, night }, words);
        Self { what, key: Some(key), beside: None }
    }

    /// The same on a second key too, which is in the same server.
    pub(super) fn beside(self, key: Option<String>) -> Self {
        Self { beside: key, ..self }
    }

    /// A command about a server; the key in it, if any, does not say where it goes.
    pub(super) fn of_server(name: &'static str) -> Self {
        Self { what: What::Command(redis::cmd(name)), key: None, beside: None }
    }

    pub(super) fn arg(mut self, argument: impl AsRef<[u8]>) -> Self {
        match &mut self.what {
            What::Command(cmd) => drop(cmd.arg(argument.as_ref())),
            What::Script(_, words) | What::Part(_, words) => words.push(argument.as_ref()),
        }
        self
    }

    pub(super) fn number(self, argument: impl ToRedisArgs) -> Self {
        argument.to_redis_args().into_iter().fold(self, Self::arg)
    }

    /// What says where the call goes; empty if nothing does.
    pub(super) fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }

    /// The script that it may share with others, if it may.
    pub(super) fn whole(&self) -> Option<Whole> {
        match &self.what {
            What::Part(whole, _) => Some(*whole),
            What::Command(_) | What::Script(..) => None,
        }
    }

    /// The call alone, as it is sent.
    pub(super) fn cmd(&self, known: &mut Known) -> Cmd {
        match &self.what {
            What::Command(cmd) => cmd.clone(),
            What::Script(script, words) => {
                let cmd = Cmd::with_capacity(3 + words.len(), 80 + words.bytes());
                let mut cmd = script.begin(cmd, known);
                cmd.arg(1).arg(self.key());
                words.put(&mut cmd);
                cmd
            }
            What::Part(whole, _) => whole.cmd(&[self], known),
        }
    }

    /// What came back to the call alone.
    pub(super) fn reply(&self, value: Value) -> Reply {
        match &self.what {
            What::Command(_) | What::Script(..) => reply(value),
            What::Part(..) => {
                let whole = reply(value)?;
                let Value::Array(mut parts) = whole else { return Ok(whole) };
                parts.pop().map_or(Ok(Value::Nil), reply)
            }
        }
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        [Some(self.key()), self.beside.as_deref()].into_iter().flatten()
    }

    fn words(&self) -> Option<&Words> {
        match &self.what {
            What::Part(_, words) | What::Script(_, words) => Some(words),
            What::Command(_) => None,
        }
    }
}

impl Whole {
    /// The operations, as they are sent.
    pub(super) fn cmd(self, parts: &[&Call], known: &mut Known) -> Cmd {
        let words = || parts.iter().filter_map(|part| part.words());
        let keys = || parts.iter().flat_map(|part| part.keys());
        let key_count = keys().count();
        let arguments = key_count + words().map(Words::len).sum::<usize>();
        let bytes = keys().map(str::len).sum::<usize>() + words().map(Words::bytes).sum::<usize>();
        let mut cmd = self.script.begin(Cmd::with_capacity(8 + arguments, 128 + bytes), known);
        cmd.arg(key_count);
        for key in keys() {
            cmd.arg(key);
        }
        if let Some(Night { day, swept, style }) = self.night {
            cmd.arg(day.0).arg(swept.0).arg(style_name(style));
        }
        words().for_each(|words| words.put(&mut cmd));
        cmd
    }
}

/// The calls in their order, each by itself, as one write.
pub(super) fn pipeline(calls: &[Call], sent: ScriptAs) -> redis::Pipeline {
    let mut known = Known::new(sent);
    let mut pipeline = redis::Pipeline::with_capacity(calls.len());
    for call in calls {
        pipeline.add_command(call.cmd(&mut known));
    }
    pipeline
}

/// What came back, one reply a call.
pub(super) fn replies(calls: &[Call], values: Vec<Value>) -> Vec<Reply> {
    calls.iter().zip(values).map(|(call, value)| call.reply(value)).collect()
}

pub(super) fn reply(value: Value) -> Reply {
    if let Value::ServerError(error) = value { Err(error) } else { Ok(value) }
}

/// Whether Redis did not know a script by its hash.
pub(super) fn is_unknown_script(reply: &Reply) -> bool {
    matches!(reply, Err(error) if error.kind() == Some(ServerErrorKind::NoScript))
}
