//! `[[peers]]`: who may speak for which services.

use std::collections::BTreeMap;
use std::net::IpAddr;

use compact_str::{CompactString, ToCompactString};

use super::form::text;
use super::key::{Key, key, live};
use super::list::{servers, texts};
use super::mistake::{Mistake, Place, Problem};
use super::network::{self, Network};
use crate::domain::Servers;

/// Entries that there may be: each is looked at when a connection begins.
pub(super) const MAX: usize = 1_000;

/// Bytes of an entry's name, which is in every one of its lines in the log.
const NAME_BYTES_MAX: usize = 64;

/// What may stand at `certificate`, for people.
const NAMES_EXPECTED: &str = "names of a client certificate, as in [\"DNS:room.fleet\", \
     \"URI:spiffe://fleet/room\", \"IP:10.0.0.7\"]";

/// One entry: who, and for which services he may speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// For logs and metrics; of one without a name the place in the list is told instead.
    pub name: String,
    /// Names of which his certificate has at least one; empty if he needs none.
    pub certificate: Vec<CompactString>,
    /// Where he comes from; empty if that makes no difference.
    pub addresses: Vec<Network>,
    /// The values of `server` that he may use.
    pub servers: Servers,
}

impl Peer {
    /// One of whom nothing is said.
    pub(super) fn blank() -> Self {
        let (certificate, addresses) = (Vec::new(), Vec::new());
        Self { name: String::new(), certificate, addresses, servers: Servers::NONE }
    }
}

/// Those of one element of `[[peers]]`.
pub(super) fn keys() -> Vec<Key<Peer>> {
    live(vec![
        key(
            "name",
            "",
            text(
                "at most 64 bytes without quotes, backslashes and control characters",
                name,
                |peer: &mut Peer| &mut peer.name,
            ),
            "What the entry is called in logs and metrics.",
        ),
        key(
            "certificate",
            "",
            texts(NAMES_EXPECTED, certificate_name, |peer| &mut peer.certificate),
            "Names of which the peer's client certificate must have at least one.",
        ),
        key(
            "addresses",
            "",
            texts(network::EXPECTED, Network::parse, |peer| &mut peer.addresses),
            "Where the peer must come from; with `certificate` too, both must hold.",
        ),
        key(
            "servers",
            "",
            servers(|peer| &mut peer.servers),
            "The values of `server` that the peer may use. Who matches several entries may use \
             those of all of them.",
        ),
    ])
}

/// The name of a key of an entry, in messages.
pub(super) fn path(index: usize, name: &str) -> String {
    format!("peers[{index}].{name}")
}

fn name(text: &str) -> Result<String, String> {
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("it has {} bytes", text.len()));
    }
    if text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')) {
        return Err("a character in it can't stand in a line of the log".to_owned());
    }
    if text == "none" || text.starts_with("peers[") {
        return Err("the daemon itself says so of those who have no name".to_owned());
    }
    Ok(text.to_owned())
}

/// As certificates are compared: a host's name in lower case, an address in its shortest form.
fn certificate_name(text: &str) -> Result<CompactString, String> {
    let unknown = || "it does not begin with DNS:, URI: or IP:".to_owned();
    let (kind, name) = text.split_once(':').ok_or_else(unknown)?;
    if name.is_empty() || !name.is_ascii() || name.contains(char::is_whitespace) {
        return Err(format!("after {kind}: stands no name"));
    }
    match kind {
        "DNS" => Ok(compact_str::format_compact!("DNS:{}", name.to_ascii_lowercase())),
        "URI" => Ok(text.to_compact_string()),
        "IP" => {
            let address: IpAddr = name.parse().map_err(|_| "not an IP address".to_owned())?;
            Ok(compact_str::format_compact!("IP:{address}"))
        }
        _ => Err(unknown()),
    }
}

/// What is wrong with entries as a whole. `places` has one for each; of an entry that could not be
/// read in full nothing more is said.
pub(super) fn check(peers: &[Peer], places: &[Place], mistakes: &mut Vec<Mistake>) {
    let mut first_with = BTreeMap::new();
    for (index, (peer, place)) in peers.iter().zip(places).enumerate() {
        let entry = format!("peers[{index}]");
        let is_of_entry = |mistake: &Mistake| {
            mistake.key.as_ref().is_some_and(|key| {
                key.strip_prefix(&entry)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        if mistakes.iter().any(is_of_entry) {
            continue;
        }
        let mut blame = |key: String, found: String, why: Option<String>, expected: &str| {
            let expected = expected.to_owned();
            let problem = Problem::Value { found, why, expected, nearest: None };
            mistakes.push(Mistake { place: place.clone(), key: Some(key), problem });
        };
        if peer.certificate.is_empty() && peer.addresses.is_empty() {
            let found = "neither certificate nor addresses".to_owned();
            blame(entry.clone(), found, None, "one of them or both");
        }
        if peer.servers.is_empty() {
            let expected = "at least one, or \"*\" for all";
            blame(path(index, "servers"), "none".to_owned(), None, expected);
        }
        if !peer.name.is_empty() {
            let first = *first_with.entry(&peer.name).or_insert(index);
            if first != index {
                let (found, why) =
                    (format!("{:?}", peer.name), format!("the name of peers[{first}]"));
                blame(path(index, "name"), found, Some(why), "a name of its own for each entry");
            }
        }
    }
}
