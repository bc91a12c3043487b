//! Connections by the address they come from, so that one address does not take all places.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

/// Room for so many addresses is kept at any time.
const ADDRESSES_KEPT: usize = 64;
/// What of an IPv6 address is the network's. Whoever is in one has all the addresses in it that he wants.
const NETWORK_BITS: u128 = !0 << 64;

/// How many connections of each address there are, of IPv6 of each /64. Only addresses that have one are in it, so it
/// is never larger than the number of connections.
#[derive(Debug, Default)]
pub(super) struct Neighbours(Mutex<HashMap<IpAddr, usize>>);

/// Counts a connection among those of its address until it is dropped.
#[derive(Debug)]
pub(super) struct Neighbour {
    all: Arc<Neighbours>,
    /// As it is counted.
    address: IpAddr,
}

impl Neighbours {
    /// One more of this address, unless `max` are there; 0 for any number.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<Neighbour> {
        let address = counted(address);
        match self.counts().entry(address) {
            Entry::Occupied(count) if max > 0 && *count.get() >= max => return None,
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(first) => drop(first.insert(1)),
        }
        Some(Neighbour { all: Arc::clone(self), address })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing that is done to it panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address that it is counted as.
fn counted(address: IpAddr) -> IpAddr {
    // A listener on all addresses sees IPv4 in the clothes of IPv6.
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK_BITS).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let mut counts = self.all.counts();
        let Entry::Occupied(mut count) = counts.entry(self.address) else { return };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
            if counts.len() < counts.capacity() / 8 {
                let kept = counts.len().max(ADDRESSES_KEPT);
                counts.shrink_to(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_address_has_as_many_as_are_allowed_however_it_is_written() {
        let all = Arc::new(Neighbours::default());
        let v4 = Ipv4Addr::new(10, 0, 0, 7);
        let (first, other) = (IpAddr::V4(v4), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 8)));
        let mut kept = vec![all.admit(first, 2).unwrap()];
        kept.push(all.admit(IpAddr::V6(v4.to_ipv6_mapped()), 2).unwrap());
        assert!(all.admit(first, 2).is_none());
        kept.push(all.admit(other, 2).unwrap());
        // More are allowed from now on, or any number.
        kept.push(all.admit(first, 3).unwrap());
        kept.push(all.admit(first, 0).unwrap());
        assert!(all.admit(first, 4).is_none());
        kept.clear();
        assert!(all.admit(first, 1).is_some());
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_are_counted_together() {
        let all = Arc::new(Neighbours::default());
        let admit = |text: &str| all.admit(text.parse().unwrap(), 2);
        let first = admit("2001:db8:0:1::1").unwrap();
        let second = admit("2001:db8:0:1:ffff:ffff:ffff:ffff").unwrap();
        assert!(admit("2001:db8:0:1:1234::").is_none());
        let _of_another = admit("2001:db8:0:2::1").unwrap();
        drop(first);
        let _third = admit("2001:db8:0:1:1234::").unwrap();
        assert!(admit("2001:db8:0:1::1").is_none());
        drop(second);
        assert!(admit("2001:db8:0:1::1").is_some());
    }

    #[test]
    fn addresses_that_have_gone_leave_nothing_behind() {
        let all = Arc::new(Neighbours::default());
        let crowd: Vec<_> = (0..100_000_u32)
            .map(|number| all.admit(IpAddr::V4(Ipv4Addr::from_bits(number)), 1).unwrap())
            .collect();
        assert_eq!(all.counts().len(), crowd.len());
        drop(crowd);
        let counts = all.counts();
        assert!(counts.is_empty() && counts.capacity() < 1000, "{}", counts.capacity());
    }
}
