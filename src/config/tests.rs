//! The configuration as a whole: sources in, a configuration or the complete list of mistakes out.

use super::*;

/// Loads a file called `stated.toml` with this text, and these variables.
fn load_texts(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Config, Errors> {
    let mut draft = Draft::of_defaults();
    if let Some(text) = file {
        file::read_text(Path::new("stated.toml"), text, &mut draft);
    }
    let pair = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    environment::read(&variables.iter().map(pair).collect::<Vec<_>>(), &mut draft);
    draft.finish()
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
    }
}

#[test]
fn with_nothing_given_every_field_has_its_documented_default() {
    let expected = Config {
        listen: vec![Listen { address: "127.0.0.1:8099".to_owned(), framing: Framing::Length4 }],
        limits: Limits {
            max_frame_bytes: 1_048_576,
            max_in_flight: 64,
            max_connections: 10_000,
            max_unread_reply_bytes: 256 * 1024,
            request_timeout: Duration::from_secs(8),
            shutdown_grace: Duration::from_secs(20),
        },
        store: Store {
            url: StoreUrl::Embedded(PathBuf::from("./stated-data")),
            redis: Redis {
                field_style: FieldStyle::Plain,
                connect_timeout: Duration::from_secs(1),
                command_timeout: Duration::from_secs(2),
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
            stamp: false,
            time_zone: "Asia/Seoul".to_owned(),
        },
        log: Log { level: "info".to_owned(), format: LogFormat::Auto },
    };
    assert_eq!(Config::default(), expected);
    assert_eq!(load(&Sources::default()).unwrap(), expected);
    assert_eq!(load_texts(Some(""), &[]).unwrap(), expected);
}

#[test]
fn the_example_file_holds_exactly_the_defaults() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stated.toml");
    match check_file(&example) {
        Ok(config) => assert_eq!(config, Config::default()),
        Err(errors) => panic!("{errors}"),
    }
}

fn check_file(path: &Path) -> Result<Config, Errors> {
    super::check(path)
}
