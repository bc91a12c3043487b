//! Which master has which of a cluster's slots, and which slot a key is in.

use redis::Value;

use super::address::text;

/// Slots of every cluster.
const SLOTS: u16 = 16384;

/// Who has which slot: ranges in rising order, the last slot included.
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

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
    }
}
