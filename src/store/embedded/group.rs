//! The form of every file of the store: a header, then groups of records that count wholly or not.
//!
//! A group is what one sync made durable, so a group that was begun proves that everything before
//! it was durable. That tells the two ends of a log apart: a broken group with nothing after it was
//! being written when the power went, and nobody was told of it; a broken group with another one
//! after it is damage, whatever order the disk wrote its blocks in.
//!
//! | file header, 40 bytes | group header, 32 bytes |
//! |---|---|
//! | magic, 8 | offset of this header in the file, 8 |
//! | format, 4 | number of the first change, 8 |
//! | salt, 4 | changes, 4 |
//! | generation, 8 | bytes of records that follow, 4 |
//! | number of the log's first change, 8 | their checksum, 4 |
//! | zero, 4 | checksum of this header, 4 |
//! | checksum of this header, 4 | |
//!
//! Numbers are little-endian. Checksums are CRC-32 that go on from the file header's own, so that
//! nothing of one file is ever taken for a part of another.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// The format of everything in the folder.
pub(super) const FORMAT: u32 = 1;
/// Bytes of a file header.
pub(super) const FILE_HEADER_BYTES: usize = 40;
/// Bytes of a group header.
pub(super) const GROUP_HEADER_BYTES: usize = 32;

const READ_BUFFER_BYTES: usize = 1 << 20;

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
        (Self { kind, generation, first, seed }, bytes)
    }

    fn parse(bytes: &[u8; FILE_HEADER_BYTES], kind: Kind) -> Result<Self, &'static str> {
        if bytes[..8] != *kind.magic() {
            return Err("not the beginning of such a file");
        }
        let seed = u32_at(bytes, 36);
        if crc32fast::hash(&bytes[..36]) != seed {
            return Err("the checksum of the file's header is wrong");
        }
        if u32_at(bytes, 8) != FORMAT {
            return Err("the file is of another format than its folder");
        }
        Ok(Self { kind, generation: u64_at(bytes, 16), first: u64_at(bytes, 24), seed })
    }
}

/// The header of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GroupHeader {
    offset: u64,
    first: u64,
    count: u32,
    length: u32,
    checksum: u32,
}

impl GroupHeader {
    fn write(self, bytes: &mut [u8], seed: u32) {
        bytes[0..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.count.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.checksum.to_le_bytes());
        let own = checksum(seed, &bytes[..28]);
        bytes[28..32].copy_from_slice(&own.to_le_bytes());
    }

    /// The header at `offset` of the file, if this is one.
    fn parse(bytes: &[u8; GROUP_HEADER_BYTES], offset: u64, seed: u32) -> Option<Self> {
        let right = u64_at(bytes, 0) == offset && checksum(seed, &bytes[..28]) == u32_at(bytes, 28);
        right.then(|| Self {
            offset,
            first: u64_at(bytes, 8),
            count: u32_at(bytes, 16),
            length: u32_at(bytes, 20),
            checksum: u32_at(bytes, 24),
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
    #[expect(clippy::expect_used, reason = "bounded by the store's limit on what is pending")]
    pub(super) fn seal(&mut self, offset: u64, seed: u32) -> &[u8] {
        let (header, records) = self.bytes.split_at_mut(GROUP_HEADER_BYTES);
        let length = u32::try_from(records.len()).expect("a group is far below 4 GiB");
        let checksum = checksum(seed, records);
        let (first, count) = (self.first, self.count);
        GroupHeader { offset, first, count, length, checksum }.write(header, seed);
        &self.bytes
    }
}

/// What a file holds at a place.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A right group: its records.
    Group(&'a [u8]),
    /// Nothing more, and nothing is wrong.
    End,
    /// Something that is no right group.
    Broken(&'static str),
    /// A right group that can't stand here.
    Misplaced(String),
}

/// Reads a file's groups in order.
#[derive(Debug)]
pub(super) struct GroupReader {
    /// The file's own words.
    pub(super) header: FileHeader,
    /// Its path, for errors.
    pub(super) path: PathBuf,
    /// Where the next group begins: all before it is right.
    pub(super) offset: u64,
    /// Bytes in the file.
    pub(super) length: u64,
    /// The number the next group must begin with.
    pub(super) next: u64,
    file: BufReader<File>,
    records: Vec<u8>,
}

impl GroupReader {
    /// Opens the file of this kind and generation and checks its header.
    pub(super) fn open(path: &Path, kind: Kind, generation: u64) -> Result<Self, OpenError> {
        let file = File::open(path).map_err(OpenError::io("open", path))?;
        let length = file.metadata().map_err(OpenError::io("read", path))?.len();
        let mut file = BufReader::with_capacity(READ_BUFFER_BYTES, file);
        let mut bytes = [0; FILE_HEADER_BYTES];
        if length < bytes.len() as u64 {
            return Err(OpenError::damaged(path, length, "the file ends inside its header"));
        }
        file.read_exact(&mut bytes).map_err(OpenError::io("read", path))?;
        let header =
            FileHeader::parse(&bytes, kind).map_err(|what| OpenError::damaged(path, 0, what))?;
        if header.generation != generation {
            let what = format!("the file is of generation {}", header.generation);
            return Err(OpenError::damaged(path, 0, what));
        }
        let next = match kind {
            Kind::Log => header.first,
            Kind::Snapshot => 0,
        };
        let offset = FILE_HEADER_BYTES as u64;
        Ok(Self { header, path: path.to_owned(), offset, length, next, file, records: Vec::new() })
    }

    /// The next group. After anything but a group the reader has come to its end.
    pub(super) fn next_group(&mut self) -> Result<Found<'_>, OpenError> {
        let left = self.length - self.offset;
        if left == 0 {
            return Ok(Found::End);
        }
        if left < GROUP_HEADER_BYTES as u64 {
            return Ok(Found::Broken("the file ends inside a group's header"));
        }
        let mut bytes = [0; GROUP_HEADER_BYTES];
        self.file.read_exact(&mut bytes).map_err(OpenError::io("read", &self.path))?;
        let Some(header) = GroupHeader::parse(&bytes, self.offset, self.header.seed) else {
            return Ok(Found::Broken("the checksum of a group's header is wrong"));
        };
        if header.first != self.next || header.count == 0 {
            let what = format!("change {} stands where change {} belongs", header.first, self.next);
            return Ok(Found::Misplaced(what));
        }
        let whole = GROUP_HEADER_BYTES as u64 + u64::from(header.length);
        if whole > left {
            return Ok(Found::Broken("the file ends inside a group"));
        }
        self.records.resize(header.length as usize, 0);
        self.file.read_exact(&mut self.records).map_err(OpenError::io("read", &self.path))?;
        if checksum(self.header.seed, &self.records) != header.checksum {
            return Ok(Found::Broken("the checksum of a group is wrong"));
        }
        self.offset += whole;
        self.next += u64::from(header.count);
        Ok(Found::Group(&self.records))
    }

    /// Where a later group was begun, behind the broken one at `offset`.
    pub(super) fn find_later_group(&self) -> io::Result<Option<u64>> {
        let file = File::open(&self.path)?;
        let mut at = self.offset + 1;
        let mut window = vec![0; READ_BUFFER_BYTES];
        loop {
            let read = read_full_at(&file, &mut window, at)?;
            for (offset, bytes) in (at..).zip(window[..read].windows(GROUP_HEADER_BYTES)) {
                let bytes = bytes.first_chunk().filter(|bytes| u64_at(*bytes, 0) == offset);
                if bytes.is_some_and(|b| GroupHeader::parse(b, offset, self.header.seed).is_some())
                {
                    return Ok(Some(offset));
                }
            }
            if read < window.len() {
                return Ok(None);
            }
            at += (read - GROUP_HEADER_BYTES + 1) as u64;
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
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
