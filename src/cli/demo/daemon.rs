//! The real daemon as a child process, on free ports, with its store in a temporary folder.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::Error;
use crate::cli::child::{self, Folder};

/// How long the daemon may take to say where it listens.
const START_MAX: Duration = Duration::from_secs(10);
/// Log lines that are shown when it does not.
const LINES_SHOWN: usize = 10;

/// A running daemon; dropping it kills it.
pub(super) struct Daemon {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Daemon {
    /// Starts `stated serve` with the given configuration and waits until it listens.
    pub(super) fn start(folder: &Folder, config: &str) -> Result<Self, Error> {
        let command = child::serve(folder.path(), config);
        let mut command = command.map_err(Error::io("can't prepare the daemon"))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("can't start the daemon"))?;
        let (found, addresses) = channel();
        if let Some(log) = child.stderr.take() {
            thread::spawn(move || read_log(log, &found));
        }
        match wait_for_address(&addresses) {
            Ok(address) => Ok(Self { child, address }),
            Err(error) => {
                stop_at_once(&mut child);
                Err(error)
            }
        }
    }

    /// Ends it as a crash would, in the middle of whatever it does.
    pub(super) fn kill(mut self) {
        stop_at_once(&mut self.child);
    }

    /// Asks it to stop, as an operator would.
    pub(super) fn stop(mut self) -> Result<ExitStatus, Error> {
        let id = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status();
        asked.map_err(Error::io("can't signal the daemon"))?;
        self.child.wait().map_err(Error::io("can't wait for the daemon"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        stop_at_once(&mut self.child);
    }
}

fn stop_at_once(child: &mut Child) {
    // It fails only where the child is gone already.
    drop(child.kill());
    drop(child.wait());
}

/// Reads the log to its end, so that the daemon never waits for its reader; tells the address, or
/// the last lines if there was none.
fn read_log(log: ChildStderr, found: &Sender<Result<SocketAddr, String>>) {
    let mut last = VecDeque::new();
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        if let Some(address) = child::listening(&line) {
            // Nobody listens any more once the first address is known.
            drop(found.send(Ok(address)));
        }
        if last.len() == LINES_SHOWN {
            last.pop_front();
        }
        last.push_back(line);
    }
    let lines: Vec<String> = last.into();
    drop(found.send(Err(lines.join("\n"))));
}

fn wait_for_address(addresses: &Receiver<Result<SocketAddr, String>>) -> Result<SocketAddr, Error> {
    match addresses.recv_timeout(START_MAX) {
        Ok(Ok(address)) => Ok(address),
        Ok(Err(log)) => Err(Error::Daemon(format!("the daemon did not start:\n{log}"))),
        Err(_) => Err(Error::Daemon("the daemon did not say where it listens".to_owned())),
    }
}
