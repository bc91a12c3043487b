//! The one thread that writes: takes all that is pending, writes it, syncs it, tells who waits, and
//! does so again at once. What arrives during a sync shares the next one.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;
use std::{io, mem};

use super::Limits;
use super::acknowledged::AcknowledgedFile;
use super::crowd::Crowd;
use super::disk::Disk;
use super::folder::Folder;
use super::group::{Group, Kind};
use super::log::{LogFile, Trouble};
use super::recovery::Recovered;
use super::shared::Shared;
use super::snapshot::{self, EndOfSnapshot, Written};
use super::waiting::EndOfWriter;
use crate::crash::{self, Point};
use crate::log::chain;
use crate::wake::Sleepers;

/// Memory a buffer keeps after a burst.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// The writing thread's own.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    folder: Arc<Folder>,
    disk: Arc<Disk>,
    limits: Limits,
    acknowledged: AcknowledgedFile,
    /// The latest acknowledged length could be noted.
    acknowledged_is_noted: bool,
    log: LogFile,
    /// What is being written.
    group: Group,
    /// How many changes are worth a wait.
    crowd: Crowd,
    /// Room for those who are woken after it.
    woken: Sleepers,
    /// Generation of the newest snapshot.
    base: u64,
    /// Size of the newest snapshot, or the limit below which it does not count.
    base_bytes: u64,
    /// Length of the log at which the next snapshot is due.
    due_at: u64,
    /// The thread of the snapshot under way.
    snapshot: Option<JoinHandle<()>>,
}

/// What the writer does next.
#[derive(Debug)]
enum Work {
    Write,
    EndSnapshot(io::Result<Option<Written>>),
    Stop,
}

impl Writer {
    /// A writer that goes on where the store was found.
    pub(super) fn new(
        folder: Folder,
        disk: Arc<Disk>,
        limits: Limits,
        recovered: Recovered,
    ) -> (Self, Arc<Shared>) {
        let Recovered { state, log, base, snapshot_bytes, acknowledged } = recovered;
        let shared = Arc::new(Shared::new(state, log.next()));
        let base_bytes = snapshot_bytes.max(limits.log_bytes_min);
        // At once after a compaction that was cut short, and to leave an older format behind.
        let is_due = base != log.generation() || log.is_of_older_format();
        let due_at = if is_due { 0 } else { base_bytes };
        let writer = Self {
            shared: Arc::clone(&shared),
            folder: Arc::new(folder),
            disk,
            limits,
            acknowledged,
            acknowledged_is_noted: true,
            group: Group::new(log.next()),
            crowd: Crowd::default(),
            woken: Sleepers::default(),
            log,
            base,
            base_bytes,
            due_at,
            snapshot: None,
        };
        (writer, shared)
    }

    /// Works until the store is closed and everything pending is written, or can't be.
    pub(super) fn run(mut self) {
        let _end = EndOfWriter(Arc::clone(&self.shared));
        let mut goes_on = true;
        while goes_on {
            self.start_snapshot_if_due();
            goes_on = match self.next_work() {
                Work::Write => self.write(),
                Work::EndSnapshot(ended) => {
                    self.end_snapshot(ended);
                    true
                }
                Work::Stop => false,
            };
        }
        self.give_up_snapshot();
        if let Err(error) = self.log.finish(&self.disk) {
            tracing::debug!("the store's log keeps room behind its end: {error}");
        }
        if let Err(error) = self.acknowledged.sync() {
            tracing::warn!("the length of the store's log could not be noted durably: {error}");
        }
        crash::point(Point::StoreClosed);
    }

    fn next_work(&mut self) -> Work {
        let mut core = self.shared.core();
        loop {
            // Before writing, which under load there is always something to do for.
            let durable = self.shared.durable();
            if let Some(ended) = core.snapshot.take_if(|ended| match ended {
                Ok(Some(written)) => written.position <= durable,
                Ok(None) | Err(_) => true,
            }) {
                return Work::EndSnapshot(ended);
            }
            if let Some(limit) = self.crowd.patience(core.journal.count())
                && !core.stopping
            {
                core = self.shared.sleep_until_offered(core, self.crowd.expected(), limit);
                continue;
            }
            if !core.journal.is_empty() {
                self.group.reset(core.journal.next(), BUFFER_BYTES_MAX);
                mem::swap(&mut self.group, &mut core.journal);
                core.waiting.begin();
                return Work::Write;
            }
            if core.stopping {
                return Work::Stop;
            }
            core = self.shared.sleep(core);
        }
    }

    /// Returns whether the writer goes on. If not, what comes after the unwritten group must not
    /// be written either: the log would have a gap.
    fn write(&mut self) -> bool {
        let begun_at = Instant::now();
        match self.append() {
            Ok(()) => {
                self.crowd.served(self.group.count(), begun_at.elapsed());
                self.acknowledge();
                true
            }
            Err(trouble) => self.overcome(trouble),
        }
    }

    fn append(&mut self) -> Result<(), Trouble> {
        self.log.append(&self.disk, &mut self.group, self.limits.log_ahead_bytes)
    }

    /// The log is durable as far as it goes: says so.
    fn acknowledge(&mut self) {
        let noted = self.acknowledged.write(self.log.acknowledged());
        let was_noted = mem::replace(&mut self.acknowledged_is_noted, noted.is_ok());
        if let (Err(error), true) = (noted, was_noted) {
            // What callers are told is still true; only damage at the log's end is not recognised.
            tracing::warn!("the length of the store's log could not be noted: {error}");
        }
        crash::point(Point::GroupNoted);
        let durable = self.log.next() - 1;
        self.shared.set_durable(durable, &mut self.woken);
        self.woken.wake();
    }

    /// Refuses changes and tries again until the disk takes what is pending: `true`; or until the
    /// store is closed.
    fn overcome(&mut self, mut trouble: Trouble) -> bool {
        tracing::error!("nothing can be stored, trying again until it can: {}", chain(&trouble));
        loop {
            self.refuse(&trouble);
            if !self.pause() {
                return false;
            }
            let overcome = match trouble {
                Trouble::Write(_) => self.append(),
                Trouble::Sync(_) => self.renew().map_err(Trouble::Sync),
            };
            match overcome {
                Ok(()) => break,
                Err(again) => trouble = again,
            }
        }
        let mut core = self.shared.core();
        core.trouble = None;
        if !core.stopping {
            core.refusal = None;
        }
        drop(core);
        self.acknowledge();
        tracing::info!("everything pending is stored again");
        true
    }

    fn refuse(&self, trouble: &Trouble) {
        let text: Arc<str> = trouble.to_string().into();
        let mut core = self.shared.core();
        if !core.stopping {
            core.refusal = Some(Arc::clone(&text));
        }
        self.shared.alarm(core, text);
    }

    /// Waits before the next try; `false` if there is to be none.
    fn pause(&self) -> bool {
        let core = self.shared.core();
        if core.stopping {
            return false;
        }
        !self.shared.sleep_at_most(core, self.limits.retry_after).stopping
    }

    /// Leaves a log that can't be trusted behind: a snapshot of everything and an empty log after
    /// it. Nothing changes meanwhile, so the snapshot needs nothing of the log.
    fn renew(&mut self) -> io::Result<()> {
        self.give_up_snapshot();
        let first = self.shared.core().journal.next();
        let log = snapshot::Log { generation: self.log.generation() + 1, first };
        let written = snapshot::write(&self.shared, &self.folder, &self.disk, log, self.limits)?;
        let written = written.ok_or_else(|| io::Error::other("the store is being closed"))?;
        self.folder.finish_file(Kind::Snapshot, log.generation)?;
        self.log = LogFile::create(&self.folder, log.generation, first)?;
        self.shared.core().journal.reset(first, BUFFER_BYTES_MAX);
        self.acknowledged.write(self.log.acknowledged())?;
        self.acknowledged.sync()?;
        self.adopt(written);
        Ok(())
    }

    /// Begins a new log if this one has grown long, and a snapshot to go with it.
    fn start_snapshot_if_due(&mut self) {
        if self.snapshot.is_some() || self.log.len() < self.due_at {
            return;
        }
        if let Err(error) = self.begin_log().and_then(|()| self.start_snapshot()) {
            tracing::warn!("the store's log grows on, it could not be compacted: {error}");
            self.postpone_snapshot();
        }
    }

    /// A snapshot that failed before is tried again without yet another log.
    fn begin_log(&mut self) -> io::Result<()> {
        if self.log.generation() > self.base && !self.log.is_of_older_format() {
            return Ok(());
        }
        let (generation, first) = (self.log.generation() + 1, self.log.next());
        // Of a log that others follow, nothing behind its end is expected.
        self.log.finish(&self.disk)?;
        self.log = LogFile::create(&self.folder, generation, first).inspect_err(|_| {
            // It may have its name already. The old log goes on, and after more of that a new one
            // which begins here would look like damage.
            self.folder.remove_file(Kind::Log, generation);
        })?;
        crash::point(Point::LogReplaced);
        self.acknowledged.write(self.log.acknowledged())?;
        self.acknowledged.sync()
    }

    fn start_snapshot(&mut self) -> io::Result<()> {
        let (generation, first) = (self.log.generation(), self.log.first());
        let log = snapshot::Log { generation, first };
        let (shared, folder) = (Arc::clone(&self.shared), Arc::clone(&self.folder));
        let (disk, limits) = (Arc::clone(&self.disk), self.limits);
        let thread = Builder::new().name("stated-snapshot".to_owned()).spawn(move || {
            let end = EndOfSnapshot::new(Arc::clone(&shared));
            end.tell(snapshot::write(&shared, &folder, &disk, log, limits));
        })?;
        self.snapshot = Some(thread);
        Ok(())
    }

    fn end_snapshot(&mut self, ended: io::Result<Option<Written>>) {
        self.join_snapshot();
        let named = ended.and_then(|written| {
            if let Some(written) = &written {
                self.folder.finish_file(Kind::Snapshot, written.generation)?;
                crash::point(Point::SnapshotNamed);
            }
            Ok(written)
        });
        match named {
            Ok(Some(written)) => self.adopt(written),
            Ok(None) => self.postpone_snapshot(),
            Err(error) => {
                tracing::warn!(
                    "the store's log grows on, the snapshot could not be written: {error}"
                );
                self.postpone_snapshot();
            }
        }
    }

    /// The snapshot counts now, and nothing before it.
    fn adopt(&mut self, written: Written) {
        self.base = written.generation;
        self.base_bytes = written.bytes.max(self.limits.log_bytes_min);
        self.due_at = self.base_bytes;
        if let Err(error) = self.folder.remove_leftovers(self.base) {
            tracing::warn!(
                "files of the store that are not needed any more stay until the next start: {error}"
            );
        }
    }

    /// Not at once: a disk that is full stays so for a while.
    fn postpone_snapshot(&mut self) {
        self.due_at = self.log.len() + self.base_bytes / 4;
    }

    fn give_up_snapshot(&mut self) {
        self.shared.core().snapshot_unwanted = true;
        self.join_snapshot();
        let mut core = self.shared.core();
        core.snapshot_unwanted = false;
        if let Some(Ok(Some(written))) = core.snapshot.take() {
            drop(core);
            snapshot::remove_unfinished(&self.folder, written.generation);
        }
    }

    /// Waits until the snapshot's thread has let go of the folder.
    fn join_snapshot(&mut self) {
        if self.snapshot.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the store's snapshot panicked");
        }
    }
}
