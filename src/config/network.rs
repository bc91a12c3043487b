//! Addresses that belong together: `10.1.0.0/16`, or one alone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What may stand there, for people.
pub(super) const EXPECTED: &str = "IP addresses or networks, as in [\"10.1.0.0/16\", \"::1\"]";

/// Before these bits of an IPv6 address stands what says that it is an IPv4 address.
const MAPPED_BITS: u32 = 96;

/// The addresses that have their first bits in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The first of them; never an IPv4 address in IPv6's clothes.
    address: IpAddr,
    /// How many bits they have in common.
    prefix: u32,
}

impl Network {
    /// Reads an address or `ADDRESS/BITS`; an error says what is wrong without repeating the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "not an IP address".to_owned())?;
        let bits = width(address);
        let prefix = prefix.map_or(Some(bits), |prefix| parse_prefix(prefix, bits));
        let prefix = prefix.ok_or_else(|| format!("after the / stands no number up to {bits}"))?;
        let network = Self::canonical(address, prefix);
        let first = network.first();
        if first != network.address {
            let meant = Self { address: first, prefix: network.prefix };
            return Err(format!("bits beyond the first {prefix} are set; the network is {meant}"));
        }
        Ok(network)
    }

    /// Whether the address is one of these. An IPv4 address may come in IPv6's clothes.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.address)
            && Self { address, prefix: self.prefix }.first() == self.address
    }

    fn canonical(address: IpAddr, prefix: u32) -> Self {
        match address.to_canonical() {
            mapped @ IpAddr::V4(_) if address.is_ipv6() && prefix >= MAPPED_BITS => {
                Self { address: mapped, prefix: prefix - MAPPED_BITS }
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Self { address, prefix },
        }
    }

    fn first(&self) -> IpAddr {
        let beyond = width(self.address) - self.prefix;
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(beyond).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(beyond).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        }
    }
}

fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => Ipv4Addr::BITS,
        IpAddr::V6(_) => Ipv6Addr::BITS,
    }
}

fn parse_prefix(text: &str, bits: u32) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|prefix| is_number && *prefix <= bits)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix == width(self.address) {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network = Network::parse(network).unwrap();
        assert_eq!(Network::parse(&network.to_string()), Ok(network));
        for address in inside {
            assert!(network.contains(address.parse().unwrap()), "{address} in {network}");
        }
        for address in outside {
            assert!(!network.contains(address.parse().unwrap()), "{address} not in {network}");
        }
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_as_it_does() {
        check("10.1.0.0/16", &["10.1.0.0", "10.1.255.255"], &["10.2.0.0", "10.0.255.255", "::"]);
        check("10.1.2.3", &["10.1.2.3", "::ffff:10.1.2.3"], &["10.1.2.2", "::10.1.2.3"]);
        check("0.0.0.0/0", &["255.255.255.255"], &["::1"]);
        check("::/0", &["::1", "ffff::"], &["127.0.0.1", "::ffff:127.0.0.1"]);
        check("fd00:1::/33", &["fd00:1:7fff::"], &["fd00:1:8000::"]);
        check("::1", &["::1"], &["::2"]);
    }

    #[test]
    fn an_ipv4_network_in_ipv6s_clothes_is_one_of_ipv4() {
        check("::ffff:10.1.0.0/112", &["10.1.9.9", "::ffff:10.1.9.9"], &["10.2.0.0"]);
        assert_eq!(Network::parse("::ffff:10.1.0.0/112").unwrap().to_string(), "10.1.0.0/16");
    }

    #[test]
    fn what_is_wrong_with_a_network_is_said() {
        for (text, why) in [
            ("", "not an IP address"),
            ("room.fleet", "not an IP address"),
            ("10.1.0.0:80", "not an IP address"),
            ("10.1.0.0/33", "after the / stands no number up to 32"),
            ("10.1.0.0/", "after the / stands no number up to 32"),
            ("10.1.0.0/+8", "after the / stands no number up to 32"),
            ("::1/129", "after the / stands no number up to 128"),
            ("10.1.2.0/16", "bits beyond the first 16 are set; the network is 10.1.0.0/16"),
        ] {
            assert_eq!(Network::parse(text), Err(why.to_owned()), "{text}");
        }
    }
}
