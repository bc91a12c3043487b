//! Rules that the compiler doesn't check.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::schema::files_below;

/// Lines of a file before its tests, at the most.
const LINES_MAX: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files of the repository: what git knows, or, without git, what lies about.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    match listed {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8(output.stdout).unwrap();
            let names = names.lines().map(str::to_owned);
            names.filter(|name| root().join(name).is_file()).collect()
        }
        Ok(_) | Err(_) => ["src", "tests", "examples", "proto-json", "docs", "scripts"]
            .iter()
            .map(|dir| root().join(dir))
            .filter(|dir| dir.is_dir())
            .flat_map(|dir| files_below(&dir))
            .map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned())
            .collect(),
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_default()
}

/// Rust files below `dir`, with their text.
fn rust(dir: &str) -> Vec<(String, String)> {
    let of_dir = |name: &String| name.starts_with(dir) && name.ends_with(".rs");
    let files: Vec<_> =
        files().into_iter().filter(of_dir).map(|name| (name.clone(), read(&name))).collect();
    assert!(!files.is_empty(), "nothing below {dir}");
    files
}

/// A file without its tests and comments.
fn program(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(name: &str) -> bool {
    let path = Path::new(name);
    let stem = path.file_stem().unwrap();
    stem == "tests" || stem == "fake" || name.starts_with("tests/")
}

#[test]
fn every_file_says_in_its_first_line_what_it_does() {
    for (name, text) in rust("src").into_iter().chain(rust("tests")).chain(rust("examples")) {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! ") && first.len() > 14, "{name} begins with {first:?}");
    }
}

#[test]
fn no_file_is_longer_than_one_thing_needs() {
    for (name, text) in rust("src").into_iter().filter(|(name, _)| !is_test(name)) {
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        assert!(
            lines <= LINES_MAX,
            "{name} has {lines} lines before its tests, {LINES_MAX} are allowed"
        );
    }
}

#[test]
fn the_domain_knows_neither_socket_nor_database() {
    for (name, text) in rust("src/domain") {
        let text = program(&text);
        let words = [
            "tokio::net",
            "std::net",
            "TcpStream",
            "redis",
            "socket2",
            "store::memory",
            "store::embedded",
            "connection::frame",
        ];
        for word in words {
            assert!(!text.contains(word), "{name} names {word}");
        }
    }
}

#[test]
fn nobody_but_the_store_names_redis_and_nobody_but_the_edges_opens_sockets() {
    let at_the_edge =
        ["src/admin/server.rs", "src/net/", "src/upstream/fake.rs", "src/cli/", "src/store/redis/"];
    for (name, text) in rust("src").into_iter().filter(|(name, _)| !is_test(name)) {
        let text = program(&text);
        if !name.starts_with("src/store/redis/") {
            assert!(!text.contains("use redis") && !text.contains("redis::cmd"), "{name}");
        }
        if !at_the_edge.iter().any(|edge| name.starts_with(edge)) {
            assert!(!text.contains("tokio::net"), "{name} opens sockets");
        }
    }
}

#[test]
fn only_the_route_makes_error_replies() {
    for (name, text) in rust("src").into_iter().filter(|(name, _)| !is_test(name)) {
        if ["src/connection/route.rs", "src/error.rs"].contains(&name.as_str()) {
            continue;
        }
        for line in program(&text).lines() {
            let makes =
                line.contains("code.put(") || line.contains("Code::") && line.contains(".put(");
            assert!(!makes, "{name} writes an error reply: {line}");
        }
    }
}

#[test]
fn only_one_file_knows_how_a_payload_is_delimited() {
    for (name, text) in rust("src").into_iter().filter(|(name, _)| !is_test(name)) {
        // The embedded store's log and Redis' own protocol are no framings of ours.
        if name == "src/connection/frame.rs" || name.starts_with("src/store/") {
            continue;
        }
        let text = program(&text);
        for word in
            ["to_be_bytes", "from_be_bytes", "b\"\\r\\n\"", "put_u32(", "get_u32(", "memchr"]
        {
            assert!(!text.contains(word), "{name} knows {word}");
        }
    }
}

#[test]
fn nothing_is_left_to_do() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!(")];
    for name in files().iter().filter(|name| is_text(name)) {
        for (at, line) in read(name).lines().enumerate() {
            for word in words {
                assert!(!line.contains(word), "{name}:{}: {line}", at + 1);
            }
        }
    }
}

#[test]
fn nothing_names_an_issue_or_a_place_on_somebodys_machine() {
    let homes =
        [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/tm", "p/")];
    for name in files().iter().filter(|name| is_text(name)) {
        for (at, line) in read(name).lines().enumerate() {
            let place = format!("{name}:{}: {line}", at + 1);
            for home in homes {
                assert!(!line.contains(home), "{place}");
            }
            let lower = line.to_lowercase();
            let numbered = lower
                .split(concat!("iss", "ue "))
                .skip(1)
                .any(|rest| rest.trim_start_matches('#').starts_with(|c: char| c.is_ascii_digit()));
            assert!(!numbered, "{place}");
        }
    }
}

fn is_text(name: &str) -> bool {
    let endings = [".rs", ".md", ".toml", ".json", ".jsonl", ".lua", ".yml"];
    endings.iter().any(|ending| name.ends_with(ending))
        || name.starts_with("scripts/")
        || name.starts_with(".ci/")
}

fn first_word(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).next()
}

/// The names of an enum's variants, as its file declares them.
fn variants<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let declared = text.split_once(&format!("enum {name} {{\n")).map_or("", |(_, rest)| rest);
    let lines = declared.lines().take_while(|line| *line != "}");
    let words = lines.filter_map(|line| line.strip_prefix("    ").and_then(first_word));
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase())).collect()
}

#[test]
fn no_list_of_all_leaves_one_out() {
    let mut lists = 0;
    for (name, text) in rust("src") {
        for (at, _) in text.match_indices("ALL: [Self; ") {
            let of = text[..at].rsplit("\nimpl ").next().unwrap().split(' ').next().unwrap();
            let list = text[at..].split("];").next().unwrap();
            let words = list.split("Self::").skip(1);
            let listed: Vec<_> = words.filter_map(first_word).collect();
            let declared = variants(&text, of);
            assert!(!declared.is_empty(), "{name} does not declare {of}");
            let missing: Vec<_> = declared.iter().filter(|one| !listed.contains(one)).collect();
            assert!(missing.is_empty(), "{name}: {of}::ALL leaves out {missing:?}");
            lists += 1;
        }
    }
    assert!(lists > 10, "{lists} lists were found");
}

/// `TEXT](TARGET)` in a Markdown file: the targets, without those elsewhere.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let here = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    here.map(str::to_owned).collect()
}

/// A heading as a link names it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    for name in files().into_iter().filter(|name| name.ends_with(".md")) {
        let text = read(&name);
        let dir = root().join(&name).parent().unwrap().to_owned();
        for link in links(&text) {
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target: PathBuf = if path.is_empty() { root().join(&name) } else { dir.join(path) };
            assert!(target.exists(), "{name}: {link} leads nowhere");
            if !heading.is_empty() {
                let found = anchors(&fs::read_to_string(&target).unwrap());
                assert!(found.iter().any(|one| one == heading), "{name}: no heading {link}");
            }
        }
    }
}

#[test]
fn every_file_that_the_documents_name_in_the_source_is_there() {
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(name);
        for word in text.split('`').skip(1).step_by(2) {
            let in_tree = ["src/", "tests/", "docs/", "examples/", "proto-json/", "scripts/"];
            let is_path = (in_tree.iter().any(|dir| word.starts_with(dir))
                || word.contains('/') && word.ends_with(".rs"))
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            let is_there = root().join(word).exists() || root().join("src").join(word).exists();
            assert!(!is_path || is_there, "{name} names {word}");
        }
    }
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let text = read("Cargo.toml");
    let is_head = |line: &str| line.starts_with('[');
    let (mut section, mut before) = (String::new(), String::new());
    let mut undocumented = Vec::new();
    for line in text.lines() {
        if is_head(line) {
            section = line.to_owned();
        } else if section == "[dependencies]" && line.contains(" = ") && !before.starts_with('#') {
            undocumented.push(line.to_owned());
        }
        before = line.to_owned();
    }
    // These speak for themselves.
    let plain = ["serde", "thiserror", "tokio", "toml", "tracing"];
    let odd = undocumented.iter().filter(|line| !plain.iter().any(|name| line.starts_with(name)));
    assert_eq!(odd.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_failure_that_is_promised_something_names_a_test_that_exists() {
    let sources: Vec<_> = rust("src").into_iter().chain(rust("tests")).collect();
    let exists = |test: &str| {
        let name = test.rsplit([':', ' ']).next().unwrap_or(test);
        let name = format!("fn {name}(");
        sources.iter().any(|(_, text)| text.contains(&name))
    };
    for line in read("docs/failure-modes.md").lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{line}");
        if cells[3] == "test" {
            continue;
        }
        let tests: Vec<_> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {line}");
        let missing: Vec<_> = tests.iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "no such test: {missing:?}");
    }
}
