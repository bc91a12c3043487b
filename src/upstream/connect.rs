//! How a connection to a peer is made: every address of its name, within one limit.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

/// A connection that carried nothing for this long is probed by the kernel. The peer's program
/// never sees that: nothing but requests is ever written to it (contract §4).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Between two of the kernel's probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Why no connection could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// The system said why.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// No answer within the connect timeout.
    #[error("no connection in time")]
    TimedOut,
    /// The host name has no address.
    #[error("the host name can't be resolved")]
    Unresolved,
    /// The peer accepted the connection and closed it before anything was said.
    #[error("the peer hung up at once")]
    HungUp,
    /// The daemon stops and opens no connection any more.
    #[error("the daemon is stopping")]
    Stopping,
}

impl ConnectFailure {
    /// Whether finding out took its time, so that it should not be found out too often.
    pub(super) fn is_slow(self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Io(kind) => kind == io::ErrorKind::TimedOut,
            Self::Unresolved | Self::HungUp | Self::Stopping => false,
        }
    }
}

/// Opens a connection to `address`. Its name is resolved each time, for it may have moved.
pub(super) async fn connect(address: &str, limit: Duration) -> Result<TcpStream, ConnectFailure> {
    let deadline = Instant::now() + limit;
    let addresses: Vec<SocketAddr> = match timeout_at(deadline, lookup_host(address)).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) => return Err(ConnectFailure::Unresolved),
        Err(_) => return Err(ConnectFailure::TimedOut),
    };
    let mut failure = ConnectFailure::Unresolved;
    for (at, candidate) in addresses.iter().enumerate() {
        // One silent address must not use up the time of the others.
        let left = deadline.saturating_duration_since(Instant::now());
        let shares = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        failure = match timeout(left / shares, connect_to(*candidate)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => ConnectFailure::Io(error.kind()),
            Err(_) => ConnectFailure::TimedOut,
        };
    }
    Err(failure)
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A local port that nobody listens on can be picked by the system as our own end; then the
    // connection leads to itself, and a message would be taken for its own reply.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_host_name_is_tried_at_each_of_its_addresses() {
        // `localhost` often is ::1 before 127.0.0.1; the peer listens on the latter only.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect(&format!("localhost:{port}"), LIMIT).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_and_a_name_without_address_unresolved() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let refused = ConnectFailure::Io(io::ErrorKind::ConnectionRefused);
        assert_eq!(connect(&address, LIMIT).await.unwrap_err(), refused);
        let unresolved = connect("no port here", LIMIT).await.unwrap_err();
        assert_eq!(unresolved, ConnectFailure::Unresolved);
    }
}
