//! Files of certificates and keys that can't be used, told as mistakes of the configuration, and those
//! that can't be looked at.

use std::collections::BTreeMap;

use super::Config;
use super::draft::listener_path;
use super::mistake::{Errors, Mistake, Place, Problem};
use super::tls::{AUTHORITIES_EXPECTED, Authorities, CallingTls, FILE_EXPECTED, ListeningTls};
use crate::tls::{Error, Wrong};

/// A mistake for each file that is wrong, where it was named.
pub(super) fn mistakes(wrong: Vec<Wrong>, places: &BTreeMap<String, Place>) -> Errors {
    let mut mistakes: Vec<_> =
        wrong.into_iter().filter_map(|wrong| mistake(wrong, places)).collect();
    mistakes.sort_by(|a, b| a.place.cmp(&b.place));
    Errors { mistakes }
}

/// `None` for a table that was named nowhere: nothing in it can be wrong.
fn mistake(Wrong { table, error }: Wrong, places: &BTreeMap<String, Place>) -> Option<Mistake> {
    let Error { key, file, problem } = error;
    let path = format!("{table}.{key}");
    // What is missing has no place; what it is missed by stands in the same table.
    let beside = || {
        let in_table = format!("{table}.");
        places.iter().find(|(path, _)| path.starts_with(&in_table)).map(|(_, place)| place)
    };
    let place = places.get(&path).or_else(beside)?.clone();
    let expected = if key == "ca" { AUTHORITIES_EXPECTED } else { FILE_EXPECTED };
    let problem = Problem::Value {
        found: format!("{file:?}"),
        why: Some(problem.to_string()),
        expected: expected.to_owned(),
        nearest: None,
    };
    Some(Mistake { place, key: Some(path), problem })
}

/// Takes the tables out of `config` of which a file is a credential, which is there for the daemon
/// alone, and returns a sentence for each.
pub(super) fn leave_out_credentials(config: &mut Config) -> Vec<String> {
    let mut left_out = Vec::new();
    let mut tell = |table: &str| {
        left_out.push(format!("{table} names a credential of systemd's: it was not looked at"));
    };
    for (index, listen) in config.listen.iter_mut().enumerate() {
        if is_listening_with_credentials(&listen.tls) {
            listen.tls = ListeningTls::default();
            tell(&listener_path(index, "tls"));
        }
    }
    if is_listening_with_credentials(&config.admin.tls) {
        config.admin.tls = ListeningTls::default();
        tell("admin.tls");
    }
    let gateways = &mut config.gateways;
    for (table, files) in [
        ("store.redis.tls", &mut config.store.redis.tls),
        ("gateways.room.tls", &mut gateways.room.tls),
        ("gateways.signaling.tls", &mut gateways.signaling.tls),
        ("gateways.auth.tls", &mut gateways.auth.tls),
    ] {
        if is_calling_with_credentials(files) {
            *files = CallingTls::default();
            tell(table);
        }
    }
    left_out
}

fn is_listening_with_credentials(files: &ListeningTls) -> bool {
    let ListeningTls { cert, key, client_ca, client_auth: _ } = files;
    [cert, key, client_ca].iter().any(|file| file.is_credential())
}

fn is_calling_with_credentials(files: &CallingTls) -> bool {
    let CallingTls { ca, cert, key, server_name: _ } = files;
    let ca = match ca {
        Authorities::File(file) => file.is_credential(),
        Authorities::System | Authorities::Unsaid => false,
    };
    ca || cert.is_credential() || key.is_credential()
}
