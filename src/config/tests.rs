//! The configuration as a whole: sources in, a configuration or the complete list of mistakes out.

use proptest::prelude::*;

use super::*;
use crate::domain::{Server, Servers};

/// Loads a file called `stated.toml` with this text, and these variables.
fn load_texts(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Config, Errors> {
    let keys = Keys::all();
    let mut draft = Draft::of_defaults(&keys);
    if let Some(text) = file {
        file::read_text(Path::new("stated.toml"), text, &keys, &mut draft);
    }
    let pair = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    environment::read(&variables.iter().map(pair).collect::<Vec<_>>(), &keys, &mut draft);
    draft.finish().map(|(config, _)| config)
}

/// What is said of a file, line by line.
fn check(text: &str, expected: &[&str]) {
    assert_eq!(said(load_texts(Some(text), &[])), expected, "{text}");
}

/// What is said of variables, line by line.
fn check_variables(variables: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(said(load_texts(None, variables)), expected, "{variables:?}");
}

fn said(result: Result<Config, Errors>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

fn gateway(address: &str) -> Gateway {
    Gateway {
        address: address.to_owned(),
        framing: Framing::Length4,
        pool_size: 10,
        connect_timeout: Duration::from_secs(2),
        reply_timeout: Duration::from_secs(5),
        max_frame_bytes: 2046,
        tls: CallingTls::default(),
    }
}

#[test]
fn with_nothing_given_every_field_has_its_documented_default() {
    let expected = Config {
        open: false,
        peers: Vec::new(),
        listen: vec![Listen {
            address: "127.0.0.1:8099".to_owned(),
            framing: Framing::Length4,
            tls: ListeningTls::default(),
        }],
        limits: Limits {
            max_frame_bytes: 1_048_576,
            max_in_flight: 64,
            max_connections: 10_000,
            max_connections_per_address: 0,
            max_frames_per_second: 0,
            max_unread_reply_bytes: 256 * 1024,
            max_buffer_bytes: 512 << 20,
            max_late_requests: 10_000,
            frame_timeout: Duration::from_secs(30),
            unread_timeout: Duration::from_secs(60),
            backlog_timeout: Duration::from_secs(600),
            request_timeout: Duration::from_secs(8),
            handshake_timeout: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(20),
        },
        store: Store {
            url: StoreUrl::Embedded(PathBuf::from("./stated-data")),
            redis: Redis {
                field_style: FieldStyle::Plain,
                connect_timeout: Duration::from_secs(1),
                command_timeout: Duration::from_secs(2),
                scrub_interval: Duration::from_secs(600),
                scrub_keys_per_second: 2000,
                tls: CallingTls::default(),
            },
        },
        gateways: Gateways {
            room: gateway("127.0.0.1:8089"),
            signaling: gateway("127.0.0.1:8058"),
            auth: gateway("127.0.0.1:8019"),
            room_retry_for: Duration::from_secs(60),
            room_queue_max: 10_000,
        },
        signaling: Signaling { study_time_reply: StudyTimeReply::StudyTime },
        rollover: Rollover {
            batch_users: 25,
            keep_online: true,
            last_timeout: Duration::from_secs(600),
            retry_max: Duration::from_secs(10),
            stamp: false,
            time_zone: TimeZone::named("Asia/Seoul").unwrap(),
        },
        log: Log {
            level: "info".to_owned(),
            format: LogFormat::Auto,
            journald_socket: "/run/systemd/journal/socket".to_owned(),
            max_unwritten_bytes: 1 << 20,
            max_repeats: 10,
        },
        admin: Admin {
            address: "127.0.0.1:8091".to_owned(),
            token: None,
            closed_connections_max: 10_000,
            tls: ListeningTls::default(),
        },
    };
    assert_eq!(Config::default(), expected);
    assert_eq!(load(&Sources::default()).unwrap(), expected);
    assert_eq!(load_texts(Some(""), &[]).unwrap(), expected);
}

#[test]
fn a_file_overrides_defaults_and_leaves_the_rest() {
    let text = r#"
        [[listen]]
        framing = "crlf"
        [[listen]]
        address = "[::1]:0"
        [limits]
        max_frame_bytes = "64 KiB"
        request_timeout = "1m 30s"
        max_in_flight = 0x10
        [gateways]
        room = { pool_size = 3, retry_for = "0s" }
        [rollover]
        keep_online = false
    "#;
    let listen = vec![
        Listen {
            address: "127.0.0.1:8099".to_owned(),
            framing: Framing::Crlf,
            tls: ListeningTls::default(),
        },
        Listen {
            address: "[::1]:0".to_owned(),
            framing: Framing::Length4,
            tls: ListeningTls::default(),
        },
    ];
    let mut expected = Config { listen, ..Config::default() };
    expected.limits.max_frame_bytes = 65_536;
    expected.limits.request_timeout = Duration::from_secs(90);
    expected.limits.max_in_flight = 16;
    expected.gateways.room.pool_size = 3;
    expected.gateways.room_retry_for = Duration::ZERO;
    expected.rollover.keep_online = false;
    assert_eq!(load_texts(Some(text), &[]).unwrap(), expected);
}

#[test]
fn every_mistake_of_a_file_is_told_at_once_each_with_its_place() {
    let text = r#"colour = "red"
[limits]
max_frame_byte = 1
max_in_flight = 0
request_timeout = 8

[gateways.room]
pool_size = "ten"
[gateways.signaling]
retry_for = "60s"
[[listen]]
adress = "127.0.0.1:1"
framing = "lenght4"
"#;
    check(
        text,
        &[
            "stated.toml:1:1: colour: unknown key; at the top there are listen, peers, open, \
             limits, store, gateways, signaling, rollover, log, admin",
            "stated.toml:3:1: limits.max_frame_byte: unknown key; did you mean max_frame_bytes? \
             [limits] has max_frame_bytes, max_in_flight, max_connections, \
             max_connections_per_address, max_frames_per_second, max_unread_reply_bytes, \
             max_buffer_bytes, max_late_requests, frame_timeout, unread_timeout, backlog_timeout, \
             request_timeout, handshake_timeout, shutdown_grace",
            "stated.toml:4:17: limits.max_in_flight: found 0, expected a whole number from 1 to \
             65536",
            "stated.toml:5:19: limits.request_timeout: found 8 (a number without a unit), \
             expected a duration as in \"500ms\", \"10s\" or \"1h 30m\", from 1ms to 1h",
            "stated.toml:8:13: gateways.room.pool_size: found \"ten\", expected a whole number \
             from 1 to 1000",
            "stated.toml:10:1: gateways.signaling.retry_for: unknown key; did you mean \
             gateways.room.retry_for? [gateways.signaling] has address, framing, pool_size, \
             connect_timeout, reply_timeout, max_frame_bytes, tls",
            "stated.toml:12:1: listen[0].adress: unknown key; did you mean address? [[listen]] \
             has address, framing, tls",
            "stated.toml:13:11: listen[0].framing: found \"lenght4\", expected \"length4\", \
             \"length2\", \"length1\", \"crlf\" or \"lf\"; did you mean \"length4\"?",
        ],
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_shown_with_what_is_allowed() {
    let count = "expected a whole number from 1 to 1000";
    for (value, found) in [
        ("0", "0"),
        ("1001", "1001"),
        ("-1", "-1"),
        ("1.5", "1.5"),
        ("true", "true"),
        ("99999999999999999999", "99999999999999999999"),
        ("\"10\"", "\"10\""),
        ("[1]", "an array"),
        ("{ a = 1 }", "a table"),
        ("2026-11-20", "2026-11-20"),
    ] {
        check(
            &format!("gateways.auth.pool_size = {value}"),
            &[&format!("stated.toml:1:27: gateways.auth.pool_size: found {found}, {count}")],
        );
    }
    let flag = "stated.toml:1:18: rollover.stamp: found \"yes\", expected true or false";
    check("rollover.stamp = \"yes\"", &[flag]);
}

#[test]
fn a_duration_has_a_unit_and_a_range() {
    for (value, millis) in
        [("500ms", 500), ("10s", 10_000), ("10m", 600_000), ("1h", 3_600_000), ("1.5 s", 1_500)]
    {
        let config = load_texts(Some(&format!("limits.request_timeout = \"{value}\"")), &[]);
        assert_eq!(config.unwrap().limits.request_timeout, Duration::from_millis(millis));
    }
    for (value, found) in [
        ("10", "10 (a number without a unit)"),
        ("\"10\"", "\"10\" (a number without a unit)"),
        ("\"\"", "\"\""),
        ("\"0s\"", "\"0s\""),
        ("\"-1s\"", "\"-1s\""),
        ("\"61m\"", "\"61m\""),
        ("\"ten seconds\"", "\"ten seconds\""),
        ("\"1 year\"", "\"1 year\""),
        ("\"9999999999999999999h\"", "\"9999999999999999999h\""),
        ("true", "true"),
    ] {
        let expected = format!(
            "stated.toml:1:26: limits.request_timeout: found {found}, expected a duration as in \
             \"500ms\", \"10s\" or \"1h 30m\", from 1ms to 1h"
        );
        check(&format!("limits.request_timeout = {value}"), &[&expected]);
    }
    check("limits.shutdown_grace = \"0s\"", &[]);
}

#[test]
fn a_size_is_bytes_or_has_a_unit() {
    for (value, bytes) in [
        ("1", 1),
        ("\"512\"", 512),
        ("\"512 B\"", 512),
        ("\"64KiB\"", 65_536),
        ("\"1 MiB\"", 1_048_576),
        ("\"10 MB\"", 10_000_000),
        ("\"10 mb\"", 10_000_000),
        ("1_000", 1_000),
    ] {
        let config = load_texts(Some(&format!("limits.max_frame_bytes = {value}")), &[]);
        assert_eq!(config.unwrap().limits.max_frame_bytes, bytes);
    }
    for (value, found) in [
        ("0", "0"),
        ("-1", "-1"),
        ("\"1 GiB\"", "\"1 GiB\""),
        ("\"1.5 MiB\"", "\"1.5 MiB\" (the units are B, KB, MB, GB, KiB, MiB and GiB)"),
        ("\"1 megabyte\"", "\"1 megabyte\" (the units are B, KB, MB, GB, KiB, MiB and GiB)"),
        ("\"MiB\"", "\"MiB\" (no whole number)"),
        ("\"99999999999 GiB\"", "\"99999999999 GiB\" (more than can be counted)"),
    ] {
        let expected = format!(
            "stated.toml:1:26: limits.max_frame_bytes: found {found}, expected bytes as a whole \
             number or as in \"64 KiB\" or \"1 MiB\", from 1 B to 256 MiB"
        );
        check(&format!("limits.max_frame_bytes = {value}"), &[&expected]);
    }
}

#[test]
fn a_quoted_name_is_not_taken_apart() {
    let top = "at the top there are listen, peers, open, limits, store, gateways, signaling, rollover, log, admin";
    check(
        "\"limits.max_in_flight\" = 5\n\"a\\nb\" = 1\n",
        &[
            &format!("stated.toml:1:1: \"limits.max_in_flight\": unknown key; {top}"),
            &format!("stated.toml:2:1: \"a\\nb\": unknown key; {top}"),
        ],
    );
}

#[test]
fn what_is_in_the_wrong_table_is_pointed_to_the_right_one() {
    check(
        "[store]\nfield_style = \"plain\"\n[gateway.room]\npool_size = 1\n",
        &[
            "stated.toml:2:1: store.field_style: unknown key; did you mean \
             store.redis.field_style? [store] has url, redis",
            "stated.toml:3:2: gateway: unknown key; did you mean gateways? at the top there are \
             listen, peers, open, limits, store, gateways, signaling, rollover, log, admin",
        ],
    );
    check(
        "limits = 5\nstore = \"memory:\"\n[gateways]\nroom = []\n",
        &[
            "stated.toml:1:10: limits: found 5, expected a table: [limits]",
            "stated.toml:2:9: store: found a string, expected a table: [store]",
            "stated.toml:4:8: gateways.room: found an array, expected a table: [gateways.room]",
        ],
    );
}

#[test]
fn listeners_are_tables_with_an_address_of_their_own() {
    let expected = "expected one table or more: [[listen]]";
    check("listen = []", &[&format!("stated.toml:1:10: listen: found an empty array, {expected}")]);
    check(
        "[listen]\naddress = \"h:1\"",
        &[&format!("stated.toml:1:1: listen: found a table, {expected}")],
    );
    check("listen = [5]", &["stated.toml:1:11: listen[0]: found 5, expected a table: [[listen]]"]);
    let twice = "[[listen]]\n[[listen]]\naddress = \"h:1\"\n[[listen]]\nframing = \"lf\"\n";
    let why = "found \"127.0.0.1:8099\" (the address of listen[0]), expected an address of its \
               own for each listener";
    check(twice, &[&format!("stated.toml:4:1: listen[2].address: {why}")]);
    let by_variable = format!("STATED_LISTEN__1__FRAMING: listen[1].address: {why}");
    check_variables(&[("STATED_LISTEN__1__FRAMING", "lf")], &[&by_variable]);
    // What could not be read is not compared.
    let missing = "found \"h\" (the port is missing), expected HOST:PORT";
    check(
        "[[listen]]\naddress = \"h\"\n[[listen]]\naddress = \"h\"\n",
        &[
            &format!("stated.toml:2:11: listen[0].address: {missing}"),
            &format!("stated.toml:4:11: listen[1].address: {missing}"),
        ],
    );
    check("[[listen]]\naddress = \"h:0\"\n[[listen]]\naddress = \"h:0\"\n", &[]);
}

#[test]
fn a_file_that_is_not_toml_is_told_line_by_line_with_the_mistakes_that_are_certain() {
    check(
        "[limits]\nmax_in_flight =\nmax_frame_byt = 5\n[log]\nlevel = info\nlevel = \"warn\"\n",
        &[
            "stated.toml:2:16: not TOML: string values must be quoted, expected literal string",
            "stated.toml:3:1: limits.max_frame_byt: unknown key; did you mean max_frame_bytes? \
             [limits] has max_frame_bytes, max_in_flight, max_connections, \
             max_connections_per_address, max_frames_per_second, max_unread_reply_bytes, \
             max_buffer_bytes, max_late_requests, frame_timeout, unread_timeout, backlog_timeout, \
             request_timeout, handshake_timeout, shutdown_grace",
            "stated.toml:5:9: not TOML: string values must be quoted",
            "stated.toml:6:1: not TOML: duplicate key level",
        ],
    );
    check(
        "[limits\nmax_in_flight = 5\n",
        &["stated.toml:1:8: not TOML: unclosed table, expected `]`"],
    );
}

#[test]
fn texts_with_a_grammar_of_their_own_are_checked() {
    let zone = "expected the IANA name of a time zone";
    let soul = "(no such time zone; did you mean \"Asia/Seoul\"?)";
    let port = "(the port is not a number from 1 to 65535)";
    for (key, value, expected) in [
        ("rollover.time_zone", "\"Asia/Soul\"", format!("\"Asia/Soul\" {soul}, {zone}")),
        ("rollover.time_zone", "\"\"", format!("\"\" (no such time zone), {zone}")),
        ("gateways.auth.address", "\"h:0\"", format!("\"h:0\" {port}, expected HOST:PORT")),
        ("gateways.auth.address", "8019", "8019, expected HOST:PORT".to_owned()),
    ] {
        let place = format!("stated.toml:1:{}", key.len() + 4);
        check(&format!("{key} = {value}"), &[&format!("{place}: {key}: found {expected}")]);
    }
    for zone in ["Asia/Seoul", "UTC", "America/Argentina/Buenos_Aires"] {
        let config = load_texts(Some(&format!("rollover.time_zone = \"{zone}\"")), &[]).unwrap();
        assert_eq!(config.rollover.time_zone.zone().iana_name(), Some(zone));
    }
}

#[test]
fn a_log_level_is_a_level_or_a_filter() {
    for good in ["debug", "WARN", "off", "info,stated::store=trace", "stated[{peer}]=debug"] {
        check(&format!("log.level = \"{good}\""), &[]);
    }
    for (bad, why) in [
        ("inof", "no such level; did you mean \"info\"?"),
        ("stated", "no such level; a module's is written MODULE=LEVEL"),
        ("info,", "no such level; a module's is written MODULE=LEVEL"),
        ("", "no such level; a module's is written MODULE=LEVEL"),
        ("stated=loud", "no such level; there are off, error, warn, info, debug, trace"),
        ("stated[{peer=u1}]=debug", "\"stated[{peer=u1}]=debug\" is not written MODULE=LEVEL"),
    ] {
        let expected = format!(
            "stated.toml:1:13: log.level: found \"{bad}\" ({why}), expected {}",
            checks::FILTER_EXPECTED
        );
        check(&format!("log.level = \"{bad}\""), &[&expected]);
    }
}

#[test]
fn variables_override_the_file() {
    let file = "[store]\nurl = \"memory:\"\n[[listen]]\nframing = \"lf\"\n";
    let variables = [
        ("STATED_STORE__URL", "embedded:/var/lib/stated"),
        ("STATED_LIMITS__MAX_FRAME_BYTES", "2 MiB"),
        ("STATED_GATEWAYS__ROOM__MAX_QUEUE", "5"),
        ("STATED_ROLLOVER__STAMP", "true"),
        ("STATED_LISTEN__1__FRAMING", "crlf"),
        ("STATED_LISTEN__1__ADDRESS", "localhost:1"),
        ("STATED_LISTEN__0__ADDRESS", "localhost:2"),
    ];
    let mut expected = Config::default();
    expected.store.url = StoreUrl::Embedded(PathBuf::from("/var/lib/stated"));
    expected.limits.max_frame_bytes = 2 << 20;
    expected.gateways.room_queue_max = 5;
    expected.rollover.stamp = true;
    expected.listen = vec![
        Listen {
            address: "localhost:2".to_owned(),
            framing: Framing::Lf,
            tls: ListeningTls::default(),
        },
        Listen {
            address: "localhost:1".to_owned(),
            framing: Framing::Crlf,
            tls: ListeningTls::default(),
        },
    ];
    assert_eq!(load_texts(Some(file), &variables).unwrap(), expected);
}

#[test]
fn a_mistake_in_a_variable_names_the_variable() {
    check_variables(
        &[
            ("STATED_LIMITS__MAX_IN_FLIGHT", "many"),
            ("STATED_LIMITS__REQUEST_TIMEOUT", "8"),
            ("STATED_STORE__ULR", "memory:"),
            ("STATED_STORE_URL", "memory:"),
            ("STATED_LISTEN__5__ADDRESS", "localhost:1"),
            ("STATED_LISTEN__0__FRAMING", "length3"),
        ],
        &[
            "STATED_LIMITS__MAX_IN_FLIGHT: limits.max_in_flight: found \"many\", expected a whole \
             number from 1 to 65536",
            "STATED_LIMITS__REQUEST_TIMEOUT: limits.request_timeout: found 8 (a number without a \
             unit), expected a duration as in \"500ms\", \"10s\" or \"1h 30m\", from 1ms to 1h",
            "STATED_LISTEN__0__FRAMING: listen[0].framing: found \"length3\", expected \
             \"length4\", \"length2\", \"length1\", \"crlf\" or \"lf\"; did you mean \"length4\"?",
            "STATED_LISTEN__5__ADDRESS: listen[5].address: found listener 5 (they are counted \
             from 0), expected at most 1, which is the next one",
            "STATED_STORE_URL: unknown key; did you mean STATED_STORE__URL? a key's variable is \
             STATED_ and the key, with __ for each dot",
            "STATED_STORE__ULR: unknown key; did you mean STATED_STORE__URL? a key's variable is \
             STATED_ and the key, with __ for each dot",
        ],
    );
}

#[test]
fn variables_of_others_are_left_alone() {
    check_variables(
        &[
            ("STATED_CONFIG", "stated.toml"),
            ("STATED_PORT", "tcp://10.0.0.1:8099"),
            ("STATED_PORT_8099_TCP_ADDR", "10.0.0.1"),
            ("STATED_SERVICE_HOST", "10.0.0.1"),
            ("RUST_LOG", "debug"),
        ],
        &[],
    );
}

#[test]
fn flags_override_variables_and_name_themselves_in_mistakes() {
    let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    let mut sources = Sources {
        environment: vec![
            variable("STATED_STORE__URL", "memory:"),
            variable("STATED_LISTEN__0__FRAMING", "crlf"),
            variable("STATED_LISTEN__1__ADDRESS", "localhost:1"),
        ],
        listen: Some("localhost:1".to_owned()),
        store: Some("embedded:there".to_owned()),
        ..Sources::default()
    };
    let config = load(&sources).unwrap();
    let only = Listen {
        address: "localhost:1".to_owned(),
        framing: Framing::Crlf,
        tls: ListeningTls::default(),
    };
    assert_eq!(config.listen, [only]);
    assert_eq!(config.store.url, StoreUrl::Embedded(PathBuf::from("there")));

    sources.listen = Some("8099".to_owned());
    sources.store = Some("reddis://:secret@h".to_owned());
    assert_eq!(
        said(load(&sources)),
        [
            "--listen: listen[0].address: found 8099, expected HOST:PORT".to_owned(),
            format!(
                "--store: store.url: found \"reddis:…\" (no such scheme; did you mean redis:?), \
                 expected {}",
                store_url::EXPECTED
            ),
        ]
    );
}

#[test]
fn a_file_that_can_not_be_read_is_one_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"\xff\xfe").unwrap();
    for (path, expected) in [
        (&missing, "can't be read: No such file or directory (os error 2)"),
        (&binary, "can't be read: it is not UTF-8"),
    ] {
        assert_eq!(said(super::check(path)), [format!("{}: {expected}", path.display())]);
    }
}

#[test]
fn no_password_is_ever_printed() {
    let urls = [
        "redis://user:hunter2@host:6379/0",
        "redis://:hunter2@host:port",
        "redis://user:hunter2",
        "redis://hunter2@host",
        "redis://user:hunter2/x@host",
        "redis://user:a#hunter2@host",
        "redis://user: hunter2@host",
        "redis//user:hunter2@host",
        "user:hunter2@host:6379",
        "hunter2",
        "http://user:hunter2@host",
        "rediss://user:hunter2@host",
        "redis+cluster://user:hunter2@a:1,b:2",
        "redis+cluster://user:hunter2@a:1,b:2/3",
        "redis+sentinel://user:hunter2@a:1,b:2/main",
        "redis+sentinel://user:hunter2@a:1,b:2",
    ];
    for url in urls {
        for line in [
            format!("store.url = \"{url}\""),
            format!("store.url = \"{url}"),
            format!("store.url = {url}"),
            format!("store.url = \"memory:\" {url}"),
        ] {
            match load_texts(Some(&line), &[]) {
                Ok(config) => {
                    assert!(!format!("{config:?} {}", config.store.url).contains("hunter2"));
                }
                Err(errors) => {
                    assert!(!format!("{errors}").contains("hunter2"), "{errors}");
                    assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
                }
            }
        }
    }
    // Even a URL under the wrong key.
    check(
        "gateways.room.address = \"redis://user:hunter2@host:6379\"",
        &["stated.toml:1:25: gateways.room.address: found \"redis://***@host:6379\" (an address \
           has no scheme), expected HOST:PORT"],
    );
}

proptest! {
    /// Whatever happens to the example file in an editor, there is an answer, and a mistake is one
    /// line with the place where it was made.
    #[test]
    fn a_mangled_file_is_read_or_explained(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..20, ".{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> =
            include_str!("../../examples/stated.toml").chars().collect();
        for (at, removed, added) in edits {
            let start = at.index(text.len());
            let end = text.len().min(start + removed);
            text.splice(start..end, added.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(errors) = load_texts(Some(&text), &[]) {
            prop_assert!(!errors.mistakes.is_empty());
            for mistake in errors.mistakes {
                let line = mistake.to_string();
                prop_assert!(line.starts_with("stated.toml:"), "{line}");
                prop_assert!(!line.contains('\n'), "{line}");
            }
        }
    }
}

#[test]
fn nesting_without_end_is_a_mistake_and_not_the_end() {
    for text in [format!("a = {}", "[".repeat(50_000)), format!("a{} = 1", ".a".repeat(50_000))] {
        load_texts(Some(&text), &[]).unwrap_err();
    }
}

#[test]
fn who_may_speak_is_read_entry_by_entry() {
    let text = r#"
        open = true
        [[peers]]
        name = "room service"
        certificate = ["DNS:Room.Fleet", "URI:spiffe://fleet/Room", "IP:FD00:0::7"]
        addresses = ["10.1.0.0/16", "::1"]
        servers = ["room", "signaling"]
        [[peers]]
        addresses = "::1"
        servers = "*"
    "#;
    let config = load_texts(Some(text), &[]).unwrap();
    let [room, local] = config.peers.as_slice() else { panic!("{:?}", config.peers) };
    assert_eq!(room.certificate, ["DNS:room.fleet", "URI:spiffe://fleet/Room", "IP:fd00::7"]);
    assert_eq!(room.servers, Servers::only(Server::Room).and(Servers::only(Server::Signaling)));
    assert_eq!((local.name.as_str(), local.servers), ("", Servers::ALL));
    let listed: Vec<_> = config
        .listed()
        .into_iter()
        .filter(|(key, _)| key.starts_with("peers") || key == "open")
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    assert_eq!(
        listed,
        [
            "peers[0].name = room service",
            "peers[0].certificate = DNS:room.fleet, URI:spiffe://fleet/Room, IP:fd00::7",
            "peers[0].addresses = 10.1.0.0/16, ::1",
            "peers[0].servers = signaling, room",
            "peers[1].name = ",
            "peers[1].certificate = ",
            "peers[1].addresses = ::1",
            "peers[1].servers = chat, signaling, signaling_scheduling, auth, room",
            "open = true",
        ]
    );
}

#[test]
fn what_is_wrong_with_an_entry_of_peers_names_the_entry_and_the_element() {
    let servers = "a list of \"chat\", \"signaling\", \"signaling_scheduling\", \"auth\", \
                   \"room\" or \"*\"";
    let networks = "IP addresses or networks, as in [\"10.1.0.0/16\", \"::1\"]";
    let names = "names of a client certificate, as in [\"DNS:room.fleet\", \
                 \"URI:spiffe://fleet/room\", \"IP:10.0.0.7\"]";
    check(
        r#"[[peers]]
addresses = ["10.0.0.0/8", "10.1.0.0/8"]
certificate = ["room.fleet", 7]
servers = ["room", "singaling"]
server = "room"
[[peers]]
name = "a"
[[peers]]
name = "a"
certificate = ["DNS:a"]
servers = 1
[[peers]]
name = "a"
certificate = ["DNS:a"]
servers = "room"
"#,
        &[
            &format!(
                "stated.toml:2:13: peers[0].addresses: found \"10.1.0.0/8\" (bits beyond the first \
                 8 are set; the network is 10.0.0.0/8), expected {networks}"
            ),
            &format!(
                "stated.toml:3:15: peers[0].certificate: found \"room.fleet\" (it does not begin \
                 with DNS:, URI: or IP:), expected {names}"
            ),
            &format!(
                "stated.toml:4:11: peers[0].servers: found \"singaling\", expected {servers}; did \
                 you mean \"signaling\"?"
            ),
            "stated.toml:5:1: peers[0].server: unknown key; did you mean servers? [[peers]] has \
             name, certificate, addresses, servers",
            "stated.toml:6:1: peers[1]: found neither certificate nor addresses, expected one of \
             them or both",
            "stated.toml:6:1: peers[1].servers: found none, expected at least one, or \"*\" for all",
            &format!("stated.toml:11:11: peers[2].servers: found 1, expected {servers}"),
            "stated.toml:12:1: peers[3].name: found \"a\" (the name of peers[1]), expected a name \
             of its own for each entry",
        ],
    );
    let expected = "expected one table or more: [[peers]]";
    check("peers = []", &[&format!("stated.toml:1:9: peers: found an empty array, {expected}")]);
    check("peers = 1", &[&format!("stated.toml:1:9: peers: found 1, {expected}")]);
    let crowd = "[[peers]]\naddresses = \"::1\"\nservers = \"*\"\n".repeat(peers::MAX + 1);
    check(&crowd, &["stated.toml:1:1: peers: found 1001 tables, expected at most 1000: [[peers]]"]);
}
