//! Who may speak, and for whom: by where a connection comes from and what its certificate names.
//!
//! With `[[peers]]` a connection has the rights of all entries it matches together. Without, all
//! rights or none: those who are near have them, and all others if the daemon is `open`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use arc_swap::ArcSwap;
use compact_str::CompactString;

use super::account::Account;
use crate::config::{Config, Peer};
use crate::domain::{Server, Servers};
use crate::metrics::Metrics;
use crate::metrics::connections::Denied;

/// Stands for the entry of those who match none.
const NO_ENTRY: &str = "none";

/// The rules in force.
#[derive(Debug)]
pub struct Access {
    rules: ArcSwap<Rules>,
    /// Grows with every reload, so that connections notice.
    generation: AtomicU32,
    metrics: Arc<Metrics>,
}

/// What a connection may say, as it was found in one generation of the rules.
#[derive(Debug, Clone, Copy)]
pub struct Granted {
    servers: Servers,
    generation: u32,
}

/// Who a peer is, as far as rules tell peers apart.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Where he comes from.
    pub address: IpAddr,
    /// Whether that is [near](is_near).
    pub is_near: bool,
    /// What his certificate names, if he showed one that is trusted.
    pub names: &'a [CompactString],
}

/// Who was denied something; it is the cause of that in the log, and peers don't read it.
#[derive(Debug, thiserror::Error)]
pub struct Identity {
    address: IpAddr,
    names: Vec<CompactString>,
    /// The first entry of `[[peers]]` that he matches.
    entry: String,
}

#[derive(Debug)]
struct Rules {
    rule: Rule,
    /// Requests denied to those who match no entry.
    denied: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Rule {
    /// `open = true`
    Everybody,
    /// Neither `[[peers]]` nor `open`.
    Near,
    /// `[[peers]]`
    Listed(Vec<Entry>),
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    /// Its name, or its place in the list.
    label: String,
    denied: Arc<AtomicU64>,
}

impl Access {
    /// The rules of this configuration.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let rules = ArcSwap::from_pointee(Rules::new(config, &metrics));
        Self { rules, generation: AtomicU32::new(0), metrics }
    }

    /// Goes by this configuration from now on; who is connected, from his next request on.
    pub fn go_by(&self, config: &Config) {
        self.rules.store(Arc::new(Rules::new(config, &self.metrics)));
        self.generation.fetch_add(1, Release);
    }

    /// Whether the caller may connect: whether there is anything that he could be allowed to say.
    /// As long as he `may_show` a certificate, he may have whatever names an entry asks for.
    pub fn admit(&self, caller: Caller<'_>, may_show: bool) -> Result<(), Denied> {
        match &self.rules.load().rule {
            Rule::Everybody => Ok(()),
            Rule::Near if caller.is_near => Ok(()),
            Rule::Near => Err(Denied::NotPrivate),
            Rule::Listed(entries) => {
                let may_match = |entry: &Entry| {
                    entry.is_from_there(caller) && (may_show || entry.is_named(caller))
                };
                if entries.iter().any(may_match) { Ok(()) } else { Err(Denied::NoEntry) }
            }
        }
    }

    /// What the caller may say.
    pub fn grant(&self, caller: Caller<'_>) -> Granted {
        // In this order: rules that are newer than the generation are only looked at once more.
        let generation = self.generation.load(Acquire);
        Granted { servers: self.rules.load().servers(caller), generation }
    }

    /// Whether a connection may speak for this service, by the rules that are in force.
    pub fn allows(&self, granted: &mut Granted, account: &Account, server: Server) -> bool {
        if granted.generation != self.generation.load(Acquire) {
            *granted = self.grant(account.caller());
        }
        granted.servers.has(server)
    }

    /// Counts a request that is denied, and says to whom.
    pub fn deny(&self, account: &Account) -> Identity {
        let rules = self.rules.load();
        let entry = rules.matching(account.caller()).next();
        entry.map_or(&rules.denied, |entry| &entry.denied).fetch_add(1, Relaxed);
        self.identify(account)
    }

    /// Who somebody is.
    pub fn identify(&self, account: &Account) -> Identity {
        let caller = account.caller();
        let rules = self.rules.load();
        let entry = rules.matching(caller).next();
        let entry = entry.map_or(NO_ENTRY, |entry| &entry.label).to_owned();
        Identity { address: caller.address, names: caller.names.to_vec(), entry }
    }

    /// The entries that the caller matches, by name, and what he may say.
    pub fn standing(&self, caller: Caller<'_>) -> (Vec<String>, Servers) {
        let rules = self.rules.load();
        let entries = rules.matching(caller).map(|entry| entry.label.clone());
        (entries.collect(), rules.servers(caller))
    }
}

impl Rules {
    fn new(config: &Config, metrics: &Metrics) -> Self {
        let label = |(index, peer): (usize, &Peer)| match peer.name.as_str() {
            "" => format!("peers[{index}]"),
            name => name.to_owned(),
        };
        let labels: Vec<_> = config.peers.iter().enumerate().map(label).collect();
        let names: Vec<_> = labels.iter().cloned().chain([NO_ENTRY.to_owned()]).collect();
        let mut counters = metrics.denials.keep(&names);
        let denied = counters.pop().unwrap_or_default();
        let rule = match (config.peers.is_empty(), config.open) {
            (true, true) => Rule::Everybody,
            (true, false) => Rule::Near,
            (false, _) => {
                let entries = config.peers.iter().cloned().zip(labels).zip(counters);
                let entry = |((peer, label), denied)| Entry { peer, label, denied };
                Rule::Listed(entries.map(entry).collect())
            }
        };
        Self { rule, denied }
    }

    fn servers(&self, caller: Caller<'_>) -> Servers {
        match &self.rule {
            Rule::Everybody => Servers::ALL,
            Rule::Near if caller.is_near => Servers::ALL,
            Rule::Near => Servers::NONE,
            Rule::Listed(_) => {
                let granted = self.matching(caller).map(|entry| entry.peer.servers);
                granted.fold(Servers::NONE, Servers::and)
            }
        }
    }

    fn matching<'a>(&'a self, caller: Caller<'a>) -> impl Iterator<Item = &'a Entry> {
        let entries: &[Entry] = match &self.rule {
            Rule::Everybody | Rule::Near => &[],
            Rule::Listed(entries) => entries,
        };
        let matches = move |entry: &&Entry| entry.is_from_there(caller) && entry.is_named(caller);
        entries.iter().filter(matches)
    }
}

impl Entry {
    fn is_from_there(&self, caller: Caller<'_>) -> bool {
        let addresses = &self.peer.addresses;
        addresses.is_empty() || addresses.iter().any(|network| network.contains(caller.address))
    }

    fn is_named(&self, caller: Caller<'_>) -> bool {
        let names = &self.peer.certificate;
        names.is_empty() || caller.names.iter().any(|name| names.contains(name))
    }
}

impl Granted {
    /// Whether nothing is allowed.
    pub fn is_nothing(self) -> bool {
        self.servers.is_empty()
    }
}

impl Identity {
    /// The entry of `[[peers]]`, or `none`.
    pub fn entry(&self) -> &str {
        &self.entry
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it comes from {}", self.address)?;
        match self.names.as_slice() {
            [] => f.write_str(" without a certificate's names")?,
            names => write!(f, " as {}", names.join(", "))?,
        }
        match self.entry.as_str() {
            NO_ENTRY => f.write_str(", which no entry of [[peers]] allows"),
            entry => write!(f, ", by the entry \"{entry}\" of [[peers]]"),
        }
    }
}

/// Whether a peer is on this host, on a private network (RFC 1918, RFC 4193) or on the same link.
/// A connection of the host to itself has the same address at both ends. What a provider shares out
/// among his customers (RFC 6598) is not private: the customers are strangers to each other.
pub fn is_near(peer: IpAddr, here: IpAddr) -> bool {
    let peer = peer.to_canonical();
    let is_private = match peer {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private() || peer.is_link_local(),
        IpAddr::V6(peer) => {
            peer.is_loopback() || peer.is_unique_local() || peer.is_unicast_link_local()
        }
    };
    is_private || peer == here.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check_text;

    fn access(toml: &str) -> Access {
        Access::new(&check_text(toml).unwrap(), Arc::default())
    }

    /// What may be said from an address, with these names in a certificate.
    fn said(access: &Access, address: &str, names: &[&str]) -> Vec<&'static str> {
        let address: IpAddr = address.parse().unwrap();
        let names: Vec<_> = names.iter().map(|name| CompactString::from(*name)).collect();
        let here = IpAddr::from([192, 0, 2, 1]);
        let caller = Caller { address, is_near: is_near(address, here), names: &names };
        let granted = access.grant(caller);
        assert_eq!(access.admit(caller, false).is_err(), granted.is_nothing());
        granted.servers.each().map(Server::name).collect()
    }

    fn check_near(address: &str, expected: bool) {
        let here = IpAddr::from([203, 0, 113, 9]);
        assert_eq!(is_near(address.parse().unwrap(), here), expected, "{address}");
    }

    #[test]
    fn near_are_this_host_private_networks_and_the_same_link() {
        for near in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.7.7",
            "203.0.113.9",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "::ffff:10.0.0.1",
            "::ffff:203.0.113.9",
        ] {
            check_near(near, true);
        }
        for far in [
            "203.0.113.8",
            "8.8.8.8",
            "11.0.0.0",
            "9.255.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "100.64.0.1",
            "169.253.0.1",
            "0.0.0.0",
            "::",
            "2001:db8::1",
            "fec0::1",
            "fbff::1",
            "::ffff:8.8.8.8",
            "::10.0.0.1",
            "64:ff9b::a00:1",
        ] {
            check_near(far, false);
        }
    }

    #[test]
    fn without_entries_who_is_near_may_say_everything_and_all_others_if_it_is_open() {
        assert_eq!(said(&access(""), "10.0.0.1", &[]).len(), Server::ALL.len());
        assert_eq!(said(&access(""), "8.8.8.8", &[]), [""; 0]);
        assert_eq!(said(&access(""), "8.8.8.8", &["DNS:room.fleet"]), [""; 0]);
        assert_eq!(said(&access("open = true"), "8.8.8.8", &[]).len(), Server::ALL.len());
    }

    #[test]
    fn with_entries_each_has_what_all_that_he_matches_allow_and_nobody_else_anything() {
        let access = access(
            r#"
            open = true
            [[peers]]
            certificate = ["DNS:room.fleet", "URI:spiffe://fleet/room"]
            addresses = ["10.1.0.0/16", "fd00::/8"]
            servers = "room"
            [[peers]]
            certificate = "DNS:room.fleet"
            servers = "auth"
            [[peers]]
            addresses = ["10.1.2.0/24", "127.0.0.1"]
            servers = ["chat", "signaling", "signaling_scheduling"]
            "#,
        );
        let listed = ["chat", "signaling", "signaling_scheduling"];
        assert_eq!(said(&access, "127.0.0.1", &[]), listed);
        assert_eq!(said(&access, "127.0.0.2", &[]), [""; 0]);
        assert_eq!(said(&access, "::ffff:10.1.2.3", &["DNS:other.fleet"]), listed);
        assert_eq!(said(&access, "10.1.3.3", &["URI:spiffe://fleet/room"]), ["room"]);
        assert_eq!(said(&access, "fd01::1", &["x", "DNS:room.fleet"]), ["auth", "room"]);
        assert_eq!(said(&access, "8.8.8.8", &["DNS:room.fleet"]), ["auth"]);
        assert_eq!(said(&access, "8.8.8.8", &["URI:spiffe://fleet/room"]), [""; 0]);
        let all = said(&access, "10.1.2.3", &["DNS:room.fleet"]);
        assert_eq!(all.len(), Server::ALL.len());
    }

    #[test]
    fn who_may_show_a_certificate_is_let_in_where_one_could_help() {
        let access = access(
            "[[peers]]\ncertificate = \"DNS:a\"\naddresses = \"10.0.0.0/8\"\nservers = \"*\"",
        );
        let admit = |address: [u8; 4], may_show| {
            let caller = Caller { address: address.into(), is_near: true, names: &[] };
            access.admit(caller, may_show)
        };
        assert_eq!(admit([10, 0, 0, 1], true), Ok(()));
        assert_eq!(admit([10, 0, 0, 1], false), Err(Denied::NoEntry));
        assert_eq!(admit([11, 0, 0, 1], true), Err(Denied::NoEntry));
    }
}
