//! Every metric, once: its name, its labels, what it means. The page, the reference in
//! `docs/metrics.md` and the tests all come from here.

/// What is told under one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// By Prometheus' conventions.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// In the order in which their values are given.
    pub labels: &'static [Label],
    /// One sentence without a full stop.
    pub help: &'static str,
}

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Up only, from 0 at the daemon's start.
    Counter,
    /// As it is now.
    Gauge,
    /// Durations by size.
    Histogram,
}

/// A label and all the values it can have.
#[derive(Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// For people.
    pub values: &'static str,
}

impl Kind {
    /// As Prometheus writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

const CERTIFICATE: Label = Label {
    name: "key",
    values: "the key that names its file: `listen[0].tls.cert`, `admin.tls.cert`, \
             `gateways.room.tls.cert`, `store.redis.tls.cert`",
};
const SERVER: Label = Label {
    name: "server",
    values: "`chat`, `signaling`, `signaling_scheduling`, `auth`, `room`, `invalid`",
};
const TYPE: Label = Label {
    name: "type",
    values: "the contract's types; `UNSUBSCRIBE` for DISCONNECT too, `other` for STOMP commands \
             that change nothing, `invalid` for what could not be decoded",
};
const OUTCOME: Label =
    Label { name: "outcome", values: "`ok` or the code of the error that was answered" };
const REASON: Label = Label {
    name: "reason",
    values: "`peer` (it closed), `lost` (it broke), `framing` (its messages can't be told apart), \
             `stopping` (the daemon stops), `operator` (one closed it), `partial_frame` (one was \
             not complete within limits.frame_timeout), `unread` (the peer read nothing within \
             limits.unread_timeout, or not all that waited within limits.backlog_timeout), `handshake` \
             (TLS could not be agreed on), `denied` (nothing is allowed to whom its certificate names), \
             `cut` (a panic, or the end of the grace period)",
};
const HANDSHAKE: Label = Label {
    name: "reason",
    values: "`timeout`, `not_tls`, `no_certificate`, `unknown_authority`, `expired`, \
             `not_yet_valid`, `bad_certificate`, `refused` (the peer does not accept ours), \
             `nothing_in_common`, `hung_up`, `other`",
};
const DENIED: Label = Label {
    name: "reason",
    values: "`not_private` (there are no `[[peers]]`, `open` is false, and it comes from another \
             network), `no_entry` (it matches no entry of `[[peers]]`)",
};
const ENTRY: Label = Label {
    name: "entry",
    values: "the names of `[[peers]]` as they are configured, `peers[N]` for one without, `none` for \
             who matches none",
};
const TURNED_AWAY_BY: Label =
    Label { name: "limit", values: "`max_connections`, `max_connections_per_address`" };
const PAUSED_BY: Label =
    Label { name: "limit", values: "`max_frames_per_second`, `max_buffer_bytes`" };
const OPERATION: Label = Label { name: "operation", values: "the operations of the store's port" };
const LINK_EVENT: Label = Label {
    name: "event",
    values: "`opened`, `failed` to open, `lost` (it broke, was silent, or its server is no master \
             any more)",
};
const MENDED: Label =
    Label { name: "kind", values: "`stale_member`, `missing_member`, `stale_index`" };
const ROOM_SET_EVENT: Label = Label {
    name: "event",
    values: "`entry` (a live session is missing in its room's set), `exit` (one that is over is \
             still in it)",
};
const PEER: Label = Label { name: "peer", values: "`room`, `signaling`, `auth`" };
const CALL_OUTCOME: Label = Label {
    name: "outcome",
    values: "`ok`, `too_long`, `unreachable`, `timeout`, `refused`, `dropped`",
};
const POOL_EVENT: Label =
    Label { name: "event", values: "`opened`, `failed` to open, `discarded`" };
const POOL_STATE: Label = Label {
    name: "state",
    values: "`in_use` (a call is under way), `idle`, `opening` (being made)",
};
const BREAKER: Label = Label {
    name: "state",
    values: "`closed` (connections are made as needed), `half_open` (one, to see whether the peer \
             is back), `open` (none for now: the latest attempts failed)",
};
const ROOM_OUTCOME: Label = Label {
    name: "outcome",
    values: "`answered`, `refused`, `unknown`, `dropped_full`, `dropped_late`, `dropped_long`, \
             `dropped_stopping`",
};
const DEPENDENCY: Label =
    Label { name: "dependency", values: "`store`, `room`, `signaling`, `auth`" };
const VERSION: Label = Label { name: "version", values: "the program's version" };
const COMMIT: Label =
    Label { name: "commit", values: "what it was built from; `unknown` outside of git" };
const FEATURES: Label =
    Label { name: "features", values: "cargo's features that are built in, if any" };

const STAGE_LABEL: Label = Label {
    name: "stage",
    values: "`idle`, `listing` (SCHEDULER came, SCHEDULER_LAST did not), `delivering`, `retrying`, \
             `too_long` (what is left fits no frame of auth), `elsewhere` (another daemon delivers)",
};
const CLOSED_BY: Label = Label {
    name: "closed_by",
    values: "`last` (SCHEDULER_LAST), `timeout` (none came within rollover.last_timeout), `operator`",
};
const DIGEST: Label = Label {
    name: "digest",
    values: "16 hex digits over all keys and values that are no secrets, as `stated status` has them",
};
const RELOAD_OUTCOME: Label = Label {
    name: "outcome",
    values: "`applied`, `refused` (something was wrong, and everything stayed as it was)",
};

const CAUSE: Label = Label {
    name: "cause",
    values: "the code of the error that was answered, `turned_away`, `denied`, `handshake`, `accept_failed`, \
             `admin_accept_failed`, `admin_refused`, `gateway_flaps`, `redis_flaps`, `panicked`",
};

macro_rules! families {
    ($($id:ident = $kind:ident $name:literal [$($label:ident),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Family =
                Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// All of them, in the order of the page.
        pub const ALL: &[&Family] = &[$(&$id),*];
    };
}

families! {
    BUILD = Gauge "stated_build_info" [VERSION, COMMIT, FEATURES]
        "Always 1; what runs is in the labels";
    STARTED = Gauge "process_start_time_seconds" []
        "When the daemon started, in seconds since 1970";
    CPU = Counter "process_cpu_seconds_total" []
        "Time of the processor that the daemon used, in seconds";
    RESIDENT = Gauge "process_resident_memory_bytes" []
        "Memory of the machine that the daemon has";
    VIRTUAL = Gauge "process_virtual_memory_bytes" []
        "Addresses that the daemon has";
    OPEN_FDS = Gauge "process_open_fds" []
        "Open files and sockets";
    MAX_FDS = Gauge "process_max_fds" []
        "How many of them there may be; absent if any number";
    THREADS = Gauge "process_threads" []
        "Threads of the daemon";
    WORKERS = Gauge "stated_runtime_workers" []
        "Threads that run the daemon's tasks";
    TASKS = Gauge "stated_runtime_tasks" []
        "Tasks that are not over: one a connection, and those that keep house";
    RUN_QUEUE = Gauge "stated_runtime_queued_tasks" []
        "Tasks that could run and that no worker has taken yet";
    BUSY = Counter "stated_runtime_busy_seconds_total" []
        "How long the workers, all together, were not idle";
    ALIVE = Gauge "stated_alive" []
        "Whether the daemon is alive, as /livez has it: 0 if only a restart would help";
    READY = Gauge "stated_ready" []
        "Whether the daemon can fulfil requests, as /readyz has it";
    CONFIG = Gauge "stated_config_info" [DIGEST]
        "Always 1; which configuration is in force is in the label";
    CONFIG_LOADED = Gauge "stated_config_loaded_timestamp_seconds" []
        "When the configuration in force was read, in seconds since 1970";
    NEEDS_RESTART = Gauge "stated_config_needs_restart" []
        "1 if a reload changed a key that only takes effect with a restart";
    RELOADS = Counter "stated_config_reloads_total" [RELOAD_OUTCOME]
        "Reloads of the configuration";
    CERTIFICATE_ENDS = Gauge "stated_tls_certificate_expiry_timestamp_seconds" [CERTIFICATE]
        "When a certificate of the daemon's own, or one that it is shown with, ends, in seconds since \
         1970";
    CERTIFICATE_DAYS = Gauge "stated_tls_certificate_days_left" [CERTIFICATE]
        "Days until it ends; below 0 once it has";
    REQUESTS = Counter "stated_requests_total" [SERVER, TYPE, OUTCOME]
        "Requests that were answered";
    REQUEST_DURATION = Histogram "stated_request_duration_seconds" [SERVER]
        "From a request's arrival to its answer's place in the output, waiting for earlier answers \
         and for what arrived together included";
    IN_FLIGHT = Gauge "stated_requests_in_flight" []
        "Requests that were read and are not answered yet";
    LATE = Gauge "stated_requests_late" []
        "Requests that were answered for being late and are still worked on; at \
         limits.max_late_requests all others are refused";
    CONNECTIONS = Gauge "stated_connections" []
        "Connections of peers that are open";
    CONNECTIONS_MAX = Gauge "stated_connections_max" []
        "How many of them there may be: limits.max_connections";
    OPENED = Counter "stated_connections_opened_total" []
        "Connections of peers that were let in";
    TURNED_AWAY = Counter "stated_connections_turned_away_total" [TURNED_AWAY_BY]
        "Connections closed at once because as many were open as this limit allows";
    BUFFER_BYTES = Gauge "stated_buffer_bytes" []
        "Memory that connections hold of limits.max_buffer_bytes";
    BUFFER_BYTES_MAX = Gauge "stated_buffer_bytes_max" []
        "How much of it there may be: limits.max_buffer_bytes";
    ACCEPT_PAUSES = Counter "stated_accept_pauses_total" []
        "How often accepting paused for a moment, as a rule for want of files and sockets";
    PAUSES = Counter "stated_connections_paused_total" [PAUSED_BY]
        "How often a connection was not read for a while because of this limit";
    HANDSHAKES_FAILED = Counter "stated_handshakes_failed_total" [HANDSHAKE]
        "Connections of peers on which TLS could not be agreed";
    DENIED_CONNECTIONS = Counter "stated_connections_denied_total" [DENIED]
        "Connections closed at once because nothing is allowed to who opened them";
    DENIED_REQUESTS = Counter "stated_requests_denied_total" [ENTRY]
        "Requests for a service for which the peer may not speak (CHAT-032), by the first entry of \
         `[[peers]]` that it matches";
    CLOSED = Counter "stated_connections_closed_total" [REASON]
        "Connections of peers that ended";
    RECEIVED = Counter "stated_received_bytes_total" []
        "Bytes that peers sent";
    SENT = Counter "stated_sent_bytes_total" []
        "Bytes that peers were sent";
    STORE_DURATION = Histogram "stated_store_operation_duration_seconds" [OPERATION]
        "How long operations of the store took, whatever came of them; looks at its health included";
    STORE_ERRORS = Counter "stated_store_errors_total" [OPERATION]
        "Operations of the store that failed";
    STORE_LINK_EVENTS = Counter "stated_store_link_events_total" [LINK_EVENT]
        "What happened to connections to Redis; 0 with other stores";
    STORE_LINKS = Gauge "stated_store_links" []
        "Connections to Redis that are open: one for each server; 0 with other stores";
    SETBACKS = Counter "stated_store_setbacks_total" []
        "How often this daemon found that Redis had lost the running day; 0 with other stores";
    USERS = Gauge "stated_users" []
        "Users with a record; on Redis as last counted by a scrub, and absent until then";
    SESSIONS_LIVE = Gauge "stated_sessions_live" []
        "Sessions that resolve to a user; on Redis as stated_users";
    ROOMS = Gauge "stated_rooms" []
        "Rooms with a live session; on Redis as stated_users";
    COUNTED_AT = Gauge "stated_store_counted_timestamp_seconds" []
        "When the three above were so, in seconds since 1970: now, on Redis the end of the latest \
         scrub of any daemon";
    MENDED_LEFTOVERS = Counter "stated_store_scrub_mended_total" [MENDED]
        "What this daemon's scrubs found and mended; stays 0 where there is nothing to mend";
    LEFT_ALONE = Gauge "stated_store_scrub_left_alone" []
        "What this daemon's latest scrub could not read or did not understand, and left as it is";
    ROOM_SETS_MISSED = Counter "stated_store_room_sets_missed_total" [ROOM_SET_EVENT]
        "Changes of rooms' sets that were not made, and are left to the next scrub";
    CALLS = Counter "stated_gateway_calls_total" [PEER, CALL_OUTCOME]
        "Calls of other services; a room-out that is tried again is a call each time";
    CALL_DURATION = Histogram "stated_gateway_call_duration_seconds" [PEER]
        "How long calls took, waiting for a connection included";
    POOL = Counter "stated_gateway_connections_total" [PEER, POOL_EVENT]
        "What happened to connections to other services";
    POOL_NOW = Gauge "stated_gateway_pool_connections" [PEER, POOL_STATE]
        "Connections to other services, by what they do";
    POOL_MAX = Gauge "stated_gateway_pool_connections_max" [PEER]
        "How many of them there may be: the gateway's pool_size";
    WAITING = Gauge "stated_gateway_waiting_callers" [PEER]
        "Calls that wait for a connection";
    BREAKER_STATE = Gauge "stated_gateway_breaker_state" [PEER, BREAKER]
        "1 for the state in which the gateway's breaker is, 0 for the others";
    ROOM_OUTS = Counter "stated_room_outs_total" [ROOM_OUTCOME]
        "What became of tellings that a user left; each ends in exactly one outcome";
    ROOM_RETRIES = Counter "stated_room_out_retries_total" []
        "Attempts that sent nothing to room and were put back";
    ROOM_QUEUE = Gauge "stated_room_out_queue" []
        "Tellings that a user left which wait or are under way";
    UP = Gauge "stated_dependency_up" [DEPENDENCY]
        "Whether it works, as /readyz has it; absent while that is unknown";
    DAY = Gauge "stated_night_day" []
        "The number of the running study day, as last read from the store; absent until then";
    UNDELIVERED = Gauge "stated_night_undelivered_closes" []
        "Closed days that auth has not acknowledged in full, as last read from the store";
    UNDELIVERED_AGE = Gauge "stated_night_undelivered_age_seconds" []
        "Time since the oldest of those was closed; 0 if there is none";
    STAGE = Gauge "stated_night_stage" [STAGE_LABEL]
        "1 for what the night's work of this daemon is at, 0 for the others";
    CLOSES = Counter "stated_night_closes_total" [CLOSED_BY]
        "Days that this daemon closed";
    BATCHES = Counter "stated_night_batches_delivered_total" []
        "Frames of closed days that auth acknowledged to this daemon";
    BATCH_USERS = Counter "stated_night_users_delivered_total" []
        "Users in those frames";
    BATCH_RETRIES = Counter "stated_night_batches_retried_total" []
        "Frames of closed days that auth did not acknowledge, and that are sent again";
    LOG_HELD_BACK = Counter "stated_log_lines_held_back_total" [CAUSE]
        "Lines of the log that were not written, as many of the same cause were";
    LOG_LOST = Counter "stated_log_lines_lost_total" []
        "Lines of the log that nobody read in time, or that could not be written";
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const HEAD: &str = "# Metrics

`GET /metrics` at `admin.address` answers in Prometheus' text form. Counters start at 0 with the
daemon. No label has a value that comes from a peer; each has a closed set, so the number of series
is fixed.

Alerts, runbooks and a dashboard on these metrics are in
[observability/](../observability/README.md).

This page is generated: `UPDATE=1 cargo test metrics::families`.

| metric | kind | meaning |
|---|---|---|
";

    fn reference() -> String {
        let mut text = HEAD.to_owned();
        for Family { name, kind, help, labels } in ALL {
            let names: Vec<_> = labels.iter().map(|label| label.name).collect();
            let labels = if names.is_empty() { String::new() } else { names.join(", ") };
            let shown = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            writeln!(text, "| `{name}{shown}` | {} | {help} |", kind.name()).unwrap();
        }
        text.push_str("\n## Labels\n\n| label | of | values |\n|---|---|---|\n");
        let mut said: Vec<&Label> = Vec::new();
        for label in ALL.iter().flat_map(|family| family.labels) {
            if said.contains(&label) {
                continue;
            }
            said.push(label);
            let of = ALL.iter().filter(|family| family.labels.contains(label));
            let of: Vec<_> = of.map(|family| format!("`{}`", family.name)).collect();
            writeln!(text, "| `{}` | {} | {} |", label.name, of.join(", "), label.values).unwrap();
        }
        text
    }

    #[test]
    fn the_reference_lists_every_metric() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(found, reference(), "run: UPDATE=1 cargo test metrics::families");
    }

    #[test]
    fn names_follow_the_conventions() {
        for Family { name, kind, .. } in ALL {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(name.starts_with("stated_") || name.starts_with("process_"), "{name}");
            assert_eq!(ALL.iter().filter(|other| other.name == *name).count(), 1, "{name}");
        }
    }
}
