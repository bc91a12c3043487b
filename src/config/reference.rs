//! What is written about the keys elsewhere says the same as the table of keys.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::key::Key;
use super::keys::Keys;
use super::value::Value;
use super::{Config, environment};

const BEGIN: &str = "<!-- The tables are generated: UPDATE=1 cargo test config::reference -->\n";
/// Stands above the keys that are in no table.
const TOP: &str = "Before the first table";
const END: &str = "<!-- End of the generated tables. -->\n";

fn in_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The tables of the reference, one for each TOML table.
fn tables() -> String {
    let mut text = String::new();
    put_heading(&mut text, TOP);
    for key in Keys::all().of_config.iter().filter(|key| !key.path.contains('.')) {
        put_row(&mut text, key, &key.path);
    }
    put_heading(&mut text, "`[[listen]]`");
    for key in Keys::all().of_listener {
        put_row(&mut text, &key, &key.path);
    }
    put_heading(&mut text, "`[[peers]]`");
    for key in Keys::all().of_peer {
        put_row(&mut text, &key, &key.path);
    }
    let mut last = String::new();
    for key in Keys::all().of_config {
        let Some((table, name)) = key.path.rsplit_once('.') else { continue };
        // An inline table stands in the table that it is written in.
        let (table, name) = match table.strip_suffix(".tls") {
            Some(outer) => (outer, format!("tls.{name}")),
            None => (table, name.to_owned()),
        };
        if table != last {
            put_heading(&mut text, &format!("`[{table}]`"));
            last = table.to_owned();
        }
        put_row(&mut text, &key, &name);
    }
    text
}

fn put_heading(text: &mut String, heading: &str) {
    let head = "| key | default | allowed | change | meaning |\n|---|---|---|---|---|\n";
    write!(text, "\n### {heading}\n\n{head}").unwrap();
}

fn put_row<T>(text: &mut String, key: &Key<T>, name: &str) {
    let default = Value::guess(key.default).shown();
    let (allowed, change, meaning) = (&key.form.expected, key.effect.name(), key.meaning);
    writeln!(text, "| `{name}` | `{default}` | {allowed} | {change} | {meaning} |").unwrap();
}

#[test]
fn the_reference_lists_every_key() {
    let path = in_project("docs/configuration.md");
    let found = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = found.split_once(BEGIN).expect("the tables begin somewhere");
    let (_, after) = rest.split_once(END).expect("the tables end somewhere");
    let expected = format!("{before}{BEGIN}{}\n{END}{after}", tables());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    } else {
        assert_eq!(found, expected, "run: UPDATE=1 cargo test config::reference");
    }
}

#[test]
fn the_example_holds_every_key_with_its_default() {
    let path = in_project("examples/stated.toml");
    match super::check(&path) {
        Ok(config) => assert_eq!(config, Config::default()),
        Err(errors) => panic!("{errors}"),
    }
    let example: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let listen = example["listen"][0].as_table().unwrap();
    for key in Keys::all().of_listener {
        let (table, name) = key.path.rsplit_once('.').unwrap_or(("", &key.path));
        let of_table = if table.is_empty() { listen } else { listen[table].as_table().unwrap() };
        assert!(of_table.contains_key(name), "listen[0].{} is missing", key.path);
    }
    for key in Keys::all().of_config {
        let (table, name) = key.path.rsplit_once('.').unwrap_or(("", &key.path));
        let tables = table.split('.').filter(|table| !table.is_empty());
        let table = tables.fold(&example, |table, name| table[name].as_table().unwrap());
        assert!(table.contains_key(name), "{} is missing", key.path);
    }
}

#[test]
fn every_key_has_a_variable_of_its_own() {
    let mut variables: Vec<_> =
        Keys::all().of_config.iter().map(|key| environment::variable(&key.path)).collect();
    assert!(variables.contains(&"STATED_GATEWAYS__ROOM__RETRY_FOR".to_owned()));
    let count = variables.len();
    variables.sort();
    variables.dedup();
    assert_eq!(variables.len(), count);
}
