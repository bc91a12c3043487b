//! What a process costs, as Linux tells it; elsewhere nothing is known.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Of the times in `/proc/PID/stat`, on every Linux.
const TICKS_PER_SECOND: u32 = 100;
/// The state of a listening socket in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// A process that is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process(pub(super) u32);

impl Process {
    /// Who listens at this address, if it is this machine's and may be known.
    pub(super) fn listening_at(address: SocketAddr) -> Option<Self> {
        if !address.ip().is_loopback() {
            return None;
        }
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let inode = tables.iter().find_map(|table| listener(table, address.port()))?;
        let socket = format!("socket:[{inode}]");
        let mut processes = fs::read_dir("/proc").ok()?.flatten();
        processes.find_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            holds(&entry.path().join("fd"), &socket).then_some(Self(id))
        })
    }

    /// The time all its threads have computed.
    pub(super) fn cpu(self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // The name of the program may hold anything, so it is counted from its end.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        let user: u32 = fields.next()?.parse().ok()?;
        let system: u32 = fields.next()?.parse().ok()?;
        Some(Duration::from_secs(1) * (user + system) / TICKS_PER_SECOND)
    }

    /// The time that the processors it may run on spent on any process, this one included, and on other
    /// guests of the machine. What the kernel does for the network is not in it.
    pub(super) fn processors_busy(self) -> Option<Duration> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let ticks = stat.lines().filter_map(|line| {
            let (processor, times) = line.strip_prefix("cpu")?.split_once(' ')?;
            let times: Vec<u32> = times.split(' ').filter_map(|time| time.parse().ok()).collect();
            // user, nice, system, idle, iowait, irq, softirq, steal
            let busy = [0, 1, 2, 7].iter().filter_map(|at| times.get(*at)).sum::<u32>();
            is_in(processor.parse().ok()?, allowed.trim()).then_some(busy)
        });
        Some(Duration::from_secs(1) * ticks.sum() / TICKS_PER_SECOND)
    }

    /// The time that its threads were ready to run and did not, whoever ran instead.
    pub(super) fn waited(self) -> Option<Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0)).ok()?.flatten();
        let waited = threads.filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            stat.split(' ').nth(1)?.parse::<u64>().ok()
        });
        Some(Duration::from_nanos(waited.sum()))
    }

    pub(super) fn resident_bytes(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kibibytes * 1024)
    }
}

/// How many files this process may have open.
pub(super) fn open_files_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    files.split_whitespace().next()?.parse().ok()
}

/// Whether a list like `0-3,8` names it.
fn is_in(processor: u32, list: &str) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds = first.parse::<u32>().ok().zip(last.parse().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&processor))
    })
}

/// The socket that listens at this port.
fn listener(table: &str, port: u16) -> Option<String> {
    let end = format!(":{port:04X}");
    let table = fs::read_to_string(table).ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&end) && *fields.get(3)? == LISTENS;
        if is_it { fields.get(9).map(|inode| (*inode).to_owned()) } else { None }
    })
}

fn holds(descriptors: &Path, socket: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(descriptors) else { return false };
    descriptors
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_is_found_and_looked_at() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let process = Process::listening_at(listener.local_addr().unwrap()).unwrap();
        assert_eq!(process.0, std::process::id());
        assert!(process.cpu().is_some());
        assert!(process.resident_bytes().unwrap() > 100_000);
        assert!(open_files_max().unwrap() > 10);
        assert!(process.processors_busy().unwrap() >= Duration::from_millis(10));
        assert!(process.waited().is_some());
    }

    #[test]
    fn a_list_of_processors_names_numbers_and_ranges() {
        let named = (0..12).filter(|processor| is_in(*processor, "0-2,5,8-10"));
        assert_eq!(named.collect::<Vec<_>>(), [0, 1, 2, 5, 8, 9, 10]);
    }
}
