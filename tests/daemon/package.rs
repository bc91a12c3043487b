//! The Debian package: built by its script, installed into a root of its own, used, upgraded, rolled
//! back, removed. Where there is no dpkg, all of it is left out.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::harness::{Daemon, PROGRAM, command_of};
use crate::manual;
use crate::requests::{enter, leave};
use crate::wire::Framing;

const CONFIGURATION: &str = "etc/stated/stated.toml";

/// The same program as two versions.
struct Packages {
    older: PathBuf,
    newer: PathBuf,
}

/// Built once for all tests; `None` where there is no dpkg.
fn packages() -> Option<&'static Packages> {
    static PACKAGES: OnceLock<Option<Packages>> = OnceLock::new();
    let build = || {
        let dpkg = Command::new("dpkg").arg("--version").stdout(Stdio::null()).status();
        match dpkg {
            Ok(_) => Some(Packages { older: package("1.0-1"), newer: package("1.1-1") }),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("{error}"),
        }
    };
    PACKAGES.get_or_init(build).as_ref()
}

fn package(version: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package");
    let built = Command::new(script)
        .arg("--fast")
        .args(["--version", version, "--program", PROGRAM, "--out", env!("CARGO_TARGET_TMPDIR")])
        .output();
    let said = succeeded(built);
    PathBuf::from(said.lines().last().unwrap())
}

/// What a command that has to succeed says.
fn succeeded(output: io::Result<Output>) -> String {
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A root with nothing in it but dpkg's own notes.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(TempDir::new().unwrap());
        for folder in ["info", "updates", "triggers"] {
            fs::create_dir_all(root.path("var/lib/dpkg").join(folder)).unwrap();
        }
        fs::write(root.path("var/lib/dpkg/status"), "").unwrap();
        root
    }

    fn with(package: &Path) -> Self {
        let root = Self::new();
        root.install(package);
        root
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    /// Nobody is there to be asked: whatever asks fails.
    fn dpkg(&self, arguments: &[&str]) -> String {
        let output = Command::new("dpkg")
            .arg(format!("--root={}", self.0.path().display()))
            // The maintainer's scripts run outside, told where the root is; what the package depends
            // on is there, too, and so may be somebody who isn't root.
            .args(["--force-script-chrootless", "--force-depends", "--force-not-root"])
            .args(["--force-unsafe-io", "--log=/dev/null"])
            .args(arguments)
            .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()))
            .stdin(Stdio::null())
            .output();
        succeeded(output)
    }

    fn install(&self, package: &Path) {
        self.dpkg(&["--install", package.to_str().unwrap()]);
    }

    fn status(&self) -> String {
        self.dpkg(&["--status", "stated"])
    }

    fn program(&self, arguments: &[&str]) -> String {
        succeeded(self.command().args(arguments).stdout(Stdio::piped()).output())
    }

    fn command(&self) -> Command {
        let state = self.path("var/lib/stated");
        fs::create_dir_all(&state).unwrap();
        command_of(self.path("usr/bin/stated").to_str().unwrap(), &state)
    }

    /// The installed program with the installed configuration, but on ports that are free.
    fn serve(&self) -> Daemon {
        let mut command = self.command();
        command.arg("serve").arg("--config").arg(self.path(CONFIGURATION));
        for (key, value) in [
            ("LISTEN__0__ADDRESS", "127.0.0.1:0"),
            ("ADMIN__ADDRESS", ""),
            ("LOG__FORMAT", "json"),
            ("GATEWAYS__ROOM__ADDRESS", "127.0.0.1:1"),
            ("GATEWAYS__SIGNALING__ADDRESS", "127.0.0.1:1"),
            ("GATEWAYS__AUTH__ADDRESS", "127.0.0.1:1"),
        ] {
            command.env(format!("STATED_{key}"), value);
        }
        Daemon::adopt(TempDir::new().unwrap(), command, &[Framing::Length4])
    }

    /// Files below a folder, as they are named in the root.
    fn files(&self, below: &str) -> BTreeSet<String> {
        let (mut files, mut left) = (BTreeSet::new(), vec![self.path(below)]);
        while let Some(folder) = left.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    left.push(entry.path());
                } else {
                    let path = entry.path();
                    files.insert(path.strip_prefix(self.0.path()).unwrap().display().to_string());
                }
            }
        }
        files
    }
}

#[test]
fn the_package_puts_every_file_where_it_is_looked_for() {
    let Some(packages) = packages() else { return };
    let root = Root::with(&packages.older);
    let mut expected: BTreeSet<String> = [
        "usr/bin/stated",
        "usr/lib/systemd/system/stated.service",
        "usr/lib/systemd/system/stated.socket",
        "usr/lib/systemd/system/stated@.service",
        "usr/lib/systemd/system/stated@.socket",
        "usr/share/bash-completion/completions/stated",
        "usr/share/fish/vendor_completions.d/stated.fish",
        "usr/share/lintian/overrides/stated",
        "usr/share/zsh/vendor-completions/_stated",
    ]
    .map(str::to_owned)
    .into();
    let pages = manual::commands().into_iter().map(|(name, _)| name);
    expected.extend(pages.map(|name| format!("usr/share/man/man1/{name}.1.gz")));
    let documents = "usr/share/doc/stated/";
    let found = root.files("usr");
    let but_documents = found.iter().filter(|name| !name.starts_with(documents));
    assert_eq!(but_documents.cloned().collect::<BTreeSet<_>>(), expected);
    for name in [
        "README.md",
        "CHANGELOG.md",
        "changelog.Debian.gz",
        "copyright",
        "configuration.md",
        "docs/metrics.md",
        "examples/stated.toml",
        "packaging/README.md",
        "proto-json/README.md",
        "systemd/README.md",
    ] {
        // Links are followed.
        assert!(root.path(documents).join(name).is_file(), "{name} is missing");
    }
    for name in &found {
        let mode = fs::metadata(root.path(name)).unwrap().permissions().mode() & 0o777;
        let expected = if name == "usr/bin/stated" { 0o755 } else { 0o644 };
        assert_eq!(mode, expected, "{name}");
    }
}

#[test]
fn what_is_installed_serves_as_it_is_and_nothing_of_it_is_enabled() {
    let Some(packages) = packages() else { return };
    let root = Root::with(&packages.older);
    assert!(root.status().contains("Status: install ok installed"));
    assert_eq!(root.files("etc"), BTreeSet::from([CONFIGURATION.to_owned()]));
    let configuration = root.path(CONFIGURATION);
    let said = root.program(&["check-config", configuration.to_str().unwrap()]);
    assert!(said.contains("no mistakes"), "{said}");
    let daemon = root.serve();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "00:10:00"));
    assert_eq!(peer.ask(enter("u1")), r#"{"user_id":"u1","study_time":"00:10:00"}"#);
    drop(peer);
    daemon.stop_in_debt();
}

#[test]
fn an_upgrade_and_a_roll_back_keep_the_configuration_the_state_and_what_is_enabled() {
    let Some(packages) = packages() else { return };
    let root = Root::with(&packages.older);
    let configuration = root.path(CONFIGURATION);
    let edited =
        fs::read_to_string(&configuration).unwrap() + "\n[limits]\nshutdown_grace = \"1s\"\n";
    fs::write(&configuration, &edited).unwrap();
    enable(&root);
    let enabled = root.files("etc/systemd");
    let daemon = root.serve();
    daemon.connect().served(leave("u1", "00:10:00"));
    daemon.stop_in_debt();
    for (package, version) in [(&packages.newer, "1.1-1"), (&packages.older, "1.0-1")] {
        root.install(package);
        assert!(root.status().contains(&format!("Version: {version}\n")));
        assert_eq!(fs::read_to_string(&configuration).unwrap(), edited);
        assert_eq!(root.files("etc/systemd"), enabled);
        let daemon = root.serve();
        let known = daemon.connect().ask(enter("u1"));
        assert_eq!(known, r#"{"user_id":"u1","study_time":"00:10:00"}"#, "after {version}");
    }
}

/// As `systemctl enable` does it, which not every system has.
fn enable(root: &Root) {
    let folder = root.path("etc/systemd/system/sockets.target.wants");
    fs::create_dir_all(&folder).unwrap();
    let unit = "/usr/lib/systemd/system/stated.socket";
    std::os::unix::fs::symlink(unit, folder.join("stated.socket")).unwrap();
}

#[test]
fn a_removal_leaves_the_configuration_and_a_purge_leaves_the_state() {
    let Some(packages) = packages() else { return };
    let root = Root::with(&packages.older);
    let state = root.path("var/lib/private/stated/data");
    fs::create_dir_all(&state).unwrap();
    root.dpkg(&["--remove", "stated"]);
    assert_eq!(root.files("usr"), BTreeSet::new());
    assert!(root.path(CONFIGURATION).is_file());
    // What was enabled can't be started without the program.
    let mask = root.path("etc/systemd/system/stated.service");
    assert_eq!(fs::read_link(&mask).unwrap(), Path::new("/dev/null"));
    root.install(&packages.newer);
    assert!(fs::read_link(&mask).is_err(), "it is still masked");
    root.dpkg(&["--purge", "stated"]);
    assert_eq!(root.files("etc"), BTreeSet::new());
    assert_eq!(root.files("usr"), BTreeSet::new());
    assert_eq!(root.files("var/lib/systemd"), BTreeSet::new());
    assert!(state.is_dir());
}

#[test]
fn shells_take_the_installed_completions() {
    let Some(packages) = packages() else { return };
    let root = Root::with(&packages.older);
    let script = root.path("usr/share/bash-completion/completions/stated");
    let completed = "source \"$1\"; COMP_WORDS=(stated ch); COMP_CWORD=1; _stated stated ch stated; \
                     echo \"${COMPREPLY[@]}\"";
    let ran = Command::new("bash").args(["-c", completed, "bash"]).arg(script).output();
    match ran {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        ran => assert_eq!(succeeded(ran), "check-config\n"),
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_installed_units() {
    let Some(packages) = packages() else { return };
    let root = Root::with(&packages.older);
    let units = root.path("usr/lib/systemd/system");
    // systemd's own units, which these name.
    let own = Path::new("/usr/lib/systemd/system/.");
    if own.is_dir() {
        succeeded(Command::new("cp").args(["-R", "-n"]).arg(own).arg(&units).output());
    }
    // Of procps, which the package depends on.
    fs::copy("/usr/bin/kill", root.path("usr/bin/kill")).unwrap();
    let verified = Command::new("systemd-analyze")
        .arg(format!("--root={}", root.0.path().display()))
        .arg("verify")
        .args(["stated.service", "stated.socket", "stated@8100.service", "stated@8100.socket"])
        .current_dir(units)
        .output();
    match verified {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        verified => {
            let output = verified.unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
    }
}
