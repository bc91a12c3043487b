//! Reads a file's groups back, and tells what is wrong where something is.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::error::OpenError;
use super::group::{
    FILE_HEADER_BYTES, FileHeader, GROUP_HEADER_BYTES, GroupHeader, Kind, checksum, u64_at,
};

const READ_BUFFER_BYTES: usize = 1 << 20;

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
    pub(super) fn open(
        disk: &Disk,
        path: &Path,
        kind: Kind,
        generation: u64,
    ) -> Result<Self, OpenError> {
        let file = disk.read(path).map_err(OpenError::io("open", path))?;
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
        let left = left - GROUP_HEADER_BYTES as u64;
        let length = usize::try_from(header.length).ok().filter(|_| header.length <= left);
        let Some(length) = length else {
            return Ok(Found::Broken("the file ends inside a group"));
        };
        self.records.resize(length, 0);
        self.file.read_exact(&mut self.records).map_err(OpenError::io("read", &self.path))?;
        if checksum(self.header.seed, &self.records) != header.checksum {
            return Ok(Found::Broken("the checksum of a group is wrong"));
        }
        self.offset += GROUP_HEADER_BYTES as u64 + header.length;
        self.next += u64::from(header.count);
        Ok(Found::Group(&self.records))
    }

    /// Whether there are nothing but zeros from `offset` on.
    pub(super) fn is_only_room(&self) -> Result<bool, OpenError> {
        self.has_only_zeros_left().map_err(OpenError::io("read", &self.path))
    }

    fn has_only_zeros_left(&self) -> io::Result<bool> {
        let file = File::open(&self.path)?;
        let (mut at, mut window) = (self.offset, vec![0; READ_BUFFER_BYTES]);
        loop {
            let read = read_full_at(&file, &mut window, at)?;
            if window.iter().take(read).any(|byte| *byte != 0) {
                return Ok(false);
            }
            if read < window.len() {
                return Ok(true);
            }
            at += read as u64;
        }
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
