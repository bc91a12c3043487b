//! What an operator may write, for fuzzers: a file, a value.

use std::ffi::OsString;
use std::path::Path;

use super::draft::Draft;
use super::keys::Keys;
use super::{Config, Secret, Sources, environment, file, load};

/// A file. Every mistake is one line; what is right says of itself what it is, and that can be read
/// again.
pub(crate) fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let keys = Keys::all();
    let mut draft = Draft::of_defaults(&keys);
    file::read_text(Path::new("stated.toml"), text, &keys, &mut draft);
    match draft.finish() {
        Ok((config, _)) => check_reads_again(&config),
        Err(errors) => {
            assert!(!errors.mistakes.is_empty());
            for mistake in &errors.mistakes {
                let said = mistake.to_string();
                assert!(!said.contains('\n'), "{said:?}");
            }
        }
    }
}

/// What is not shown is lost on the way, what names files needs them, and who may speak is said by
/// files alone: these are no part of the comparison.
fn check_reads_again(config: &Config) {
    let variable = |(key, value): (String, String)| {
        let name = key.replace('[', "__").replace(']', "");
        (OsString::from(environment::variable(&name)), OsString::from(value))
    };
    let listed = config.listed();
    let names_files = |(key, value): &(String, String)| key.contains("tls.") && !value.is_empty();
    if listed.iter().any(|(_, value)| value.contains('*') || value.contains('\0'))
        || listed.iter().any(names_files)
        || !config.peers.is_empty()
    {
        return;
    }
    let environment = listed.into_iter().map(variable).collect();
    match load(&Sources { environment, ..Sources::default() }) {
        Ok(again) => assert_eq!(again.listed(), config.listed()),
        Err(errors) => panic!("{errors}"),
    }
}

/// A store's URL and the admin API's token, with a secret in each. Whatever is wrong with them, the
/// secret is not said.
pub(crate) fn secrets(data: &[u8]) {
    const SECRET: &str = "hunter2hunter2hunter2";
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (before, after) = text.split_once('\n').unwrap_or((text, ""));
    // As a person would have it in mind: behind a colon and in front of an at.
    for url in [format!("{before}:{SECRET}@{after}"), format!("redis://{before}:{SECRET}@{after}")]
    {
        // A folder's name is none.
        if url.starts_with("embedded:") {
            continue;
        }
        let environment = vec![
            ("STATED_STORE__URL".into(), url.into()),
            ("STATED_ADMIN__TOKEN".into(), format!("{before}{SECRET}{after}").into()),
        ];
        let said = match load(&Sources { environment, ..Sources::default() }) {
            Ok(config) => format!("{config:?} {:?}", config.listed()),
            Err(errors) => format!("{errors} {errors:?}"),
        };
        assert!(!said.contains(SECRET), "{said}");
    }
    assert!(!format!("{0:?} {0}", Secret::new(SECRET)).contains(SECRET));
}
