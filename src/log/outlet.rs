//! The way out of a line: a bounded place to wait, and a thread that writes.
//!
//! Whoever logs only leaves the line here. A reader of the log that is slow, stuck or gone thus
//! costs lines, which are counted, and never holds up a request. The place is bounded in bytes, not
//! lines, and part of it is for warnings: that is what tracing-appender's does not do.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::sink::Sink;

/// How long the end of the log waits for its last lines to be written.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// A larger buffer is given back once a flood is over.
const CALM_BYTES: usize = 64 * 1024;
/// The part of the place that lines below a warning leave to those above.
const RESERVE: usize = 4;

/// Takes lines. Clones are one outlet.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    shared: Arc<Shared>,
    /// Lines wait as long as no more than so many bytes do, those being written not counted.
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    more: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Lines,
    /// Lines that ever waited.
    taken: u64,
    /// How many of them are through, written or not.
    done: u64,
    /// Lines that did not find room or could not be written.
    lost: u64,
    /// So many of them the log told of.
    told: u64,
}

/// Lines, one behind the other, each with its line feed.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Takes the line of one event.
#[derive(Debug)]
pub(super) struct Entrance<'a> {
    outlet: &'a Outlet,
    bytes_max: usize,
}

impl Outlet {
    /// Starts the thread. It lives as long as the process.
    pub(super) fn open(sink: Sink, bytes_max: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        Builder::new().name("stated-log".to_owned()).spawn(move || writer.write(sink))?;
        Ok(Self { shared, bytes_max })
    }

    /// Waits until all lines up to now are written, but not long.
    pub(super) fn flush(&self) {
        let waiting = self.shared.waiting();
        let last = waiting.taken;
        let in_time =
            self.shared.written.wait_timeout_while(waiting, FLUSH_MAX, |now| now.done < last);
        drop(in_time);
    }

    /// Lines that did not find room or could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.shared.waiting().lost
    }
}

impl<'a> MakeWriter<'a> for Outlet {
    type Writer = Entrance<'a>;

    fn make_writer(&'a self) -> Entrance<'a> {
        Entrance { outlet: self, bytes_max: self.bytes_max }
    }

    /// A flood of small things must leave room for the line that says what is wrong.
    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Entrance<'a> {
        let reserve = if *event.level() <= Level::WARN { 0 } else { self.bytes_max / RESERVE };
        Entrance { outlet: self, bytes_max: self.bytes_max - reserve }
    }
}

impl Write for Entrance<'_> {
    /// Takes `line`, which is all of an event.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shared = &self.outlet.shared;
        let mut waiting = shared.waiting();
        if waiting.lines.bytes.len() + line.len() > self.bytes_max {
            waiting.lost += 1;
        } else {
            waiting.lines.push(line);
            waiting.taken += 1;
            shared.more.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut sink: Sink) {
        let mut lines = Lines::default();
        loop {
            self.take(&mut lines);
            let failed = lines.iter().filter(|line| sink.write(line).is_err()).count();
            let count = lines.ends.len();
            lines.clear();
            self.count(count, failed);
        }
    }

    /// Takes all lines that wait; waits until there are some.
    fn take(&self, lines: &mut Lines) {
        let mut waiting = self.waiting();
        while waiting.lines.ends.is_empty() {
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        mem::swap(&mut waiting.lines, lines);
    }

    fn count(&self, lines: usize, failed: usize) {
        let mut waiting = self.waiting();
        waiting.done += lines as u64;
        waiting.lost += failed as u64;
        let (lost, total) = (waiting.lost - waiting.told, waiting.lost);
        // A log that nobody can read is not told of that, lest it never come to rest.
        let is_to_tell = lost > 0 && failed == 0;
        if is_to_tell {
            waiting.told = total;
        }
        drop(waiting);
        self.written.notify_all();
        if is_to_tell {
            tracing::warn!(lost, total, "lines of the log are lost: nobody read them in time");
        }
    }
}

impl Lines {
    /// Whatever a line feed within a line would begin, it is no line of ours.
    fn push(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        for (at, part) in line.split(|byte| *byte == b'\n').enumerate() {
            self.bytes.extend_from_slice(if at == 0 { b"" } else { b"\\n" });
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(b'\n');
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.ends.iter().filter_map(move |end| self.bytes.get(mem::replace(&mut begin, *end)..*end))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        if self.bytes.capacity() > CALM_BYTES {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_warning_leaves_room_for_what_is_not() {
        let outlet = Outlet { shared: Arc::default(), bytes_max: 400 };
        let subscriber = tracing_subscriber::fmt()
            .with_writer(outlet.clone())
            .without_time()
            .with_target(false)
            .with_ansi(false);
        tracing::subscriber::with_default(subscriber.finish(), || {
            (0..100).for_each(|_| tracing::info!("one of many"));
            tracing::warn!("the one that counts");
        });
        let waiting = outlet.shared.waiting();
        let lines: Vec<_> = waiting.lines.iter().collect();
        assert_eq!(lines.last().unwrap(), b" WARN the one that counts\n");
        assert_eq!((waiting.taken, waiting.lost), (lines.len() as u64, 101 - lines.len() as u64));
        assert!(lines.len() > 10 && waiting.lines.bytes.len() <= 400);
    }

    #[test]
    fn a_line_feed_within_a_line_begins_no_line() {
        let mut lines = Lines::default();
        lines.push(b"a\nforged\n");
        lines.push(b"b\n");
        let found: Vec<_> = lines.iter().collect();
        assert_eq!(found, [&b"a\\nforged\n"[..], b"b\n"]);
    }
}
