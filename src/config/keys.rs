//! Every key, once: its name, its default, its form and what it means. What reads files,
//! variables and flags, the defaults and the reference in `docs/configuration.md` all come from
//! here.

mod admin;
mod limits;
mod rollover;
mod tls;

use std::time::Duration;

use super::form::{count, duration, flag, size, text, word};
use super::key::{Key, key, live, section, within};
use super::{
    Config, FieldStyle, Gateway, Gateways, Listen, Log, LogFormat, Peer, Redis, Signaling, Store,
    StudyTimeReply, address, checks, peers, store_url,
};
use crate::connection::frame::Framing;

/// The whole table.
pub(super) struct Keys {
    /// All but those of `[[listen]]`, in the order in which they are documented.
    pub(super) of_config: Vec<Key<Config>>,
    /// Those of one element of `[[listen]]`.
    pub(super) of_listener: Vec<Key<Listen>>,
    /// Those of one element of `[[peers]]`.
    pub(super) of_peer: Vec<Key<Peer>>,
}

const MILLI: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const MIB: usize = 1 << 20;

impl Keys {
    pub(super) fn all() -> Self {
        Self { of_config: of_config(), of_listener: of_listener(), of_peer: peers::keys() }
    }

    pub(super) fn find(&self, path: &str) -> Option<&Key<Config>> {
        self.of_config.iter().find(|key| key.path == path)
    }

    pub(super) fn find_of_listener(&self, name: &str) -> Option<&Key<Listen>> {
        self.of_listener.iter().find(|key| key.path == name)
    }
}

fn of_config() -> Vec<Key<Config>> {
    [
        live(top()),
        section("limits", |config| &mut config.limits, live(limits::keys())),
        section("limits", |config| &mut config.limits, limits::at_start()),
        section("store", |config| &mut config.store, store()),
        section("store.redis", |config| &mut config.store.redis, redis()),
        section("store.redis.tls", |config| &mut config.store.redis.tls, tls::redis()),
        section(
            "gateways.room",
            |config| &mut config.gateways.room,
            live(gateway("127.0.0.1:8089")),
        ),
        section("gateways.room", |config| &mut config.gateways, live(room_queue())),
        section("gateways.room.tls", |config| &mut config.gateways.room.tls, tls::gateway()),
        section(
            "gateways.signaling",
            |config| &mut config.gateways.signaling,
            live(gateway("127.0.0.1:8058")),
        ),
        section(
            "gateways.signaling.tls",
            |config| &mut config.gateways.signaling.tls,
            tls::gateway(),
        ),
        section(
            "gateways.auth",
            |config| &mut config.gateways.auth,
            live(gateway("127.0.0.1:8019")),
        ),
        section("gateways.auth.tls", |config| &mut config.gateways.auth.tls, tls::gateway()),
        section("signaling", |config| &mut config.signaling, live(signaling())),
        section("rollover", |config| &mut config.rollover, live(rollover::keys())),
        section("log", |config| &mut config.log, log()),
        section("admin", |config| &mut config.admin, admin::all()),
        section("admin.tls", |config| &mut config.admin.tls, tls::listening()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn top() -> Vec<Key<Config>> {
    vec![key(
        "open",
        "false",
        flag(|config: &mut Config| &mut config.open),
        "Without any `[[peers]]`: whether everybody is served who can connect, or only this host and \
         private networks.",
    )]
}

fn of_listener() -> Vec<Key<Listen>> {
    let mut keys: Vec<Key<Listen>> = vec![
        key(
            "address",
            "127.0.0.1:8099",
            text("HOST:PORT", |text| address::parse(text, 0), |listen| &mut listen.address),
            "Where peers connect; port 0 lets the system choose.",
        ),
        key(
            "framing",
            "length4",
            word(framings(), |listen| &mut listen.framing),
            "How messages are delimited on this listener.",
        ),
    ];
    keys.extend(within("tls", |listen: &mut Listen| &mut listen.tls, tls::listening()));
    keys
}

fn store() -> Vec<Key<Store>> {
    vec![key(
        "url",
        "embedded:./stated-data",
        text(store_url::EXPECTED, store_url::parse, |store: &mut Store| &mut store.url)
            .shown_by(store_url::shown),
        "Where the state is kept.",
    )]
}

fn redis() -> Vec<Key<Redis>> {
    let styles = vec![("plain", FieldStyle::Plain), ("spring", FieldStyle::Spring)];
    vec![
        key(
            "field_style",
            "plain",
            word(styles, |redis: &mut Redis| &mut redis.field_style),
            "Under which name a record's field is written: `data`, or quoted as Spring's \
             serializer does.",
        ),
        key(
            "connect_timeout",
            "1s",
            duration(MILLI..=HOUR, |redis| &mut redis.connect_timeout),
            "How long making a connection to Redis may take.",
        ),
        key(
            "command_timeout",
            "2s",
            duration(MILLI..=HOUR, |redis| &mut redis.command_timeout),
            "How long one operation on Redis may take, its repetition included.",
        ),
        key(
            "scrub_interval",
            "10m",
            duration(Duration::ZERO..=7 * 24 * HOUR, |redis: &mut Redis| &mut redis.scrub_interval),
            "How long after the store was looked through, by whichever daemon, that is done again: \
             it counts users, sessions and rooms and mends what a crash left behind; \"0s\" for \
             never.",
        )
        .live(),
        key(
            "scrub_keys_per_second",
            "2000",
            count(1..=1_000_000, |redis: &mut Redis| &mut redis.scrub_keys_per_second),
            "How many keys are looked at in a second then; each costs Redis about three commands.",
        )
        .live(),
    ]
}

fn gateway(address: &'static str) -> Vec<Key<Gateway>> {
    vec![
        key(
            "address",
            address,
            text(
                "HOST:PORT",
                |text| address::parse(text, 1),
                |gateway: &mut Gateway| &mut gateway.address,
            ),
            "Where the service listens.",
        ),
        key(
            "framing",
            "length4",
            word(framings(), |gateway| &mut gateway.framing),
            "How the service delimits messages.",
        ),
        key(
            "pool_size",
            "10",
            count(1..=1_000, |gateway| &mut gateway.pool_size),
            "Connections to the service at the most.",
        ),
        key(
            "connect_timeout",
            "2s",
            duration(MILLI..=HOUR, |gateway| &mut gateway.connect_timeout),
            "How long making a connection may take.",
        ),
        key(
            "reply_timeout",
            "5s",
            duration(MILLI..=HOUR, |gateway| &mut gateway.reply_timeout),
            "How long one call may take, waiting for a free connection included. Making one, if \
             there is none, may take `connect_timeout` on top.",
        ),
        key(
            "max_frame_bytes",
            "2046",
            size(1..=256 * MIB, |gateway| &mut gateway.max_frame_bytes),
            "The longest message that is sent; an unconfigured Spring peer takes no more than \
             2,046 bytes.",
        ),
    ]
}

fn room_queue() -> Vec<Key<Gateways>> {
    vec![
        key(
            "retry_for",
            "60s",
            duration(Duration::ZERO..=24 * HOUR, |gateways: &mut Gateways| {
                &mut gateways.room_retry_for
            }),
            "How long a message to the room service that could not be sent is tried again.",
        ),
        key(
            "max_queue",
            "10000",
            count(1..=1_000_000, |gateways| &mut gateways.room_queue_max),
            "Messages to the room service that may wait at once.",
        ),
    ]
}

fn signaling() -> Vec<Key<Signaling>> {
    let replies =
        vec![("study_time", StudyTimeReply::StudyTime), ("with_owner", StudyTimeReply::WithOwner)];
    vec![key(
        "study_time_reply",
        "study_time",
        word(replies, |signaling: &mut Signaling| &mut signaling.study_time_reply),
        "What STUDY_TIME_TO_TCP is answered: the study time at once, or with it what the room \
         service says about the room's owner.",
    )]
}

fn log() -> Vec<Key<Log>> {
    let formats = vec![
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
    ];
    vec![
        key(
            "level",
            "info",
            text(checks::FILTER_EXPECTED, checks::log_filter, |log: &mut Log| &mut log.level),
            "What is logged.",
        )
        .live(),
        key(
            "format",
            "auto",
            word(formats, |log| &mut log.format),
            "How lines are written; `auto` is text on a terminal, `journald` where standard error \
             leads into systemd's journal, and JSON elsewhere.",
        ),
        key(
            "journald_socket",
            "/run/systemd/journal/socket",
            text("an absolute path", checks::absolute_path, |log| &mut log.journald_socket),
            "Where the journal listens, for `journald`.",
        ),
        key(
            "max_unwritten_bytes",
            "1 MiB",
            size(64 * 1024..=256 * MIB, |log| &mut log.max_unwritten_bytes),
            "Lines that wait for a slow reader of the log; further ones are lost and counted. What \
             is below a warning leaves a quarter to what is not.",
        ),
        key(
            "max_repeats",
            "10",
            count(1..=1_000_000, |log: &mut Log| &mut log.max_repeats),
            "Lines of one cause within ten seconds; further ones are held back, counted and told of.",
        )
        .live(),
    ]
}

fn framings() -> Vec<(&'static str, Framing)> {
    Framing::ALL.into_iter().map(|framing| (framing.name(), framing)).collect()
}
