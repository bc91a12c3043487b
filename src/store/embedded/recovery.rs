//! From a folder to the state: makes a new store, or reads one and tells a torn end from damage.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use super::acknowledged::{Acknowledged, AcknowledgedFile};
use super::disk::Disk;
use super::error::OpenError;
use super::folder::{Before, Folder};
use super::group::{FILE_HEADER_BYTES, FORMAT, Kind};
use super::log::LogFile;
use super::reader::{Found, GroupReader};
use super::record;
use super::snapshot;
use crate::crash::{self, Point};
use crate::store::state::State;

const FIRST_GENERATION: u64 = 1;
const COPY_BYTES: usize = 1 << 20;

/// A store as its folder has it.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Everything the folder holds.
    pub(super) state: State,
    /// The newest log, wholly synced.
    pub(super) log: LogFile,
    /// Generation of the newest snapshot; older than the log's if a compaction was cut short.
    pub(super) base: u64,
    /// Size of the newest snapshot.
    pub(super) snapshot_bytes: u64,
    /// The file in which acknowledged lengths are kept.
    pub(super) acknowledged: AcknowledgedFile,
}

/// Brings the folder to a state that can be gone on with. If that fails, nothing was changed in a
/// folder that was a store.
pub(super) fn recover(
    folder: &Folder,
    before: Before,
    disk: &Disk,
) -> Result<Recovered, OpenError> {
    match before {
        Before::New => create(folder, disk),
        Before::Store { format } => {
            let sound = read(folder)?;
            if format < FORMAT {
                raise_format(folder, format)?;
            }
            settle(folder, sound, disk)
        }
    }
}

/// Makes the store. Until the last step the folder is still one in which a store was begun.
fn create(folder: &Folder, disk: &Disk) -> Result<Recovered, OpenError> {
    let snapshot_path = folder.path(Kind::Snapshot, FIRST_GENERATION);
    let log = snapshot::Log { generation: FIRST_GENERATION, first: 1 };
    let written = snapshot::write_empty(folder, disk, log)
        .and_then(|written| {
            folder.finish_file(Kind::Snapshot, FIRST_GENERATION)?;
            Ok(written)
        })
        .map_err(OpenError::io("write", &snapshot_path))?;
    let log_path = folder.path(Kind::Log, FIRST_GENERATION);
    let log = LogFile::create(folder, FIRST_GENERATION, log.first)
        .map_err(OpenError::io("write", &log_path))?;
    let acknowledged = AcknowledgedFile::create(folder, log.acknowledged())
        .map_err(OpenError::io("write", &folder.acknowledged_path()))?;
    folder.write_version().map_err(OpenError::io("write the version into", folder.dir()))?;
    Ok(Recovered {
        state: State::default(),
        log,
        base: FIRST_GENERATION,
        snapshot_bytes: written.bytes,
        acknowledged,
    })
}

/// The folder was read to its end: from here on it is of this program's format. The mark comes
/// before anything else is written, so that no older program ever meets what it can't read; the log
/// gives way to one of the new format as soon as the writer begins.
fn raise_format(folder: &Folder, format: u32) -> Result<(), OpenError> {
    folder.write_version().map_err(OpenError::io("write the version into", folder.dir()))?;
    tracing::warn!(
        from = format,
        to = FORMAT,
        "the store's folder has a newer format now: older versions of stated can't open it any more"
    );
    crash::point(Point::FormatRaised);
    Ok(())
}

/// A folder that was read to its end, in which nothing was changed yet.
struct Sound {
    state: State,
    snapshot: Snapshot,
    /// The newest log where it ends, if there is one.
    newest: Option<GroupReader>,
    /// A log after that, which was begun in vain.
    vain: Option<Vain>,
    acknowledged_file: AcknowledgedFile,
    acknowledged: Acknowledged,
}

fn read(folder: &Folder) -> Result<Sound, OpenError> {
    let (acknowledged_file, acknowledged) = AcknowledgedFile::open(folder)?;
    let mut state = State::default();
    let snapshot = read_snapshot(folder, &mut state)?;
    let vain = find_vain_log(folder, &snapshot, acknowledged)?;
    let newest = read_logs(folder, &mut state, &snapshot, acknowledged, vain)?;
    Ok(Sound { state, snapshot, newest, vain, acknowledged_file, acknowledged })
}

/// Makes what a sound folder holds durable, and takes away what doesn't count.
fn settle(folder: &Folder, sound: Sound, disk: &Disk) -> Result<Recovered, OpenError> {
    let Sound { state, snapshot, newest, vain, acknowledged_file, acknowledged } = sound;
    if let Some(Vain { generation, .. }) = vain {
        // Durably, before the log goes on that it would be found after.
        let path = folder.path(Kind::Log, generation);
        folder.remove_durably(Kind::Log, generation).map_err(OpenError::io("remove", &path))?;
    }
    let log = match newest {
        Some(reader) => settle_end(&reader, acknowledged, disk)?,
        None => LogFile::create(folder, snapshot.generation, snapshot.first)
            .map_err(OpenError::io("write", &folder.path(Kind::Log, snapshot.generation)))?,
    };
    acknowledged_file
        .write(log.acknowledged())
        .map_err(OpenError::io("write", &folder.acknowledged_path()))?;
    folder.remove_leftovers(snapshot.generation)?;
    Ok(Recovered {
        state,
        log,
        base: snapshot.generation,
        snapshot_bytes: snapshot.bytes,
        acknowledged: acknowledged_file,
    })
}

/// What is known of the snapshot that was read.
#[derive(Debug)]
struct Snapshot {
    generation: u64,
    /// The first change of its log.
    first: u64,
    /// The change up to which its log must reach.
    position: u64,
    bytes: u64,
}

fn read_snapshot(folder: &Folder, state: &mut State) -> Result<Snapshot, OpenError> {
    let Some(generation) = folder.generations(Kind::Snapshot)?.pop() else {
        let path = folder.path(Kind::Snapshot, FIRST_GENERATION);
        return Err(OpenError::damaged(&path, 0, "there is no snapshot of any generation"));
    };
    let path = folder.path(Kind::Snapshot, generation);
    let mut reader = GroupReader::open(folder.disk(), &path, Kind::Snapshot, generation)?;
    loop {
        let offset = reader.offset;
        let what = match reader.next_group()? {
            Found::Group(records) => match record::restore(state, records) {
                Ok(None) => continue,
                Ok(Some(end)) if reader.offset == reader.length => {
                    return Ok(Snapshot {
                        generation,
                        first: reader.header.first,
                        position: end.position,
                        bytes: reader.length,
                    });
                }
                Ok(Some(_)) => "something follows the end of the snapshot".to_owned(),
                Err(record::Malformed) => "a record can't be read".to_owned(),
            },
            Found::End => "the snapshot ends before its end".to_owned(),
            Found::Broken(what) => what.to_owned(),
            Found::Misplaced(what) => what,
        };
        return Err(OpenError::damaged(&path, offset, what));
    }
}

/// A log without a change, and without a note that anything of it was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Vain {
    generation: u64,
    /// Its first change would have been this. All before it was synced when it was begun.
    first: u64,
}

/// The newest log, if it was begun in vain. The disk may have failed when it had its name already, and
/// when that was to be taken away again: then the one before it went on.
fn find_vain_log(
    folder: &Folder,
    snapshot: &Snapshot,
    acknowledged: Acknowledged,
) -> Result<Option<Vain>, OpenError> {
    let generation = folder.generations(Kind::Log)?.pop().unwrap_or_default();
    if generation <= snapshot.generation.max(acknowledged.generation) {
        return Ok(None);
    }
    let path = folder.path(Kind::Log, generation);
    let reader = GroupReader::open(folder.disk(), &path, Kind::Log, generation)?;
    let is_empty = reader.length == reader.offset;
    Ok(is_empty.then_some(Vain { generation, first: reader.header.first }))
}

/// Reads every log from the snapshot's on; returns the newest where it ends. `None` if there is no
/// log and need not be one: the daemon died between making the snapshot and its log.
fn read_logs(
    folder: &Folder,
    state: &mut State,
    snapshot: &Snapshot,
    acknowledged: Acknowledged,
    vain: Option<Vain>,
) -> Result<Option<GroupReader>, OpenError> {
    let mut logs = folder.generations(Kind::Log)?;
    logs.retain(|generation| vain.is_none_or(|vain| *generation < vain.generation));
    let found = logs.pop().unwrap_or_default();
    let reached = vain.map_or(0, |vain| vain.first).max(snapshot.position + 1);
    let newest = found.max(acknowledged.generation).max(snapshot.generation);
    let none_needed = snapshot.position < snapshot.first;
    if found < snapshot.generation
        && newest == snapshot.generation
        && none_needed
        && acknowledged.generation < newest
    {
        return Ok(None);
    }
    let mut next = snapshot.first;
    let mut generation = snapshot.generation;
    loop {
        let path = folder.path(Kind::Log, generation);
        if !path.exists() {
            return Err(OpenError::damaged(&path, 0, "the log is missing"));
        }
        let mut reader = GroupReader::open(folder.disk(), &path, Kind::Log, generation)?;
        if reader.next != next {
            let what = format!("the log begins with change {}, not {next}", reader.next);
            return Err(OpenError::damaged(&path, 0, what));
        }
        let known = (generation == acknowledged.generation).then_some(acknowledged.length);
        read_log(&mut reader, state, known.unwrap_or_default(), generation == newest)?;
        next = reader.next;
        if generation == newest {
            if next < reached {
                let what = format!("the changes from {next} to {} are missing", reached - 1);
                return Err(OpenError::damaged(&path, reader.offset, what));
            }
            return Ok(Some(reader));
        }
        generation += 1;
    }
}

/// Reads a log of which `known` bytes are known to have been synced.
fn read_log(
    reader: &mut GroupReader,
    state: &mut State,
    known: u64,
    is_newest: bool,
) -> Result<(), OpenError> {
    let what = loop {
        let offset = reader.offset;
        match reader.next_group()? {
            Found::Group(records) => match record::restore(state, records) {
                Ok(None) => {}
                Ok(Some(_)) | Err(record::Malformed) => {
                    return Err(OpenError::damaged(&reader.path, offset, "a record can't be read"));
                }
            },
            Found::End if offset >= known => return Ok(()),
            Found::End => break format!("the file ends, {known} bytes of it were acknowledged"),
            Found::Misplaced(what) => break what,
            Found::Broken(what) if offset < known => break what.to_owned(),
            Found::Broken(what) if !is_newest => match reader.is_only_room()? {
                // It was not given back. That nothing is missing shows in what the next log begins with.
                true => return Ok(()),
                false => break format!("{what}, and a later log exists"),
            },
            Found::Broken(what) => match reader.find_later_group() {
                Ok(Some(later)) => break format!("{what}, and later changes follow at {later}"),
                Ok(None) => return Ok(()),
                Err(source) => return Err(OpenError::io("read", &reader.path)(source)),
            },
        }
    };
    Err(OpenError::damaged(&reader.path, reader.offset, what))
}

/// Cuts off what was being written when the daemon died and makes the rest durable.
fn settle_end(
    reader: &GroupReader,
    acknowledged: Acknowledged,
    disk: &Disk,
) -> Result<LogFile, OpenError> {
    let path = &reader.path;
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(OpenError::io("open", path))?;
    let torn = reader.length - reader.offset;
    if torn > 0 {
        // Room that was made ahead of time is what every log has that was not closed.
        let is_room = reader.is_only_room()?;
        disk.cut(&file, reader.offset).map_err(OpenError::io("cut off the torn end of", path))?;
        crash::point(Point::TornEndCut);
        if !is_room {
            tracing::info!(
                torn_bytes = torn,
                "the store's log had a torn end that nobody was told of: it is cut off"
            );
        }
    }
    let known = match acknowledged.generation == reader.header.generation {
        true => acknowledged.length,
        false => FILE_HEADER_BYTES as u64,
    };
    rewrite(&file, known, reader.offset, disk)
        .and_then(|()| disk.sync(&file))
        .map_err(OpenError::io("sync", path))?;
    Ok(LogFile::opened(file, reader.header, reader.offset, reader.next))
}

/// Writes what may be in memory alone once more. If its first sync had failed, the system would
/// take it for written and never write it.
fn rewrite(file: &File, from: u64, to: u64, disk: &Disk) -> std::io::Result<()> {
    let mut bytes = vec![0; COPY_BYTES];
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
        let part = &mut bytes[..length];
        file.read_exact_at(part, at)?;
        disk.write(file, part, at)?;
        at += length as u64;
    }
    Ok(())
}
