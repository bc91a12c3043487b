//! The form of every file of the store: a header, then groups of records that count wholly or not.
//!
//! A group is what one sync made durable, so a group that was begun proves that everything before
//! it was durable. That tells the two ends of a log apart: a broken group with nothing after it was
//! being written when the power went, and nobody was told of it; a broken group with another one
//! after it is damage, whatever order the disk wrote its blocks in.
//!
//! | file header, 40 bytes | group header, 36 bytes |
//! |---|---|
//! | magic, 8 | offset of this header in the file, 8 |
//! | format, 4 | number of the first change, 8 |
//! | salt, 4 | bytes of records that follow, 8 |
//! | generation, 8 | their checksum, 4 |
//! | number of the log's first change, 8 | changes, 4 |
//! | zero, 4 | checksum of this header, 4 |
//! | checksum of this header, 4 | |
//!
//! Numbers are little-endian. Checksums are CRC-32 that go on from the file header's own, so that
//! nothing of one file is ever taken for a part of another.

/// The format that is written.
///
/// 1 was written before nights were remembered; 2 has records of past nights besides; 3 has several
/// frames on their way, where there was one.
pub(super) const FORMAT: u32 = 3;
/// The oldest format that is read.
pub(super) const FORMAT_OLDEST: u32 = 1;
/// Bytes of a file header.
pub(super) const FILE_HEADER_BYTES: usize = 40;
/// Bytes of a group header.
pub(super) const GROUP_HEADER_BYTES: usize = 36;

/// The two kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes as they happened; groups are numbered by their changes.
    Log,
    /// Every entry, the night, the outstanding frame; groups are numbered from 0.
    Snapshot,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Log => b"stat.log",
            Self::Snapshot => b"stat.snp",
        }
    }
}

/// What a file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// Log or snapshot.
    pub(super) kind: Kind,
    /// As in its name.
    pub(super) generation: u64,
    /// Number of the first change in the log of this generation.
    pub(super) first: u64,
    /// The format that was written when the file was begun. What was appended since may be of a
    /// newer one, up to the folder's: all of them are read in the same way.
    pub(super) format: u32,
    /// Where the checksums of the file's groups start from.
    pub(super) seed: u32,
}

impl FileHeader {
    /// The header of a new file, and its bytes.
    pub(super) fn create(
        kind: Kind,
        generation: u64,
        first: u64,
    ) -> (Self, [u8; FILE_HEADER_BYTES]) {
        let mut bytes = [0; FILE_HEADER_BYTES];
        bytes[0..8].copy_from_slice(kind.magic());
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&fastrand::u32(..).to_le_bytes());
        bytes[16..24].copy_from_slice(&generation.to_le_bytes());
        bytes[24..32].copy_from_slice(&first.to_le_bytes());
        let seed = crc32fast::hash(&bytes[..36]);
        bytes[36..40].copy_from_slice(&seed.to_le_bytes());
        (Self { kind, generation, first, format: FORMAT, seed }, bytes)
    }

    /// The header of a file of this kind, or what is wrong with it.
    pub(super) fn parse(bytes: &[u8; FILE_HEADER_BYTES], kind: Kind) -> Result<Self, &'static str> {
        if bytes[..8] != *kind.magic() {
            return Err("not the beginning of such a file");
        }
        let seed = u32_at(bytes, 36);
        if crc32fast::hash(&bytes[..36]) != seed {
            return Err("the checksum of the file's header is wrong");
        }
        let format = u32_at(bytes, 8);
        if !(FORMAT_OLDEST..=FORMAT).contains(&format) {
            return Err("the file is of another format than its folder");
        }
        Ok(Self { kind, generation: u64_at(bytes, 16), first: u64_at(bytes, 24), format, seed })
    }
}

/// The header of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    offset: u64,
    /// Number of its first change.
    pub(super) first: u64,
    /// Bytes of its records.
    pub(super) length: u64,
    /// Their checksum.
    pub(super) checksum: u32,
    /// Changes in it.
    pub(super) count: u32,
}

impl GroupHeader {
    fn write(self, bytes: &mut [u8], seed: u32) {
        bytes[0..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.count.to_le_bytes());
        let own = checksum(seed, &bytes[..32]);
        bytes[32..36].copy_from_slice(&own.to_le_bytes());
    }

    /// The header at `offset` of the file, if this is one.
    pub(super) fn parse(bytes: &[u8; GROUP_HEADER_BYTES], offset: u64, seed: u32) -> Option<Self> {
        let right = u64_at(bytes, 0) == offset && checksum(seed, &bytes[..32]) == u32_at(bytes, 32);
        right.then(|| Self {
            offset,
            first: u64_at(bytes, 8),
            length: u64_at(bytes, 16),
            checksum: u32_at(bytes, 24),
            count: u32_at(bytes, 28),
        })
    }
}

/// A group on its way to a file: its records, behind room for its header.
#[derive(Debug)]
pub(super) struct Group {
    bytes: Vec<u8>,
    first: u64,
    count: u32,
}

impl Group {
    /// An empty group whose first change will have this number.
    pub(super) fn new(first: u64) -> Self {
        Self { bytes: vec![0; GROUP_HEADER_BYTES], first, count: 0 }
    }

    /// Where records are appended.
    pub(super) fn records(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// One more change is complete.
    pub(super) fn count_change(&mut self) {
        self.count += 1;
    }

    /// Changes in it.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The number of its first change.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next change.
    pub(super) fn next(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Whether no change is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes it takes in the file.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Makes it an empty group again, keeping up to `keep_bytes_max` of its memory.
    pub(super) fn reset(&mut self, first: u64, keep_bytes_max: usize) {
        self.bytes.truncate(GROUP_HEADER_BYTES);
        self.bytes.shrink_to(keep_bytes_max);
        self.first = first;
        self.count = 0;
    }

    /// The whole of it as it is written at `offset` of the file with this seed.
    pub(super) fn seal(&mut self, offset: u64, seed: u32) -> &[u8] {
        let (header, records) = self.bytes.split_at_mut(GROUP_HEADER_BYTES);
        let (first, count, length) = (self.first, self.count, records.len() as u64);
        let checksum = checksum(seed, records);
        GroupHeader { offset, first, length, checksum, count }.write(header, seed);
        &self.bytes
    }
}

/// The checksum of `bytes`, going on from `seed`.
pub(super) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// The number at `offset` of a header.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(number)
}

/// The number at `offset` of a header.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(number)
}
