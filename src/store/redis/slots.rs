//! Which master has which of a cluster's slots, and which slot a key is in.

use redis::Value;

use super::address::text;

/// Slots of every cluster.
const SLOTS: u16 = 16384;
/// Keys looked at to find one for every master.
const KEYS_TRIED_MAX: u32 = 1 << 16;

/// Who has which slot: ranges in rising order, the last slot included.
#[derive(Hash)]
pub(super) struct SlotMap {
    ranges: Vec<(u16, u16, String)>,
}

impl SlotMap {
    /// Reads CLUSTER SLOTS as answered by the server at `asked`: a host left out is its own.
    pub(super) fn read(value: &Value, asked: &str) -> Option<Self> {
        let Value::Array(entries) = value else { return None };
        let asked_host = asked.rsplit_once(':').map_or(asked, |(host, _)| host);
        let mut ranges = Vec::with_capacity(entries.len());
        for entry in entries {
            let Value::Array(parts) = entry else { return None };
            let [first, last, Value::Array(master), ..] = parts.as_slice() else { return None };
            let host = text(master.first()?).filter(|host| !host.is_empty());
            let host = host.unwrap_or_else(|| asked_host.to_owned());
            let port = text(master.get(1)?)?;
            let (first, last) = (text(first)?.parse().ok()?, text(last)?.parse().ok()?);
            ranges.push((first, last, format!("{host}:{port}")));
        }
        ranges.sort();
        (!ranges.is_empty()).then_some(Self { ranges })
    }

    /// `host:port` of the slot's master.
    pub(super) fn master_of(&self, slot: u16) -> Option<&str> {
        let at = self.ranges.partition_point(|(_, last, _)| *last < slot);
        let (first, _, address) = self.ranges.get(at)?;
        (*first <= slot).then_some(address)
    }

    /// `host:port` of every master that has slots, in rising order.
    pub(super) fn masters(&self) -> Vec<&str> {
        let mut masters: Vec<_> =
            self.ranges.iter().map(|(_, _, address)| address.as_str()).collect();
        masters.sort_unstable();
        masters.dedup();
        masters
    }

    /// A key on each of them: `prefix:0`, `prefix:1`… until nobody is left out. One that has next to
    /// no slots may be.
    pub(super) fn key_on_each(&self, prefix: &str) -> Vec<String> {
        let mut left = self.masters();
        let mut keys = Vec::with_capacity(left.len());
        let candidates = (0..KEYS_TRIED_MAX).map(|number| format!("{prefix}:{number}"));
        for key in candidates {
            if left.is_empty() {
                break;
            }
            let master = self.master_of(slot_of(key.as_bytes()));
            if let Some(at) = left.iter().position(|other| Some(*other) == master) {
                left.swap_remove(at);
                keys.push(key);
            }
        }
        keys
    }
}

/// What one master says of itself: who it is, the version of its slots, and which they are.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Holding {
    id: String,
    /// Grows whenever the server takes over a slot.
    epoch: String,
    ranges: Vec<(u16, u16)>,
}

impl Holding {
    /// Reads CLUSTER NODES; nothing if the server is no master, or if one of its slots is moving.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let nodes = text(value)?;
        let mut own = nodes.lines().map(str::split_ascii_whitespace).filter_map(|mut words| {
            let (id, flags) = (words.next()?, words.nth(1)?);
            let mut flags = flags.split(',');
            let is_own = flags.clone().any(|flag| flag == "myself");
            (is_own && flags.any(|flag| flag == "master")).then_some((id, words))
        });
        let (id, mut words) = own.next()?;
        let epoch = words.nth(3)?;
        // After the state of the link. A slot on the move is in brackets, and no number.
        let ranges = words.skip(1).map(range).collect::<Option<_>>()?;
        Some(Self { id: id.to_owned(), epoch: epoch.to_owned(), ranges })
    }

    /// Whether nobody else can have a slot.
    pub(super) fn are_all_slots(holdings: &[Self]) -> bool {
        let ranges = holdings.iter().flat_map(|holding| &holding.ranges);
        let count: u32 = ranges.map(|(first, last)| u32::from(last.abs_diff(*first)) + 1).sum();
        count == u32::from(SLOTS)
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// The slot of a key: of the part in its first braces, if there is anything in them.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tagged = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16(tagged.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(own: &str) -> Option<Holding> {
        let nodes = format!(
            "a1 10.0.0.1:6379@16379,one master - 0 0 7 connected 0-100\n\
             b2 10.0.0.2:6379@16379 {own}\n"
        );
        Holding::read(&Value::BulkString(nodes.into_bytes()))
    }

    #[test]
    fn a_server_tells_its_own_slots() {
        let own = holding("myself,master - 0 0 9 connected 101-16382 16383").unwrap();
        let expected = Holding {
            id: "b2".into(),
            epoch: "9".into(),
            ranges: vec![(101, 16382), (16383, 16383)],
        };
        assert_eq!(own, expected);
        assert!(!Holding::are_all_slots(&[own]));
        assert!(Holding::are_all_slots(&[
            holding("myself,master - 0 0 9 connected 0-16383").unwrap()
        ]));
    }

    #[test]
    fn a_server_with_a_slot_on_the_move_or_without_any_say_has_nothing_to_tell() {
        assert_eq!(holding("myself,master - 0 0 9 connected 101-200 [150->-a1]"), None);
        assert_eq!(holding("myself,master - 0 0 9 connected [50-<-a1]"), None);
        assert_eq!(holding("myself,slave a1 0 0 7 connected"), None);
        assert_eq!(holding("master - 0 0 9 connected 101-16383"), None);
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
    }
}
