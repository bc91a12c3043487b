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
    }
}
