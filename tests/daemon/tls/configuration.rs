//! Files of certificates and keys: what is wrong with them is told, and refuses a start and a reload.

use std::process::Output;

use crate::certificates::{Authority, Days};
use crate::fleet::Fleet;
use crate::harness::{Setup, command, start_in_vain, wait_until, write_config};
use crate::http::{admin_address, get, observed};
use crate::requests::kick_out;
use crate::status::{ask, said};

fn check_config(setup: &Setup) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), &setup.toml());
    let mut command = command(dir.path());
    let command =
        command.args(["check-config", "stated.toml"]).stdout(std::process::Stdio::piped());
    let Output { status, stdout, stderr } =
        command.stderr(std::process::Stdio::piped()).output().unwrap();
    (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// An admin server that presents `tls`.
fn admin(tls: &str) -> Setup {
    Setup::new().key("admin.address", "\"127.0.0.1:0\"").key("admin.tls", &format!("{{ {tls} }}"))
}

fn assert_refused(tls: &str, why: &str) {
    let (good, said) = check_config(&admin(tls));
    assert!(!good && said.contains(why), "{tls}: {said}");
    assert!(said.contains("stated.toml:") && !said.contains("PRIVATE KEY-"), "{said}");
    let (status, log) = start_in_vain(&admin(tls));
    assert_eq!(status.code(), Some(2), "{tls}");
    log.tells(why);
}

#[test]
fn a_file_that_is_wrong_is_named_with_its_key_and_refuses_the_start() {
    let authority = Authority::new();
    let (own, other) = (authority.issue("own", &["DNS:a"]), authority.issue("other", &["DNS:a"]));
    let (cert, key) = (&own.cert, &own.key);
    let junk = cert.with_file_name("junk.pem");
    std::fs::write(&junk, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").unwrap();
    let other_key = &other.key;
    for (tls, why) in [
        (format!("cert = {cert:?}"), "admin.tls.cert: found ".to_owned()),
        (format!("key = {key:?}"), "its certificate is missing".to_owned()),
        (format!("cert = {cert:?}, key = {other_key:?}"), "not that of the certificate".to_owned()),
        (format!("cert = {key:?}, key = {key:?}"), "there is no certificate in it".to_owned()),
        (format!("cert = {cert:?}, key = {cert:?}"), "there is no private key in it".to_owned()),
        (format!("cert = {junk:?}, key = {key:?}"), "a section is damaged".to_owned()),
        (format!("cert = \"/none\", key = {key:?}"), "admin.tls.cert: found \"/none\"".to_owned()),
        (format!("cert = \"/\", key = {key:?}"), "it is no regular file".to_owned()),
        (format!("{}, client_ca = {key:?}", own.keys()), "admin.tls.client_ca: ".to_owned()),
        (format!("{}, client_auth = \"maybe\"", own.keys()), "\"required\" or".to_owned()),
        (String::new(), "an empty table".to_owned()),
    ] {
        assert_refused(&tls, &why);
    }
}

#[test]
fn what_is_right_is_listed_with_the_days_it_is_valid() {
    let authority = Authority::new();
    let own = authority.issue_for("own", &["DNS:a"], Days(-1, 41));
    let (good, said) = check_config(&admin(&own.keys()));
    assert!(good && said.contains("admin.tls.cert is valid until "), "{said}");
    assert!(said.contains(", 40 days left") || said.contains(", 41 days left"), "{said}");
    // What systemd hands over is there for the daemon alone.
    let (good, said) = check_config(&admin("cert = \"credential:c\", key = \"credential:k\""));
    assert!(good && said.contains("admin.tls names a credential"), "{said}");
}

#[test]
fn a_certificate_that_has_ended_is_a_warning_and_no_obstacle() {
    let authority = Authority::new();
    let own = authority.issue_for("own", &["DNS:a"], Days(-30, -1));
    let daemon = admin(&own.keys()).start();
    daemon.log.tells("admin.tls.cert ended at ");
}

#[test]
fn a_certificate_that_has_ended_makes_the_daemon_degraded_until_it_is_renewed() {
    let authority = Authority::new();
    let own = authority.issue_for("own", &["DNS:stated"], Days(-30, -1));
    let setup = observed(Setup::new()).over_tls(&own.keys());
    let daemon = setup.start();
    let ready = |status: &str| {
        let mut answer = serde_json::Value::Null;
        wait_until(status, || {
            answer = get(&daemon, "/readyz");
            answer["status"] == status
        });
        answer["certificates"].clone()
    };
    let told = ready("degraded");
    assert_eq!(told.as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told[0]["key"], "listen[0].tls.cert");
    assert!(told[0]["error"].as_str().unwrap().starts_with("ended at "), "{told}");
    let output = ask(admin_address(&daemon), &["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("\n  listen[0].tls.cert ended at "), "{}", said(&output));
    // Who reads its file anew finds another one.
    own.replace_by(&authority.issue("new", &["DNS:stated"]));
    daemon.reload(&setup);
    assert_eq!(ready("ready"), serde_json::json!([]));
}

#[test]
fn a_wrong_file_refuses_the_whole_reload() {
    let (fleet, authority) = (Fleet::new(), Authority::new());
    let own = authority.issue("own", &["DNS:a"]);
    let setup = |limit: &str| {
        admin(&own.keys())
            .calls("signaling", &fleet.signaling)
            .key("gateways.signaling.max_frame_bytes", limit)
    };
    let daemon = setup("2046").start();
    std::fs::write(&own.cert, "nothing").unwrap();
    daemon.reload_text(&setup("10").toml(), "reload refused, nothing is changed");
    daemon.log.tells("admin.tls.cert: found");
    // Longer than ten bytes.
    assert_eq!(daemon.connect().ask(kick_out("u1", 1)), "");
}

#[test]
fn tls_of_a_listener_that_listens_is_turned_on_by_a_restart_only() {
    let authority = Authority::new();
    let own = authority.issue("own", &["DNS:a"]);
    let plain = Setup::new().key("admin.address", "\"127.0.0.1:0\"");
    let daemon = plain.start();
    daemon.reload(&admin(&own.keys()));
    daemon.log.tells("needs a restart: admin.tls.cert");
    let health = crate::http::request("GET", "/livez").ask(&daemon);
    assert_eq!(health.status, 200);
}

#[test]
fn the_days_that_a_certificate_has_left_are_told_by_its_key() {
    let authority = Authority::new();
    let own = authority.issue_for("own", &["IP:127.0.0.1"], Days(-1, 41));
    let service = crate::certificates::Front::before(
        ([127, 0, 0, 1], 1).into(),
        &authority.issue("s", &["IP:127.0.0.1"]),
        None,
    );
    let late = authority.issue_for("late", &["DNS:stated"], Days(-30, -9));
    let tls = format!("{{ ca = {:?}, {} }}", authority.file(), late.keys());
    let daemon = Setup::new()
        .key("admin.address", "\"127.0.0.1:0\"")
        .key("gateways.auth.address", &format!("\"{}\"", service.address))
        .key("gateways.auth.tls", &tls)
        .key("gateways.room.tls", &format!("{{ ca = {:?}, {} }}", authority.file(), own.keys()))
        .start();
    let page = crate::http::request("GET", "/metrics").ask(&daemon).body;
    let of = |name: &str, key: &str| -> f64 {
        let series = format!("{name}{{key=\"{key}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&series)).expect(&series);
        line.parse().unwrap()
    };
    let left = |key| of("stated_tls_certificate_days_left", key);
    assert!((39.0..=41.0).contains(&left("gateways.room.tls.cert")), "{page}");
    assert!((-10.0..=-8.0).contains(&left("gateways.auth.tls.cert")), "{page}");
    let end = of("stated_tls_certificate_expiry_timestamp_seconds", "gateways.room.tls.cert");
    let now = jiff::Timestamp::now().as_second() as f64;
    assert!((end - now - left("gateways.room.tls.cert") * 86_400.0).abs() < 600.0, "{end}");
}
