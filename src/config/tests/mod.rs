//! The configuration as a whole: sources in, a configuration or the complete list of mistakes out.

mod files;
mod values;
mod variables;

use super::*;

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
            connection_threads: 0,
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
