//! The store's folder: whose it is, who has it open, what lies in it.
//!
//! | name | what |
//! |---|---|
//! | `VERSION` | the mark of the format, made last of all: with it the folder is a store |
//! | `LOCK` | locked by the process that has the folder open, which writes its id into it |
//! | `acknowledged` | how much of which log is known to be synced; see [`super::acknowledged`] |
//! | `snapshot-N` | the state, some time while `log-N` was written |
//! | `log-N` | every change since the latest one of `log-(N-1)` |
//! | `*.tmp` | what was not finished, and means nothing |

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::acknowledged::ACKNOWLEDGED_BYTES;
use super::disk::Disk;
use super::error::OpenError;
use super::group::{FILE_HEADER_BYTES, FORMAT, FORMAT_OLDEST, FileHeader, Kind};
use crate::crash::{self, Point};

const VERSION: &str = "VERSION";
const LOCK: &str = "LOCK";
const ACKNOWLEDGED: &str = "acknowledged";
const UNFINISHED: &str = ".tmp";
const VERSION_TEXT: &str = "stated embedded store, format ";
/// A folder without `VERSION` whose only snapshot is larger than this is not one whose making was
/// cut short.
const EMPTY_SNAPSHOT_BYTES_MAX: u64 = 256;

/// A folder that this process alone has open.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// For syncing what is in it by name.
    handle: File,
    disk: Arc<Disk>,
    /// Held, not read: dropping it lets go of the folder.
    _lock: File,
}

/// What a folder was before anything was done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Empty, or left so by somebody who died making it a store.
    New,
    /// A store of this format.
    Store {
        /// As its mark says.
        format: u32,
    },
}

impl Folder {
    /// Makes `dir` if it is missing and takes it, if nobody else has it and it is empty or a store.
    pub(super) fn claim(dir: &Path, disk: Arc<Disk>) -> Result<(Self, Before), OpenError> {
        make_dir(dir)?;
        inspect(dir)?;
        let lock = lock(dir)?;
        crash::point(Point::FolderLocked);
        // Somebody may have made it a store, or anything else, before the lock was ours.
        let before = inspect(dir)?;
        let handle = File::open(dir).map_err(OpenError::io("open", dir))?;
        Ok((Self { dir: dir.to_owned(), handle, disk, _lock: lock }, before))
    }

    /// The folder's path.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The last step of making a store: everything else in it is durably there before. In a store
    /// of an older format it takes the place of the mark: no program that doesn't know this format
    /// opens the folder from then on.
    pub(super) fn write_version(&self) -> io::Result<()> {
        self.disk.sync_folder(&self.handle)?;
        let file = self.disk.create(&self.unfinished(VERSION))?;
        self.disk.write(&file, format!("{VERSION_TEXT}{FORMAT}\n").as_bytes(), 0)?;
        self.disk.sync(&file)?;
        crash::point(Point::VersionWritten);
        self.finish(VERSION)?;
        crash::point(Point::VersionNamed);
        Ok(())
    }

    /// Path of the file of this kind and generation.
    pub(super) fn path(&self, kind: Kind, generation: u64) -> PathBuf {
        self.dir.join(name(kind, generation))
    }

    /// Path of the file of this kind and generation while it is being written.
    pub(super) fn unfinished_path(&self, kind: Kind, generation: u64) -> PathBuf {
        self.unfinished(&name(kind, generation))
    }

    /// A file that is written and synced gets its name, durably.
    pub(super) fn finish_file(&self, kind: Kind, generation: u64) -> io::Result<()> {
        self.finish(&name(kind, generation))
    }

    fn unfinished(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{UNFINISHED}"))
    }

    fn finish(&self, name: &str) -> io::Result<()> {
        self.disk.rename(&self.unfinished(name), &self.dir.join(name))?;
        crash::point(Point::FileRenamed);
        self.disk.sync_folder(&self.handle)
    }

    /// A new log of this generation, durably there and empty.
    pub(super) fn create_log(&self, generation: u64, first: u64) -> io::Result<(File, FileHeader)> {
        let path = self.unfinished_path(Kind::Log, generation);
        let file = self.disk.create(&path)?;
        let (header, bytes) = FileHeader::create(Kind::Log, generation, first);
        self.disk.write(&file, &bytes, 0)?;
        crash::point(Point::LogBegun);
        self.disk.sync(&file)?;
        crash::point(Point::LogHeaderSynced);
        if let Err(error) = self.finish_file(Kind::Log, generation) {
            // The older log goes on: this one must not be found after it.
            self.remove_file(Kind::Log, generation);
            return Err(error);
        }
        crash::point(Point::LogNamed);
        Ok((file, header))
    }

    /// Removes a file that was begun in vain, if it is there.
    pub(super) fn remove_file(&self, kind: Kind, generation: u64) {
        if let Err(error) = self.remove_durably(kind, generation)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::error!(
                ?kind,
                generation,
                "a file of the store that was begun in vain stays: {error}"
            );
        }
    }

    /// Removes a file, durably.
    pub(super) fn remove_durably(&self, kind: Kind, generation: u64) -> io::Result<()> {
        self.disk.remove(&self.path(kind, generation))?;
        self.disk.sync_folder(&self.handle)
    }

    /// The generations of this kind's finished files, rising.
    pub(super) fn generations(&self, kind: Kind) -> Result<Vec<u64>, OpenError> {
        let mut generations: Vec<u64> =
            names(&self.dir)?.iter().filter_map(|name| generation_of(kind, name)).collect();
        generations.sort_unstable();
        Ok(generations)
    }

    /// Removes what does not count any more: unfinished files and those before `base`.
    pub(super) fn remove_leftovers(&self, base: u64) -> Result<(), OpenError> {
        for name in names(&self.dir)? {
            let generation =
                [Kind::Log, Kind::Snapshot].into_iter().find_map(|kind| generation_of(kind, &name));
            let unfinished = name.strip_suffix(UNFINISHED).is_some_and(is_own_name);
            if unfinished || generation.is_some_and(|generation| generation < base) {
                let path = self.dir.join(name);
                self.disk.remove(&path).map_err(OpenError::io("remove", &path))?;
                crash::point(Point::LeftoverRemoved);
            }
        }
        Ok(())
    }

    /// How its files are written.
    pub(super) fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Path of the record of what is acknowledged.
    pub(super) fn acknowledged_path(&self) -> PathBuf {
        self.dir.join(ACKNOWLEDGED)
    }
}

/// Makes the folder, and those above it, durably.
fn make_dir(dir: &Path) -> Result<(), OpenError> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    fs::create_dir_all(dir).map_err(OpenError::io("make the folder", dir))?;
    crash::point(Point::FolderMade);
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(OpenError::io("sync the folder", parent))?;
    }
    Ok(())
}

/// Tells a store from something new and from something else, without touching it.
fn inspect(dir: &Path) -> Result<Before, OpenError> {
    let path = dir.join(VERSION);
    match fs::read(&path) {
        Ok(version) => check_version(dir, &version),
        Err(error) if error.kind() == ErrorKind::NotFound => check_new(dir),
        Err(source) => Err(OpenError::io("read", &path)(source)),
    }
}

fn check_version(dir: &Path, version: &[u8]) -> Result<Before, OpenError> {
    let format = std::str::from_utf8(version)
        .ok()
        .and_then(|text| text.strip_prefix(VERSION_TEXT)?.strip_suffix('\n')?.parse::<u32>().ok());
    let dir = dir.to_owned();
    match format {
        Some(format @ FORMAT_OLDEST..=FORMAT) => Ok(Before::Store { format }),
        Some(format) if format > FORMAT => {
            Err(OpenError::NewerFormat { dir, format, known: FORMAT })
        }
        Some(_) | None => {
            let found = format!("its {VERSION} says something else");
            Err(OpenError::NotOurs { dir, found })
        }
    }
}

/// A folder without a version is new if it holds nothing but what a store is begun with.
fn check_new(dir: &Path) -> Result<Before, OpenError> {
    for name in names(dir)? {
        let beginning = match name.as_str() {
            // What a fresh file system has in its root.
            "lost+found" => true,
            LOCK | ACKNOWLEDGED => file_bytes(&dir.join(&name))? <= ACKNOWLEDGED_BYTES as u64,
            "log-1" => file_bytes(&dir.join(&name))? <= FILE_HEADER_BYTES as u64,
            "snapshot-1" => file_bytes(&dir.join(&name))? <= EMPTY_SNAPSHOT_BYTES_MAX,
            "VERSION.tmp" | "log-1.tmp" | "snapshot-1.tmp" => true,
            _ => false,
        };
        if !beginning {
            let found = format!("it has no {VERSION} and holds {name:?}");
            return Err(OpenError::NotOurs { dir: dir.to_owned(), found });
        }
    }
    Ok(Before::New)
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = file.map_err(OpenError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).ok().and_then(|pid| pid.trim().parse().ok());
            return Err(OpenError::InUse { dir: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(OpenError::io("lock", &path)(source)),
    }
    // The lock is what counts; on a full disk its holder just stays without a name.
    let named = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = named {
        let path = path.display();
        tracing::debug!(%path, "the process id could not be written into {path}: {error}");
    }
    Ok(file)
}

fn name(kind: Kind, generation: u64) -> String {
    match kind {
        Kind::Log => format!("log-{generation}"),
        Kind::Snapshot => format!("snapshot-{generation}"),
    }
}

fn generation_of(kind: Kind, file: &str) -> Option<u64> {
    let (_, generation) = file.split_once('-')?;
    let generation = generation.parse().ok()?;
    (name(kind, generation) == file).then_some(generation)
}

fn is_own_name(name: &str) -> bool {
    name == VERSION
        || generation_of(Kind::Log, name).is_some()
        || generation_of(Kind::Snapshot, name).is_some()
}

fn names(dir: &Path) -> Result<Vec<String>, OpenError> {
    let entries = fs::read_dir(dir).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()
    });
    entries.map_err(OpenError::io("list the folder", dir))
}

fn file_bytes(path: &Path) -> Result<u64, OpenError> {
    fs::metadata(path).map(|file| file.len()).map_err(OpenError::io("look at", path))
}
