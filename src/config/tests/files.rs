//! What a file says, and what is wrong with one.

use proptest::prelude::*;

use super::*;

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
             request_timeout, handshake_timeout, shutdown_grace, connection_threads",
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
             request_timeout, handshake_timeout, shutdown_grace, connection_threads",
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
fn a_file_that_can_not_be_read_is_one_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"\xff\xfe").unwrap();
    for (path, expected) in [
        (&missing, "can't be read: No such file or directory (os error 2)"),
        (&binary, "can't be read: it is not UTF-8"),
    ] {
        assert_eq!(said(super::super::check(path)), [format!("{}: {expected}", path.display())]);
    }
}

proptest! {
    /// Whatever happens to the example file in an editor, there is an answer, and a mistake is one
    /// line with the place where it was made.
    #[test]
    fn a_mangled_file_is_read_or_explained(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..20, ".{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> =
            include_str!("../../../examples/stated.toml").chars().collect();
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
