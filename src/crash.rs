//! Named points at which the program dies, if it is built and told to: for the tests of what
//! survives that.
//!
//! They stand after each step that leaves something behind, on a disk, in Redis or with a peer, and
//! before the next one. Without the feature `crash-points` they are nothing. With it, the variable
//! `CRASH_AT` names one of them, and after a colon the how manieth time it counts:
//! `CRASH_AT=log.synced:3`. The program then ends as if it were killed: nothing is unwound, flushed
//! or said. (The name doesn't begin as those of configuration keys do: it is none.)

use crate::store::observed::Operation;

/// Where the program may be told to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The store's folder was made.
    FolderMade,
    /// The folder's lock is held.
    FolderLocked,
    /// A snapshot's file has its header, and nothing else.
    SnapshotBegun,
    /// A part of a snapshot was written, and perhaps not synced.
    SnapshotPartWritten,
    /// A snapshot is complete and synced, under its unfinished name.
    SnapshotSynced,
    /// A snapshot has its name, durably; what is before it is still there.
    SnapshotNamed,
    /// A file that is not needed any more was removed.
    LeftoverRemoved,
    /// A new log has its header, which is not synced.
    LogBegun,
    /// A new log is synced, under its unfinished name.
    LogHeaderSynced,
    /// A file has got its name, and the folder is not synced.
    FileRenamed,
    /// A new log has its name, durably; nothing was written into it.
    LogNamed,
    /// A new log took the place of the old one, and the note of what is acknowledged names the old.
    LogReplaced,
    /// There is a note of what is acknowledged.
    AcknowledgedMade,
    /// The mark of the format is written and synced, under its unfinished name.
    VersionWritten,
    /// The folder has the mark of the format.
    VersionNamed,
    /// The mark of an older format gave way to the one of this.
    FormatRaised,
    /// What was behind the log's end was cut off.
    TornEndCut,
    /// A store was read to its end, and is ready to be written to.
    StoreOpened,
    /// A change is in memory, and not yet written.
    ChangeApplied,
    /// Room was made behind the log's end, and not synced.
    LogRoomMade,
    /// A log that another one is to follow ends where its changes do, durably.
    LogFinished,
    /// A group of changes is written, and not synced.
    GroupWritten,
    /// A group of changes is synced, and nobody was told.
    GroupSynced,
    /// It was noted that a group of changes may be acknowledged.
    GroupNoted,
    /// Everything pending was written at the close.
    StoreClosed,
    /// An operation of the port that changes something is done, and nobody was told. (Two are looked
    /// at in vain all the time: see [`Point::FrameFormed`] and [`Point::OverdueDayClosed`].)
    Done(Operation),
    /// The right to deliver is held.
    RightHeld,
    /// A page of records was sealed on the way over all of them.
    PageSealed,
    /// All records are sealed, and it is noted.
    Swept,
    /// An older frame that auth has was finished by whoever found it.
    FoundBatchFinished,
    /// It is written down that auth has a frame, and its times are still there.
    AcknowledgementMarked,
    /// A frame was counted in the night's history, and its times are still there.
    BatchCounted,
    /// The times of a frame are forgotten, and the frame is still there.
    TimesForgotten,
    /// The indexes of those who went with a frame are removed, and the frame is still there.
    IndexesRemoved,
    /// A day is wholly delivered, and it is noted.
    DayEnded,
    /// The night is marked as begun, and nobody is listed.
    ListingBegun,
    /// Everybody is listed, and the day is open.
    ListedBeforeClose,
    /// A record and its index name a session, and the index of the one before is still there.
    SessionWritten,
    /// It is known whose session it is that is to be closed.
    SessionLookedUp,
    /// A night that got no last frame is closed.
    OverdueDayClosed,
    /// A frame is formed durably, and about to be sent.
    FrameFormed,
    /// All of a message was handed to a peer's socket.
    MessageSent,
    /// Auth acknowledged a frame, and it is not written down.
    FrameAnswered,
    /// It is written down that auth has a frame.
    FrameAcknowledged,
    /// It is about to be tried to tell room who left.
    RoomOutBegun,
    /// Room answered when it was told that somebody left.
    RoomOutAnswered,
}

impl Point {
    /// All of them; of the operations those that change something.
    pub const ALL: [Self; 53] = [
        Self::FolderMade,
        Self::FolderLocked,
        Self::SnapshotBegun,
        Self::SnapshotPartWritten,
        Self::SnapshotSynced,
        Self::SnapshotNamed,
        Self::LeftoverRemoved,
        Self::LogBegun,
        Self::LogHeaderSynced,
        Self::FileRenamed,
        Self::LogNamed,
        Self::LogReplaced,
        Self::AcknowledgedMade,
        Self::VersionWritten,
        Self::VersionNamed,
        Self::FormatRaised,
        Self::TornEndCut,
        Self::StoreOpened,
        Self::ChangeApplied,
        Self::LogRoomMade,
        Self::LogFinished,
        Self::GroupWritten,
        Self::GroupSynced,
        Self::GroupNoted,
        Self::StoreClosed,
        Self::Done(Operation::OpenSession),
        Self::Done(Operation::CloseSession),
        Self::Done(Operation::RecordStudyTime),
        Self::Done(Operation::ListStudyTimes),
        Self::Done(Operation::CloseDay),
        Self::Done(Operation::CloseDayByHand),
        Self::OverdueDayClosed,
        Self::Done(Operation::AcknowledgeBatch),
        Self::Done(Operation::ProveWritable),
        Self::RightHeld,
        Self::PageSealed,
        Self::Swept,
        Self::FoundBatchFinished,
        Self::AcknowledgementMarked,
        Self::BatchCounted,
        Self::TimesForgotten,
        Self::IndexesRemoved,
        Self::DayEnded,
        Self::ListingBegun,
        Self::ListedBeforeClose,
        Self::SessionWritten,
        Self::SessionLookedUp,
        Self::FrameFormed,
        Self::MessageSent,
        Self::FrameAnswered,
        Self::FrameAcknowledged,
        Self::RoomOutBegun,
        Self::RoomOutAnswered,
    ];

    /// As `CRASH_AT` names it; of an operation the port's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::FolderMade => "folder.made",
            Self::FolderLocked => "folder.locked",
            Self::SnapshotBegun => "snapshot.begun",
            Self::SnapshotPartWritten => "snapshot.part_written",
            Self::SnapshotSynced => "snapshot.synced",
            Self::SnapshotNamed => "snapshot.named",
            Self::LeftoverRemoved => "leftover.removed",
            Self::LogBegun => "log.begun",
            Self::LogHeaderSynced => "log.header_synced",
            Self::FileRenamed => "file.renamed",
            Self::LogNamed => "log.named",
            Self::LogReplaced => "log.replaced",
            Self::AcknowledgedMade => "acknowledged.made",
            Self::VersionWritten => "version.written",
            Self::VersionNamed => "version.named",
            Self::FormatRaised => "format.raised",
            Self::TornEndCut => "log.torn_end_cut",
            Self::StoreOpened => "store.opened",
            Self::ChangeApplied => "change.applied",
            Self::LogRoomMade => "log.room_made",
            Self::LogFinished => "log.finished",
            Self::GroupWritten => "group.written",
            Self::GroupSynced => "group.synced",
            Self::GroupNoted => "group.noted",
            Self::StoreClosed => "store.closed",
            Self::Done(operation) => operation.name(),
            Self::RightHeld => "delivery.right_held",
            Self::PageSealed => "delivery.page_sealed",
            Self::Swept => "delivery.swept",
            Self::FoundBatchFinished => "delivery.found_batch_finished",
            Self::AcknowledgementMarked => "batch.marked",
            Self::BatchCounted => "batch.counted",
            Self::TimesForgotten => "batch.times_forgotten",
            Self::IndexesRemoved => "batch.indexes_removed",
            Self::DayEnded => "delivery.day_ended",
            Self::ListingBegun => "listing.begun",
            Self::ListedBeforeClose => "listing.listed",
            Self::SessionWritten => "session.written",
            Self::SessionLookedUp => "session.looked_up",
            Self::OverdueDayClosed => "overdue_day.closed",
            Self::FrameFormed => "frame.formed",
            Self::MessageSent => "message.sent",
            Self::FrameAnswered => "frame.answered",
            Self::FrameAcknowledged => "frame.acknowledged",
            Self::RoomOutBegun => "room_out.begun",
            Self::RoomOutAnswered => "room_out.answered",
        }
    }
}

/// Here the program dies, if it was told to.
#[inline(always)]
#[cfg(not(feature = "crash-points"))]
pub(crate) fn point(_: Point) {}

/// Here the program dies, if it was told to.
#[cfg(feature = "crash-points")]
pub(crate) fn point(point: Point) {
    armed::reached(point);
}

#[cfg(feature = "crash-points")]
mod armed {
    //! What this process was told.

    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::Point;

    struct Told {
        point: Point,
        /// How often it may still be passed, this time included.
        left: AtomicU64,
    }

    static TOLD: OnceLock<Option<Told>> = OnceLock::new();

    pub(super) fn reached(point: Point) {
        let told = TOLD.get_or_init(|| std::env::var("CRASH_AT").ok().map(|text| read(&text)));
        if let Some(told) = told
            && told.point == point
            && told.left.fetch_sub(1, Relaxed) == 1
        {
            std::process::abort();
        }
    }

    /// A point that doesn't exist is a mistake of the test's, which would wait for it in vain.
    fn read(text: &str) -> Told {
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        let point = Point::ALL.into_iter().find(|point| point.name() == name);
        match (point, nth.parse()) {
            (Some(point), Ok(nth)) => Told { point, left: AtomicU64::new(nth) },
            (None, _) | (_, Err(_)) => panic!("CRASH_AT={text} is no point"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_that_changes_something_is_a_point() {
        for operation in Operation::ALL {
            let changes = match operation {
                Operation::OpenSession
                | Operation::CloseSession
                | Operation::RecordStudyTime
                | Operation::ListStudyTimes
                | Operation::CloseDay
                | Operation::CloseDayByHand
                | Operation::AcknowledgeBatch
                | Operation::ProveWritable => true,
                // These two have points of their own, where they change something.
                Operation::CloseOverdueDay | Operation::NextBatch => false,
                Operation::StudyTime
                | Operation::Night
                | Operation::NightHistory
                | Operation::NightPlan
                | Operation::User
                | Operation::Session
                | Operation::Rooms
                | Operation::Room
                | Operation::RoomMembers
                | Operation::Population => false,
            };
            let is_point = Point::ALL.contains(&Point::Done(operation));
            assert_eq!(is_point, changes, "{}", operation.name());
        }
    }

    #[test]
    fn no_two_points_have_the_same_name() {
        let mut names: Vec<_> = Point::ALL.into_iter().map(Point::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
