//! What variables and flags say, and what is wrong with them.

use super::*;

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
