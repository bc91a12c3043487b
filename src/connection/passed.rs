//! Listening sockets that whoever started the daemon has opened for it, as systemd does.
//!
//! Their opener keeps them: connections that arrive while no daemon runs wait for the next one.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

/// The sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Passed {
    sockets: Vec<Socket>,
}

#[derive(Debug)]
struct Socket {
    address: SocketAddr,
    listener: TcpListener,
}

/// Why passed sockets are of no use.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// It is something else.
    #[error("passed socket {index} can't be used: it has to be a listening TCP socket")]
    Unfit {
        /// Its place among those passed, counted from 0.
        index: usize,
        /// Why.
        source: io::Error,
    },
    /// Nobody would ever accept there, and peers would wait instead of being refused.
    #[error(
        "a socket was passed that listens on {0}, and no [[listen]] is left that has this address"
    )]
    Unwanted(SocketAddr),
}

impl Passed {
    /// Those of `LISTEN_FDS`. Called once, before threads start: it clears the variable.
    pub fn from_environment() -> Result<Self, PassedError> {
        let mut given = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(given.len());
        for index in 0..given.len() {
            let unfit = |source| PassedError::Unfit { index, source };
            if let Some(listener) = given.take_tcp_listener(index).map_err(unfit)? {
                sockets.push(Socket::new(listener).map_err(unfit)?);
            }
        }
        Ok(Self { sockets })
    }

    /// The socket that listens on this address.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let found = self.sockets.iter().position(|socket| is_same(socket.address, address))?;
        Some(self.sockets.swap_remove(found).listener)
    }

    /// All have been taken, or it is an error.
    pub fn finish(self) -> Result<(), PassedError> {
        match self.sockets.first() {
            Some(socket) => Err(PassedError::Unwanted(socket.address)),
            None => Ok(()),
        }
    }
}

impl Socket {
    fn new(listener: TcpListener) -> io::Result<Self> {
        if !SockRef::from(&listener).is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen"));
        }
        listener.set_nonblocking(true)?;
        Ok(Self { address: listener.local_addr()?, listener })
    }
}

/// All addresses are all addresses: systemd opens `[::]` where a port alone is given, and that
/// accepts IPv4 too.
fn is_same(passed: SocketAddr, wanted: SocketAddr) -> bool {
    let (passed_ip, wanted_ip) = (passed.ip().to_canonical(), wanted.ip().to_canonical());
    passed.port() == wanted.port()
        && (passed_ip == wanted_ip || passed_ip.is_unspecified() && wanted_ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passed: &str, wanted: &str, expected: bool) {
        let is = is_same(passed.parse().unwrap(), wanted.parse().unwrap());
        assert_eq!(is, expected, "{passed} for {wanted}");
    }

    #[test]
    fn a_passed_socket_is_for_the_listener_with_its_address() {
        check("127.0.0.1:8099", "127.0.0.1:8099", true);
        check("127.0.0.1:8099", "127.0.0.1:8098", false);
        check("127.0.0.1:8099", "127.0.0.2:8099", false);
        check("[::ffff:127.0.0.1]:8099", "127.0.0.1:8099", true);
        check("[::]:8099", "0.0.0.0:8099", true);
        check("[::]:8099", "[::]:8099", true);
        check("[::]:8099", "127.0.0.1:8099", false);
        check("127.0.0.1:8099", "0.0.0.0:8099", false);
    }
}
