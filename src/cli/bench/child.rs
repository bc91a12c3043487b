//! Servers that are started for a measurement, on free ports, and ended with it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;
use super::load::Target;
use super::process::Process;
use crate::cli::child;
use crate::connection::frame::Framing;

/// How long a server may take until it listens.
const START_MAX: Duration = Duration::from_secs(10);
/// Between two looks whether Redis listens.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running server; dropping it kills it.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Server {
    /// The bare echo server.
    pub(super) fn echo(framing: Framing) -> Result<Self, Error> {
        let mut command = program()?;
        command.args(["bench-echo", "--framing", framing.name()]);
        Self::start(&mut command, "the echo server")
    }

    /// The gRPC server.
    #[cfg(feature = "grpc-bench")]
    pub(super) fn tonic() -> Result<Self, Error> {
        Self::start(program()?.arg("bench-tonic"), "the gRPC server")
    }

    /// A daemon with this configuration, in this folder.
    pub(super) fn daemon(folder: &Path, config: &str) -> Result<Self, Error> {
        let command = child::serve(folder, config);
        let mut command = command.map_err(Error::io("can't prepare the daemon"))?;
        Self::start(&mut command, "the daemon")
    }

    /// A Redis that keeps nothing on disk.
    pub(super) fn redis(folder: &Path) -> Result<Self, Error> {
        let address = free_address()?;
        let port = address.port().to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::io("can't start redis-server"))?;
        let server = Self { child, address };
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err(Error::Server("redis-server does not listen".to_owned()));
            }
            rest();
        }
        Ok(server)
    }

    pub(super) fn target(&self) -> Target {
        Target { address: self.address, process: Some(self.process()) }
    }

    pub(super) fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// A server that says on its standard error where it listens.
    fn start(command: &mut Command, what: &str) -> Result<Self, Error> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("can't start a server"))?;
        let (found, address) = channel();
        if let Some(log) = child.stderr.take() {
            thread::spawn(move || read_log(log, &found));
        }
        // From here on its end is seen to.
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        server.address = address
            .recv_timeout(START_MAX)
            .map_err(|_| Error::Server(format!("{what} did not say where it listens")))?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only where the child is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// This program, to be started once more.
fn program() -> Result<Command, Error> {
    let program = std::env::current_exe().map_err(Error::io("can't find the program"))?;
    Ok(Command::new(program))
}

/// Reads the log to its end, so that the server never waits for its reader.
fn read_log(log: ChildStderr, found: &Sender<SocketAddr>) {
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        if let Some(address) = child::listening(&line) {
            // Nobody listens any more once the first address is known.
            found.send(address).ok();
        }
    }
}

fn free_address() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Error::io("no port is free"))?;
    listener.local_addr().map_err(Error::io("no port is free"))
}

#[expect(clippy::disallowed_methods, reason = "a thread that no task runs on")]
fn rest() {
    thread::sleep(LOOK_EVERY);
}
