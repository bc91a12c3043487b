//! The configuration: every key, its unit and its default.

mod address;
mod certificates;
mod checks;
mod credentials;
mod doubts;
mod draft;
pub mod effective;
mod environment;
mod file;
mod form;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzed;
mod held;
mod key;
mod keys;
mod list;
pub mod mistake;
mod network;
mod peers;
#[cfg(test)]
mod reference;
pub mod running;
mod secret;
mod store_url;
mod time_zone;
pub mod tls;
mod token;
mod value;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::key::Effect;
pub use self::network::Network;
pub use self::peers::Peer;
pub use self::secret::Secret;
pub use self::time_zone::TimeZone;

use self::draft::Draft;
use self::keys::Keys;
use self::mistake::{Errors, Place};
use self::tls::{CallingTls, ListeningTls};
use self::value::Value;
use crate::connection::frame::Framing;
use crate::tls::InForce;

/// Where values come from; each source is laid over those before it, and all of them over the
/// defaults. It has no `Debug`: an environment is full of secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The process's environment: [`std::env::vars_os`]. What is not `STATED_…` is left alone.
    pub environment: Vec<(OsString, OsString)>,
    /// The folder of `$CREDENTIALS_DIRECTORY`: a file in it is as a variable of its name.
    pub credentials: Option<PathBuf>,
    /// `--listen`: the only address, with the first listener's framing.
    pub listen: Option<String>,
    /// `--store`: `store.url`.
    pub store: Option<String>,
}

/// The configuration these sources make, or everything that is wrong with them.
pub fn load(sources: &Sources) -> Result<Config, Errors> {
    draft(sources).finish().map(|(config, _)| config)
}

/// The same with the files of certificates and keys that it names.
pub fn load_with_certificates(sources: &Sources) -> Result<(Config, InForce), Errors> {
    let (config, places) = draft(sources).finish()?;
    let read = InForce::read(&config, sources.credentials.as_deref());
    let in_force = read.map_err(|wrong| certificates::mistakes(wrong, &places))?;
    Ok((config, in_force))
}

fn draft(sources: &Sources) -> Draft {
    let keys = Keys::all();
    let mut draft = Draft::of_defaults(&keys);
    if let Some(path) = &sources.file {
        file::read(path, &keys, &mut draft);
    }
    environment::read(&sources.environment, &keys, &mut draft);
    if let Some(folder) = &sources.credentials {
        credentials::read(folder, &keys, &mut draft);
    }
    if let (Some(address), Some(key)) = (&sources.listen, keys.find_of_listener("address")) {
        draft.keep_first_listener();
        draft.set_listener(0, key, &Value::guess(address), Place::Flag("--listen"));
    }
    if let (Some(url), Some(key)) = (&sources.store, keys.find("store.url")) {
        draft.set(key, &Value::guess(url), Place::Flag("--store"));
    }
    draft
}

/// What is wrong with the file, whatever the environment says: the same answer on every machine.
pub fn check(file: &Path) -> Result<Config, Errors> {
    load(&Sources { file: Some(file.to_owned()), ..Sources::default() })
}

/// The same with the files of certificates and keys that it names, but for what is handed over to the
/// daemon alone.
pub fn check_with_certificates(file: &Path) -> Result<Checked, Errors> {
    let sources = Sources { file: Some(file.to_owned()), ..Sources::default() };
    let (config, places) = draft(&sources).finish()?;
    let mut readable = config.clone();
    let not_looked_at = certificates::leave_out_credentials(&mut readable);
    let read = InForce::read(&readable, None);
    let tls = read.map_err(|wrong| certificates::mistakes(wrong, &places))?;
    Ok(Checked { config, tls, not_looked_at })
}

/// A configuration in which no mistake was found.
#[derive(Debug)]
pub struct Checked {
    /// What it says.
    pub config: Config,
    /// The certificates that it names.
    pub tls: InForce,
    /// A sentence for each file that could not be looked at.
    pub not_looked_at: Vec<String>,
}

/// The configuration that a file with this text would make.
#[cfg(test)]
pub(crate) fn check_text(text: &str) -> Result<Config, Errors> {
    let keys = Keys::all();
    let mut draft = Draft::of_defaults(&keys);
    file::read_text(Path::new("stated.toml"), text, &keys, &mut draft);
    draft.finish().map(|(config, _)| config)
}

/// The whole configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `open`: whether anybody is served while there are no `[[peers]]`.
    pub open: bool,
    /// `[[listen]]`
    pub listen: Vec<Listen>,
    /// `[[peers]]`
    pub peers: Vec<Peer>,
    /// `[limits]`
    pub limits: Limits,
    /// `[store]`
    pub store: Store,
    /// `[gateways]`
    pub gateways: Gateways,
    /// `[signaling]`
    pub signaling: Signaling,
    /// `[rollover]`
    pub rollover: Rollover,
    /// `[log]`
    pub log: Log,
    /// `[admin]`
    pub admin: Admin,
}

/// The admin server's address unless another is configured. Nobody asked for it, so a second daemon
/// on the same host starts without the server.
pub const ADMIN_ADDRESS: &str = "127.0.0.1:8091";

impl Config {
    /// Every key with its value, as a variable would hold it and in the order of the reference;
    /// secrets are left out or masked.
    pub fn listed(&self) -> Vec<(String, String)> {
        effective::listed(self)
    }

    /// What is allowed and yet probably not meant, a sentence each: worth a warning at the start.
    pub fn doubts(&self) -> Vec<String> {
        doubts::of(self)
    }
}

impl Default for Config {
    /// What the daemon does with nothing given.
    fn default() -> Self {
        Draft::of_defaults(&Keys::all()).config
    }
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Host and port; port 0 lets the system choose.
    pub address: String,
    /// The one framing of this listener.
    pub framing: Framing,
    /// What it presents and demands.
    pub tls: ListeningTls,
}

/// `[limits]`: what peers may ask of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest request payload, in bytes.
    pub max_frame_bytes: usize,
    /// Requests of one connection that are worked on at once.
    pub max_in_flight: usize,
    /// Connections of all listeners together.
    pub max_connections: usize,
    /// Connections of one address, of IPv6 of one /64; zero for any number.
    pub max_connections_per_address: usize,
    /// Frames of one connection within a second; zero for any number.
    pub max_frames_per_second: usize,
    /// Bytes of unread replies after which a connection's requests are no longer read.
    pub max_unread_reply_bytes: usize,
    /// Bytes of buffers and requests of all connections together, beyond what each has of its own.
    pub max_buffer_bytes: usize,
    /// Requests that were answered for being late and are still worked on, after which none is begun.
    pub max_late_requests: usize,
    /// How long a frame may take from its first byte to its last.
    pub frame_timeout: Duration,
    /// How long a peer may take none of its replies.
    pub unread_timeout: Duration,
    /// How long a peer may take over the replies that wait at one moment.
    pub backlog_timeout: Duration,
    /// Within this time every request is answered.
    pub request_timeout: Duration,
    /// How long the handshake of a connection with TLS may take.
    pub handshake_timeout: Duration,
    /// How long a stop may take.
    pub shutdown_grace: Duration,
    /// Threads that serve connections; zero for one for each processor.
    pub connection_threads: usize,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Where the state is kept.
    pub url: StoreUrl,
    /// `[store.redis]`
    pub redis: Redis,
}

/// `store.url`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`
    Memory,
    /// `embedded:DIR`
    Embedded(PathBuf),
    /// `redis://…` or `rediss://…`, as the Redis client takes it.
    Redis(Secret),
    /// `redis+cluster://[user:password@]h:p,h:p,…`: one URL a node.
    RedisCluster(Vec<Secret>),
    /// `redis+sentinel://[user:password@]h:p,h:p/MASTER[/DB]`
    RedisSentinel {
        /// One `redis://host:port` URL a sentinel.
        sentinels: Vec<Secret>,
        /// The name the sentinels know the master by.
        master: String,
        /// User, password and database of the master itself: a `redis://` URL whose host and port
        /// are placeholders.
        node: Secret,
    },
}

/// `[store.redis]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// Under which name the record's field is written.
    pub field_style: FieldStyle,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long one operation may take, its repetition included.
    pub command_timeout: Duration,
    /// How long after a pass over everything the next one is due; zero for none.
    pub scrub_interval: Duration,
    /// Keys looked at in a second of it.
    pub scrub_keys_per_second: usize,
    /// Whom it has to be, and who we are.
    pub tls: CallingTls,
}

/// `store.redis.field_style`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldStyle {
    /// `data`
    Plain,
    /// `"data"`, with the quotes, as Spring's serializer writes it.
    Spring,
}

/// `[gateways]`: the services the daemon calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateways {
    /// `[gateways.room]`
    pub room: Gateway,
    /// `[gateways.signaling]`
    pub signaling: Gateway,
    /// `[gateways.auth]`
    pub auth: Gateway,
    /// `gateways.room.retry_for`: how long an unsent room-out is tried again.
    pub room_retry_for: Duration,
    /// `gateways.room.max_queue`: room-outs waiting at the most.
    pub room_queue_max: usize,
}

/// A service the daemon calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Host and port.
    pub address: String,
    /// How the service delimits messages.
    pub framing: Framing,
    /// Connections at the most.
    pub pool_size: usize,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long one call may take, waiting for a free connection included.
    pub reply_timeout: Duration,
    /// The longest payload that is sent, in bytes.
    pub max_frame_bytes: usize,
    /// Whom it has to be, and who we are.
    pub tls: CallingTls,
}

impl Gateway {
    /// How long one call may take at the most, making a connection included.
    pub fn call_max(&self) -> Duration {
        self.connect_timeout.saturating_add(self.reply_timeout)
    }
}

/// `[signaling]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signaling {
    /// What STUDY_TIME_TO_TCP is answered.
    pub study_time_reply: StudyTimeReply,
}

/// `signaling.study_time_reply`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StudyTimeReply {
    /// The study time alone, at once.
    StudyTime,
    /// The study time and what the room service said about the room's owner.
    WithOwner,
}

/// `[rollover]`: the night.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollover {
    /// Users in one frame to auth.
    pub batch_users: usize,
    /// Whether users who are online keep their record.
    pub keep_online: bool,
    /// When a night without SCHEDULER_LAST closes by itself.
    pub last_timeout: Duration,
    /// The longest pause before a frame is sent again.
    pub retry_max: Duration,
    /// Whether frames to auth carry `day` and `batch`.
    pub stamp: bool,
    /// The time zone in which days are dated.
    pub time_zone: TimeZone,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level or a filter as tracing has them.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
    /// Where the journal listens.
    pub journald_socket: String,
    /// Bytes of lines that wait to be written.
    pub max_unwritten_bytes: usize,
    /// Lines of one cause within ten seconds.
    pub max_repeats: usize,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, fields where it leads into the journal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
    /// Fields, for systemd's journal.
    Journald,
}

/// `[admin]`: what operators ask the daemon over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Host and port; empty for none.
    pub address: String,
    /// What requests that change something have to carry; `None` leaves them to loopback.
    pub token: Option<Secret>,
    /// Ended connections that are remembered at the most.
    pub closed_connections_max: usize,
    /// What it presents and demands.
    pub tls: ListeningTls,
}

#[cfg(test)]
mod tests;
