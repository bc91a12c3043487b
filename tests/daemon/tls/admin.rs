//! The admin server over HTTPS: who gets an answer, and who can ask with the commands.

use std::io::{self, Read, Write};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustls::ClientConfig;

use crate::certificates::{Authority, Days, Issued, TlsStream, connect};
use crate::harness::{Daemon, Setup, wait_until};
use crate::http::admin_address;
use crate::status::{ask, complained, said};

const LOCALHOST: &[&str] = &["IP:127.0.0.1", "DNS:localhost"];
const GET: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n";

fn admin(own: &Issued, more: &str) -> Setup {
    Setup::new()
        .key("admin.address", "\"127.0.0.1:0\"")
        .key("admin.tls", &format!("{{ {}{more} }}", own.keys()))
}

fn client_ca(authority: &Authority, auth: &str) -> String {
    format!(", client_ca = {:?}, client_auth = \"{auth}\"", authority.file())
}

/// The status line, or why there is none.
fn try_get(daemon: &Daemon, client: &Arc<ClientConfig>) -> io::Result<String> {
    let mut stream = connect(admin_address(daemon), client, "localhost")?;
    stream.write_all(&[GET, b"Connection: close\r\n\r\n"].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

fn assert_answered(daemon: &Daemon, client: &Arc<ClientConfig>) {
    assert_eq!(try_get(daemon, client).unwrap(), "HTTP/1.1 200 OK");
}

fn assert_turned_away(daemon: &Daemon, client: &Arc<ClientConfig>, why: &str) {
    try_get(daemon, client).unwrap_err();
    let told = format!("the admin server can't speak TLS with a client: {why}");
    wait_until(&told, || daemon.log.has(&told));
}

#[test]
fn whoever_trusts_the_authority_is_answered_and_nobody_in_the_clear() {
    let (authority, other) = (Authority::new(), Authority::new());
    let daemon = admin(&authority.issue("admin", LOCALHOST), "").start();
    assert_answered(&daemon, &authority.client(None));
    let why = "it does not know the authority of our certificate";
    assert_turned_away(&daemon, &other.client(None), why);
    let mut clear = std::net::TcpStream::connect(admin_address(&daemon)).unwrap();
    clear.write_all(&[GET, b"\r\n"].concat()).unwrap();
    let mut answer = Vec::new();
    drop(clear.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_answered(&daemon, &authority.client(None));
}

#[test]
fn a_client_certificate_that_is_required_has_to_be_right() {
    let (authority, other) = (Authority::new(), Authority::new());
    let own = authority.issue("admin", LOCALHOST);
    let daemon = admin(&own, &client_ca(&authority, "required")).start();
    let shows = |issued: &Issued| authority.client(Some(issued));
    assert_answered(&daemon, &shows(&authority.issue("operator", &["DNS:operator"])));
    assert_turned_away(&daemon, &authority.client(None), "it shows no certificate");
    let stranger = other.issue("operator", &["DNS:operator"]);
    let why = "its certificate is from an unknown authority";
    assert_turned_away(&daemon, &shows(&stranger), why);
    let late = authority.issue_for("late", &["DNS:operator"], Days(-30, -1));
    assert_turned_away(&daemon, &shows(&late), "its certificate has expired");
}

#[test]
fn a_client_certificate_that_is_optional_may_be_missing_and_not_wrong() {
    let (authority, other) = (Authority::new(), Authority::new());
    let own = authority.issue("admin", LOCALHOST);
    let daemon = admin(&own, &client_ca(&authority, "optional")).start();
    assert_answered(&daemon, &authority.client(None));
    let stranger = other.issue("operator", &["DNS:operator"]);
    let why = "its certificate is from an unknown authority";
    assert_turned_away(&daemon, &authority.client(Some(&stranger)), why);
}

/// One request on a connection that stays.
fn ask_again(stream: &mut TlsStream) {
    stream.write_all(&[GET, b"\r\n"].concat()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}\n") {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&chunk[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
}

#[test]
fn a_renewed_certificate_is_presented_at_once_and_costs_no_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let own = old.issue("admin", LOCALHOST);
    let setup = admin(&own, "");
    let daemon = setup.start();
    let mut standing = connect(admin_address(&daemon), &old.client(None), "localhost").unwrap();
    ask_again(&mut standing);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A client that stays away for long is hung up on, so this one never rests.
        let asking = scope.spawn(|| {
            while !over.load(SeqCst) {
                ask_again(&mut standing);
            }
            ask_again(&mut standing);
        });
        own.replace_by(&new.issue("admin", LOCALHOST));
        daemon.reload(&setup);
        assert_answered(&daemon, &new.client(None));
        let why = "it does not know the authority of our certificate";
        assert_turned_away(&daemon, &old.client(None), why);
        over.store(true, SeqCst);
        asking.join().unwrap();
    });
}

#[test]
fn an_authority_that_is_taken_back_is_gone_with_the_reload() {
    let (authority, next) = (Authority::new(), Authority::new());
    let own = authority.issue("admin", LOCALHOST);
    let daemon = admin(&own, &client_ca(&authority, "required")).start();
    let operator = authority.client(Some(&authority.issue("operator", &["DNS:operator"])));
    assert_answered(&daemon, &operator);
    daemon.reload(&admin(&own, &client_ca(&next, "required")));
    let why = "its certificate is from an unknown authority";
    assert_turned_away(&daemon, &operator, why);
}

#[test]
fn the_commands_ask_over_tls_and_say_what_is_wrong() {
    let (authority, other) = (Authority::new(), Authority::new());
    let own = authority.issue("admin", LOCALHOST);
    let daemon = admin(&own, &client_ca(&authority, "required")).start();
    let operator = authority.issue("operator", &["DNS:operator"]);
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let [ca, strange] = [&authority, &other].map(|authority| text(&authority.file()));
    let (cert, key) = (text(&operator.cert), text(&operator.key));
    let run =
        |arguments: &[&str]| -> Output { ask(admin_address(&daemon), arguments).output().unwrap() };
    let good = run(&["status", "--ca", &ca, "--cert", &cert, "--key", &key]);
    assert!(good.status.success(), "{}", complained(&good));
    assert!(said(&good).contains("stated"), "{}", said(&good));
    let night = run(&["night", "status", "--ca", &ca, "--cert", &cert, "--key", &key]);
    assert!(night.status.success(), "{}", complained(&night));
    for (arguments, why) in [
        (vec!["status", "--ca", &strange], "its certificate is from an unknown authority"),
        (vec!["status", "--ca", &ca], "CertificateRequired"),
        (vec!["status", "--ca", "/none"], "can't be read"),
    ] {
        let bad = run(&arguments);
        assert!(!bad.status.success() && complained(&bad).contains(why), "{}", complained(&bad));
    }
}
