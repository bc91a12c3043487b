//! The way to the service manager: datagrams to the socket it named.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// The variable in which the service manager names its socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Tells the service manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    manager: Option<Manager>,
    /// The daemon is taken for dead if it is silent for so long.
    pub watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// To the manager that started this process. Read before threads start: the variables are the
    /// process's own.
    pub fn from_environment() -> Self {
        Self::new(env::var_os(SOCKET).as_deref(), sd_notify::watchdog_enabled())
    }

    pub(super) fn new(socket: Option<&OsStr>, watchdog: Option<Duration>) -> Self {
        let manager = socket.and_then(|name| match Manager::at(name) {
            Ok(manager) => Some(manager),
            Err(error) => {
                tracing::warn!("the service manager hears nothing, {SOCKET} is of no use: {error}");
                None
            }
        });
        Self { manager, watchdog }
    }

    /// Whether anybody listens.
    pub fn has_manager(&self) -> bool {
        self.manager.is_some()
    }

    /// Says all of this in one message; `false` if the manager can't take it now. It is never
    /// waited for: a manager that hangs must not make the daemon hang.
    pub fn send(&self, states: &[NotifyState<'_>]) -> bool {
        let Some(manager) = &self.manager else { return false };
        let sent = manager.send(states);
        if let Err(error) = &sent {
            tracing::debug!("the service manager was not told: {error}");
        }
        sent.is_ok()
    }
}

impl Manager {
    fn at(name: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address: address(name)? })
    }

    fn send(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let mut message = String::new();
        for state in states {
            writeln!(message, "{state}").map_err(io::Error::other)?;
        }
        // Addressed anew each time: the manager may have opened its socket again meanwhile.
        self.socket.send_to_addr(message.as_bytes(), &self.address).map(drop)
    }
}

/// A path, or with `@` in front a name of the kernel's own name space, as containers have it.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.as_encoded_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt as _;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(name)
}
