//! Tells the program what it is built from. Outside git it builds all the same.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is said where nothing is known.
const UNKNOWN: &str = "unknown";
/// As much of a commit's name as tells it from others.
const HASH_CHARS: usize = 12;

/// Where the source stands.
struct Commit {
    hash: String,
    /// `YYYY-MM-DD`; empty if it isn't known.
    date: String,
}

fn main() {
    println!("cargo::rerun-if-env-changed=STATED_COMMIT");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let commit = told().or_else(|| packaged(&root)).or_else(|| checked_out(&root));
    let commit = commit.unwrap_or_else(|| Commit { hash: UNKNOWN.to_owned(), date: String::new() });
    let hash: String = commit.hash.chars().take(HASH_CHARS).collect();
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let features = env::var("CARGO_CFG_FEATURE").unwrap_or_default();
    let target = env::var("TARGET").unwrap_or_default();
    let from =
        if commit.date.is_empty() { hash.clone() } else { format!("{hash} {}", commit.date) };
    let listed = if features.is_empty() { "none" } else { &features };
    // No name here begins with STATED_: cargo hands them on to programs that it runs, and the daemon
    // reads its configuration from such variables.
    println!("cargo::rustc-env=BUILD_COMMIT={hash}");
    println!("cargo::rustc-env=BUILD_DATE={}", commit.date);
    println!("cargo::rustc-env=BUILD_FEATURES={features}");
    // A variable can't hold two lines; a describing text can be put together only here.
    println!("cargo::rustc-env=BUILD_FIRST_LINE={version} ({from})");
    println!("cargo::rustc-env=BUILD_SECOND_LINE=features: {listed}; target: {target}");
}

/// By whoever builds without git: `STATED_COMMIT="HASH"` or `"HASH YYYY-MM-DD"`.
fn told() -> Option<Commit> {
    let text = env::var("STATED_COMMIT").ok()?;
    let mut words = text.split_whitespace().map(str::to_owned);
    Some(Commit { hash: words.next()?, date: words.next().unwrap_or_default() })
}

/// By cargo, in what it published.
fn packaged(root: &Path) -> Option<Commit> {
    let text = fs::read_to_string(root.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    let hash = rest.split('"').nth(1)?.to_owned();
    Some(Commit { hash, date: String::new() })
}

/// By git, if it is this source that it keeps, and not something around it.
fn checked_out(root: &Path) -> Option<Commit> {
    let top = git(root, &["rev-parse", "--show-toplevel"])?;
    if fs::canonicalize(top).ok()? != fs::canonicalize(root).ok()? {
        return None;
    }
    // HEAD changes with the branch, its log with every commit. A file that isn't there would have
    // this program run at every build.
    for name in ["HEAD", "logs/HEAD"] {
        let path = root.join(git(root, &["rev-parse", "--git-path", name])?);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let shown = git(root, &["log", "-1", "--format=%H %cs"])?;
    let (hash, date) = shown.split_once(' ')?;
    Some(Commit { hash: hash.to_owned(), date: date.to_owned() })
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
