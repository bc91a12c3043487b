//! What a connection costs that says nothing.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Error;
use super::child::Server;
use super::process::open_files_max;

/// Files that are open beside the connections, with room to spare.
const OTHER_FILES: u64 = 200;
/// Connections made at once: fewer than a listener's backlog holds, since beyond it the kernel lets
/// a connection wait for seconds.
const BURST: usize = 500;
/// From one burst to the next.
const BURST_EVERY: Duration = Duration::from_millis(10);
/// The server has accepted them all when its memory stays the same for so long.
const STEADY_FOR: Duration = Duration::from_millis(300);
/// How often that is looked for.
const LOOKS_MAX: usize = 30;

/// Why it can't be measured here, if it can't.
pub(super) fn obstacle(connections: usize) -> Option<String> {
    let needed = connections as u64 + OTHER_FILES;
    match open_files_max() {
        Some(max) if max >= needed => None,
        Some(max) => Some(format!("only {max} files may be open, {needed} are needed")),
        None => Some("resident memory can't be seen on this system".to_owned()),
    }
}

/// Resident bytes of the server for each of so many connections.
pub(super) fn bytes_per_connection(server: &Server, connections: usize) -> Result<f64, Error> {
    let resident = || {
        let bytes = server.process().resident_bytes();
        bytes.ok_or_else(|| Error::Server("a server's memory can't be seen".to_owned()))
    };
    let before = resident()?;
    let open = connect(server.address, connections)?;
    let mut after = resident()?;
    for _ in 0..LOOKS_MAX {
        rest(STEADY_FOR);
        let now = resident()?;
        if now == after {
            break;
        }
        after = now;
    }
    drop(open);
    Ok((after as f64 - before as f64) / connections as f64)
}

fn connect(address: SocketAddr, connections: usize) -> Result<Vec<TcpStream>, Error> {
    let mut open = Vec::with_capacity(connections);
    while open.len() < connections {
        if open.len() % BURST == BURST - 1 {
            rest(BURST_EVERY);
        }
        let stream = TcpStream::connect(address);
        open.push(stream.map_err(|source| Error::Connect { address, source })?);
    }
    Ok(open)
}

#[expect(clippy::disallowed_methods, reason = "a thread that no task runs on")]
fn rest(duration: Duration) {
    std::thread::sleep(duration);
}
