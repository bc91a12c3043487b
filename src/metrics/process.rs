//! What the system says about the process: read from `/proc` when the page is written.

use std::fs;

/// Ticks of the processor's time in a second, as Linux counts them for programs on every machine
/// that this one runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process at one moment. What can't be read is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// File descriptors in use.
    pub open_fds: Option<u64>,
    /// How many there may be; absent if any number.
    pub max_fds: Option<u64>,
    /// Memory that is really there, in bytes.
    pub resident_bytes: Option<u64>,
    /// Addresses in use, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// The processor's time so far, user and system, in seconds.
    pub cpu_seconds: Option<f64>,
}

impl Process {
    /// Reads it, which blocks for some microseconds, or with very many open files on an old kernel
    /// for some milliseconds.
    pub fn read() -> Self {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            open_fds: open_fds(),
            max_fds: max_fds(&limits),
            resident_bytes: bytes(&status, "VmRSS:"),
            virtual_bytes: bytes(&status, "VmSize:"),
            threads: number(&status, "Threads:"),
            cpu_seconds: cpu_seconds(&stat),
        }
    }
}

/// Newer kernels give their number as the folder's size; older ones give 0.
fn open_fds() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.len() {
        // The listing needs one itself.
        0 => Some((fs::read_dir(FOLDER).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

/// The soft limit.
fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn number(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn bytes(status: &str, key: &str) -> Option<u64> {
    number(status, key).map(|kib| kib * 1024)
}

/// Of the numbers behind the program's name, which may hold anything, the 12th and the 13th.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, numbers) = stat.rsplit_once(") ")?;
    let mut numbers = numbers.split(' ').skip(11);
    let user: u64 = numbers.next()?.parse().ok()?;
    let system: u64 = numbers.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_understood() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 3 0 99 4096 5 18446";
        assert_eq!(cpu_seconds(stat), Some(1.75));
        let limits = "Limit       Soft Limit  Hard Limit  Units\n\
                      Max processes     7      8      processes\n\
                      Max open files    1024   4096   files\n";
        assert_eq!(max_fds(limits), Some(1024));
        assert_eq!(max_fds("Max open files unlimited unlimited files"), None);
        let status = "VmSize:\t    2048 kB\nVmRSS:\t   7 kB\nThreads:\t5\n";
        assert_eq!(bytes(status, "VmRSS:"), Some(7168));
        assert_eq!(bytes(status, "VmSize:"), Some(2_097_152));
        assert_eq!(number(status, "Threads:"), Some(5));
    }

    #[test]
    fn what_is_cut_off_or_missing_is_absent() {
        assert_eq!(cpu_seconds("7 (a) S 1 2"), None);
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(number("Threads:", "Threads:"), None);
        assert_eq!(max_fds(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_very_process_can_be_read() {
        let found = Process::read();
        let file = fs::File::open("/proc/self/stat").unwrap();
        assert!(found.open_fds.unwrap() > 2, "{found:?}");
        assert!(found.resident_bytes > Some(0) && found.virtual_bytes > found.resident_bytes);
        assert!(found.threads >= Some(1) && found.cpu_seconds.is_some(), "{found:?}");
        drop(file);
    }
}
