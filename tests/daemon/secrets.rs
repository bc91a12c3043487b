//! Nothing that the daemon ever says, to anybody, in any way, holds a secret.

use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::harness::{Daemon, Setup, WAIT_MAX, command, wait_until, write_config};
use crate::http::{admin_address, observed, request};
use crate::place::{Place, wait_for};
use crate::requests::{enter, heartbeat, kick_out, last, leave, listing, subscribe};
use crate::servers::redis::RedisServer;
use crate::wire::Framing;

/// The password that Redis wants.
const PASSWORD: &str = "p4ssw0rd-in-the-url";
/// The one it wants later.
const OTHER_PASSWORD: &str = "0ther-p4ssw0rd";
/// What operators have to know.
const TOKEN: &str = "t0ken-from-a-credential";
/// What they have to know after a reload.
const NEXT_TOKEN: &str = "t0ken-of-the-next-day";
/// What somebody takes for the token.
const GUESS: &str = "t0ken-that-is-a-guess";
/// What stands in a file that is named as a key.
const KEY: &str = "k3y-that-is-a-text";
/// None of these, nor a part that would give them away.
const SECRETS: [&str; 7] = [PASSWORD, OTHER_PASSWORD, TOKEN, NEXT_TOKEN, GUESS, KEY, "t0k"];

const PATHS: [&str; 17] = [
    "/livez",
    "/readyz",
    "/metrics",
    "/api/v1/openapi.json",
    "/api/v1/status",
    "/api/v1/users/u1",
    "/api/v1/sessions/s1",
    "/api/v1/rooms",
    "/api/v1/rooms/7",
    "/api/v1/connections",
    "/api/v1/connections/closed",
    "/api/v1/connections/1",
    "/api/v1/gateways",
    "/api/v1/night",
    "/api/v1/night/plan",
    "/api/v1/night/history",
    "/api/v1/configuration",
];

/// All that was said, with where.
#[derive(Default)]
struct Said {
    said: Vec<(String, String)>,
    /// Lines of keys, secret too.
    key_lines: Vec<String>,
}

impl Said {
    fn add(&mut self, place: &str, text: impl Into<String>) {
        self.said.push((place.to_owned(), text.into()));
    }

    fn add_output(&mut self, place: &str, output: &Output) {
        for text in [&output.stdout, &output.stderr] {
            self.add(place, String::from_utf8_lossy(text));
        }
    }

    /// What the system shows of the process to everybody, and what it wrote into its folder.
    fn add_traces(&mut self, daemon: &Daemon) {
        for file in ["cmdline", "comm", "limits"] {
            let shown = fs::read(format!("/proc/{}/{file}", daemon.id())).unwrap();
            self.add(file, String::from_utf8_lossy(&shown));
        }
        let folder = fs::read_link(format!("/proc/{}/cwd", daemon.id())).unwrap();
        for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.is_file() && !file.ends_with("stated.toml") {
                self.add(
                    &file.display().to_string(),
                    String::from_utf8_lossy(&fs::read(&file).unwrap()),
                );
            }
        }
    }

    fn assert_without_secrets(&self) {
        let keys = self.key_lines.iter().map(String::as_str);
        let secrets: Vec<&str> = SECRETS.into_iter().chain(keys).collect();
        for (place, text) in &self.said {
            for secret in &secrets {
                assert!(!text.contains(secret), "{place} says {secret}: {text}");
            }
        }
    }
}

/// A certificate and its key in `folder`, by name.
fn write_key(folder: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert, key)
}

/// What of a key's file nobody may see.
fn lines_of_key(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned).collect()
}

fn url(redis: &RedisServer, password: &str) -> String {
    format!("redis://:{password}@127.0.0.1:{}/", redis.port)
}

/// Redis wants this password from now on, and from everybody again.
fn demand(redis: &RedisServer, password: &str, before: Option<&str>) {
    let mut cli = Command::new("redis-cli");
    cli.args(["-p", &redis.port.to_string()]).env_remove("REDISCLI_AUTH");
    cli.envs(before.map(|before| ("REDISCLI_AUTH", before)));
    cli.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut cli = cli.spawn().unwrap();
    let lines = format!("CONFIG SET requirepass {password}\nCLIENT KILL TYPE normal SKIPME yes\n");
    std::io::Write::write_all(&mut cli.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    assert!(cli.wait().unwrap().success());
}

fn setup(url: &str) -> Setup {
    observed(Setup::new()).keeps(&Place::at(url)).key("log.level", "\"trace\"")
}

/// A daemon with the token as a credential.
fn start(setup: &Setup) -> (Daemon, TempDir) {
    let (dir, credentials) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(credentials.path().join("STATED_ADMIN__TOKEN"), format!("{TOKEN}\n")).unwrap();
    let file = write_config(dir.path(), &setup.toml());
    let mut started = command(dir.path());
    started.args(["serve", "--config"]).arg(file);
    started.env("CREDENTIALS_DIRECTORY", credentials.path());
    (Daemon::adopt(dir, started, &[Framing::Length4]), credentials)
}

fn ask_all_of_the_api(daemon: &Daemon, said: &mut Said) {
    let tokens = [None, Some(GUESS), Some(TOKEN), Some(NEXT_TOKEN)];
    for authorization in tokens.map(|token| token.map(|token| format!("Bearer {token}"))) {
        let with = |method, path| {
            let asked = request(method, path);
            match &authorization {
                Some(authorization) => asked.header("Authorization", authorization),
                None => asked,
            }
        };
        for path in PATHS {
            said.add(path, format!("{:?}", with("GET", path).ask(daemon)));
        }
        let guess = format!("/api/v1/rooms?limit={}", "x");
        said.add("a wrong query", format!("{:?}", with("GET", &guess).ask(daemon)));
        for (method, path, body) in [
            ("POST", "/api/v1/night/close", "{\"day\":99}"),
            ("POST", "/api/v1/night/deliver", ""),
            ("DELETE", "/api/v1/connections/99", ""),
            ("PUT", "/api/v1/log/filter", "{\"filter\":\"nonsense\"}"),
            ("PUT", "/api/v1/log/filter", "{\"filter\":\"trace\"}"),
        ] {
            said.add(path, format!("{:?}", with(method, path).json(body).ask(daemon)));
        }
    }
}

fn ask_as_peers_do(daemon: &Daemon, said: &mut Said) {
    let mut peer = daemon.connect();
    for message in [
        heartbeat(),
        subscribe("u1", 7, "s1"),
        enter("u1"),
        leave("u1", "00:10:00"),
        kick_out("u1", 7),
        listing(&[("u1", "00:20:00")]),
        last(&[]),
        "not a message".to_owned(),
    ] {
        said.add("a reply", peer.ask(message));
    }
}

fn ask_with_the_program(daemon: &Daemon, credentials: &TempDir, said: &mut Said) {
    let address = admin_address(daemon).to_string();
    let token_file = credentials.path().join("STATED_ADMIN__TOKEN");
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["night"],
        &["night", "plan"],
        &["night", "deliver"],
    ] {
        for token in [TOKEN, GUESS, "\u{1}t0k"] {
            let mut asked = command(credentials.path());
            asked.args(arguments).args(["--admin", &address]).env("STATED_ADMIN__TOKEN", token);
            said.add_output(
                arguments[0],
                &asked.stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap(),
            );
        }
        let mut asked = command(credentials.path());
        asked.args(arguments).args(["--admin", &address]).arg("--token-file").arg(&token_file);
        said.add_output(
            arguments[0],
            &asked.stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap(),
        );
    }
}

/// Configurations with a mistake at, before or behind each secret.
fn wrong_files(redis: &RedisServer, folder: &Path) -> Vec<String> {
    let url = url(redis, PASSWORD);
    let (cert, key) = write_key(folder);
    let (text, broken) = (folder.join("text.pem"), folder.join("broken.pem"));
    fs::write(&text, KEY).unwrap();
    let marks = ["-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"];
    fs::write(&broken, [marks[0], KEY, marks[1], ""].join("\n")).unwrap();
    let tls = |cert: &Path, key: &Path| {
        format!("gateways.auth.tls = {{ ca = {cert:?}, cert = {cert:?}, key = {key:?} }}\n")
    };
    let rest = "[[listen]]\naddress = \"127.0.0.1:0\"\n";
    [
        format!("store.url = \"{}\"\n", url.replace("redis:", "redsi:")),
        format!("store.url = \"{url}?x\"\n"),
        format!("store.url = \"redis://{PASSWORD}@h\"\n"),
        format!("store.url = \"redis://:{PASSWORD}/x@h\"\n"),
        format!("store.url = \"{PASSWORD}\"\n"),
        format!("store.url = [\"{url}\"]\n"),
        format!("store.url = \"{url}\n"),
        format!("store.url = {PASSWORD}\n"),
        format!("store = \"{PASSWORD}\"\n"),
        format!("store.redis = \"{PASSWORD}\"\n"),
        format!("store.ulr = \"{url}\"\n"),
        format!("store.url = \"{url}\"\nstore.url = \"{url}\"\n"),
        format!("gateways.auth.address = \"{url}\"\n"),
        format!("admin.token = \"{TOKEN} with blanks\"\n"),
        format!("admin.token = \"{TOKEN}\n"),
        format!("admin.token = {TOKEN}\n"),
        "admin.token = \"t0k\"\nadmin.token = \"t0k\"\n".to_owned(),
        format!("admin.tokne = \"{TOKEN}\"\n"),
        format!("admin = \"{TOKEN}\"\n"),
        format!("admin.token = {{ file = \"{TOKEN}\" }}\n"),
        tls(&cert, &text),
        tls(&cert, &broken),
        tls(&text, &key),
        tls(&key, &cert),
        // The key itself, where its file should be named.
        tls(&cert, Path::new(&[marks[0], KEY].join("\n"))),
        format!("[admin]\ntoken = '''{TOKEN}\n{TOKEN}'''\n"),
    ]
    .into_iter()
    .map(|wrong| format!("{wrong}{rest}"))
    .collect()
}

#[test]
fn nothing_that_is_said_in_a_full_run_holds_a_secret() {
    let redis = wait_for(RedisServer::start());
    demand(&redis, PASSWORD, None);
    let folder = TempDir::new().unwrap();
    let (cert, key) = write_key(folder.path());
    let right = |password| {
        let tls = format!("{{ ca = {cert:?}, cert = {cert:?}, key = {key:?} }}");
        setup(&url(&redis, password)).key("gateways.auth.tls", &tls)
    };
    let (daemon, credentials) = start(&right(PASSWORD));
    let mut said = Said { key_lines: lines_of_key(&key), ..Said::default() };
    wait_until("redis lets it in", || !daemon.connect().ask(enter("u1")).contains("\"error\""));
    ask_as_peers_do(&daemon, &mut said);
    ask_all_of_the_api(&daemon, &mut said);
    ask_with_the_program(&daemon, &credentials, &mut said);
    // Another token and a password that waits for a restart; then all kinds of mistakes.
    fs::write(credentials.path().join("STATED_ADMIN__TOKEN"), NEXT_TOKEN).unwrap();
    daemon.reload(&right(OTHER_PASSWORD));
    let wrong_folder = TempDir::new().unwrap();
    for wrong in wrong_files(&redis, wrong_folder.path()) {
        daemon.reload_text(&wrong, "reload refused, nothing is changed: ");
    }
    demand(&redis, OTHER_PASSWORD, Some(PASSWORD));
    wait_until("redis lets it in no more", || {
        daemon.connect().ask(enter("u1")).contains("CHAT-031")
    });
    ask_as_peers_do(&daemon, &mut said);
    ask_all_of_the_api(&daemon, &mut said);
    ask_with_the_program(&daemon, &credentials, &mut said);
    said.add_traces(&daemon);
    let log = daemon.log.clone();
    daemon.stop_in_debt();
    for line in log.lines() {
        said.add("the log", line);
    }
    said.assert_without_secrets();
}

#[test]
fn no_mistake_in_a_configuration_is_told_with_a_secret() {
    let redis = wait_for(RedisServer::start());
    let dir = TempDir::new().unwrap();
    let mut said = Said::default();
    let wrong_files = wrong_files(&redis, dir.path());
    said.key_lines = lines_of_key(&dir.path().join("key.pem"));
    for wrong in wrong_files {
        let file = write_config(dir.path(), &wrong);
        for subcommand in ["check-config", "serve --config"] {
            let mut asked = command(dir.path());
            asked.args(subcommand.split(' ')).arg(&file);
            let output = asked.stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap();
            assert!(!output.status.success(), "{wrong}");
            said.add_output(&wrong.replace("t0k", "").replace(PASSWORD, ""), &output);
        }
        // The same as variables, where every value is a text.
        for (name, value) in [("STATED_STORE__URL", &wrong), ("STATED_ADMIN__TOKEN", &wrong)] {
            let mut asked = command(dir.path());
            asked.arg("serve").env(name, OsString::from(value));
            let output = asked.stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap();
            assert!(!output.status.success(), "{name}={value}");
            said.add_output(name, &output);
        }
    }
    said.assert_without_secrets();
}

#[test]
fn the_journal_gets_no_secret_and_hears_of_one_on_the_command_line() {
    let redis = wait_for(RedisServer::start());
    demand(&redis, PASSWORD, None);
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("journal");
    let journal = UnixDatagram::bind(&socket).unwrap();
    journal.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let file = write_config(
        dir.path(),
        &setup("memory:")
            .key("log.format", "\"journald\"")
            .key("log.journald_socket", &format!("{socket:?}"))
            .toml(),
    );
    // Not the password that Redis wants.
    let url = url(&redis, OTHER_PASSWORD);
    let mut child = command(dir.path())
        .args(["serve", "--store", &url, "--config"])
        .arg(file)
        .env("STATED_ADMIN__TOKEN", TOKEN)
        .spawn()
        .unwrap();
    let mut said = Said::default();
    // In whatever order they come.
    let mut hear = |texts: &[&str]| {
        let (mut record, mut missing) = (vec![0; 1 << 18], texts.to_vec());
        while !missing.is_empty() {
            let length = journal.recv(&mut record).unwrap();
            let heard = String::from_utf8_lossy(&record[..length]).into_owned();
            missing.retain(|text| !heard.contains(text));
            said.add("the journal", heard);
        }
    };
    hear(&["password stands on the command line", "MESSAGE=ready", "redis can't be reached"]);
    let id = child.id().to_string();
    let stopping = thread::spawn(move || {
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    });
    hear(&["MESSAGE=stopped"]);
    stopping.join().unwrap();
    assert!(child.wait().unwrap().success());
    said.assert_without_secrets();
}
