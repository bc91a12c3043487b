//! The units: what they say fits the program and its configuration, and systemd agrees.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stated::config::{self, Config, Sources, StoreUrl};
use tempfile::TempDir;

fn unit(name: &str) -> String {
    std::fs::read_to_string(in_project(&format!("systemd/{name}"))).unwrap()
}

fn in_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What a unit says about a key, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
}

fn installed() -> Config {
    config::check(&in_project("systemd/stated.toml")).unwrap()
}

#[test]
fn every_listener_of_the_installed_configuration_has_its_socket() {
    let config = installed();
    let listeners: Vec<_> = config.listen.iter().map(|listen| listen.address.as_str()).collect();
    assert_eq!(values(&unit("stated.socket"), "ListenStream"), listeners);
}

#[test]
fn the_unit_waits_longer_for_a_stop_than_a_stop_takes() {
    let service = unit("stated.service");
    let seconds = values(&service, "TimeoutStopSec")[0].parse().unwrap();
    // The store has two seconds even after the grace period, and blocked threads have one.
    let needed = Duration::from_secs(5);
    for config in [installed(), Config::default()] {
        assert!(Duration::from_secs(seconds) >= config.limits.shutdown_grace + needed);
    }
}

/// The signal that the reload's command sends is the one on which the daemon reads its configuration
/// again, as the tests of `reload` have it.
#[test]
fn the_unit_reloads_by_the_signal_the_daemon_listens_to() {
    assert_eq!(values(&unit("stated.service"), "ExecReload"), ["kill -HUP $MAINPID"]);
    assert_eq!(values(&unit("stated.service"), "Type"), ["notify"]);
}

/// The default address has room for one daemon: the others would go without an admin server.
#[test]
fn the_installed_configuration_and_the_guide_give_each_daemon_an_admin_address() {
    let guide = std::fs::read_to_string(in_project("systemd/README.md")).unwrap();
    let text = std::fs::read_to_string(in_project("systemd/stated.toml")).unwrap();
    assert!(installed().admin.address.ends_with(":8091"));
    assert!(guide.contains("needs an `admin.address` of its own"));
    assert!(text.contains("each needs an address of its own"));
}

#[test]
fn the_unit_names_what_is_installed() {
    let service = unit("stated.service");
    let start = values(&service, "ExecStart")[0];
    assert_eq!(start, "/usr/bin/stated serve --config /etc/stated/stated.toml");
    // The embedded store lies where the unit lets the daemon write.
    let folder = format!("/var/lib/{}", values(&service, "StateDirectory")[0]);
    assert_eq!(values(&service, "WorkingDirectory"), [folder]);
    let StoreUrl::Embedded(store) = installed().store.url else { panic!("not embedded") };
    assert!(store.is_relative(), "{store:?}");
    // A credential is read under the name of a variable.
    for credential in values(&service, "LoadCredential") {
        let (name, _) = credential.split_once(':').unwrap();
        let variables = vec![(name.into(), "memory:".into())];
        let sources = Sources { environment: variables, ..Sources::default() };
        assert_eq!(config::load(&sources).unwrap().store.url, StoreUrl::Memory);
    }
}

/// A core would hold the secrets.
#[test]
fn the_unit_leaves_no_core() {
    assert_eq!(values(&unit("stated.service"), "LimitCORE"), ["0"]);
}

#[test]
fn the_template_is_the_unit_with_a_name_in_it() {
    let mut expected = unit("stated.service");
    for (one, several) in [
        ("real-time services\n", "real-time services (%i)\n"),
        ("stated.socket", "stated@%i.socket"),
        ("/etc/stated/stated.toml", "/etc/stated/%i.toml"),
        ("/var/lib/stated", "/var/lib/stated-%i"),
        ("StateDirectory=stated", "StateDirectory=stated-%i"),
        ("stated.store.url", "stated-%i.store.url"),
    ] {
        assert!(expected.contains(one), "{one}");
        expected = expected.replace(one, several);
    }
    assert_eq!(unit("stated@.service"), expected);
}

/// Runs `systemd-analyze` on the units, as they would be with the program installed; `None` where
/// there is no systemd.
fn analyze(arguments: &[&str], units: &[&str]) -> Option<(bool, String)> {
    let folder = TempDir::new().unwrap();
    for name in ["stated.service", "stated.socket", "stated@.service", "stated@.socket"] {
        let text = unit(name).replace("/usr/bin/stated", env!("CARGO_BIN_EXE_stated"));
        std::fs::write(folder.path().join(name.replace('@', "@8100")), text).unwrap();
    }
    let ran = Command::new("systemd-analyze")
        .args(arguments)
        .args(units.iter().map(|name| folder.path().join(name)))
        .output();
    match ran {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8(text).unwrap()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}

const SERVICES: [&str; 2] = ["stated.service", "stated@8100.service"];

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let units = [SERVICES.as_slice(), &["stated.socket", "stated@8100.socket"]].concat();
    if let Some((success, said)) = analyze(&["verify"], &units) {
        assert!(success && said.is_empty(), "{said}");
    }
}

#[test]
fn the_units_expose_little() {
    for service in SERVICES {
        // The threshold is in tenths.
        if let Some((success, said)) =
            analyze(&["security", "--offline=true", "--threshold=15"], &[service])
        {
            assert!(success, "{said}");
        }
    }
}
