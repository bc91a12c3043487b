//! How a connection to a peer is made: every address of its name, within one limit.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::time::{Instant, timeout, timeout_at};

use super::stream::{Stream, verdict};
use crate::net::{self, TcpStream, lookup_host};
use crate::tls::{Calling, HandshakeFailure};

/// A connection that carried nothing for this long is probed by the kernel. The peer's program
/// never sees that: nothing but requests is ever written to it (contract §4).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Between two of the kernel's probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long a peer that asked for a certificate may take to refuse it. Nearly every one says at once
/// that it took it; one that says nothing costs each new connection this time.
const VERDICT_MAX: Duration = Duration::from_millis(250);

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
    /// The peer accepted the connection, and could not be agreed with on TLS.
    #[error("TLS: {0}")]
    Handshake(HandshakeFailure),
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
            Self::Handshake(failure) => failure == HandshakeFailure::TimedOut,
            Self::Unresolved | Self::HungUp | Self::Stopping => false,
        }
    }
}

/// Opens a connection to `address`, over TLS if there is a way to call so; the handshake has to be
/// done within the limit too.
pub(super) async fn connect(
    address: &str,
    limit: Duration,
    calling: Option<&Calling>,
) -> Result<Stream, ConnectFailure> {
    let deadline = Instant::now() + limit;
    let stream = connect_in_the_clear(address, deadline).await?;
    match calling {
        None => Ok(Stream::Plain(stream)),
        Some(calling) => shake_hands(address, stream, calling, deadline).await,
    }
}

async fn shake_hands(
    address: &str,
    stream: TcpStream,
    calling: &Calling,
    deadline: Instant,
) -> Result<Stream, ConnectFailure> {
    let failed = ConnectFailure::Handshake;
    let name = calling.server_name(address).ok_or(failed(HandshakeFailure::WrongName))?;
    let agreed = timeout_at(deadline, calling.connector().connect(name, stream)).await;
    let mut stream = match agreed {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let of_network = ConnectFailure::Io(error.kind());
            return Err(HandshakeFailure::of(&error).map_or(of_network, failed));
        }
        Err(_) => return Err(failed(HandshakeFailure::TimedOut)),
    };
    if calling.was_asked() {
        let until = deadline.min(Instant::now() + VERDICT_MAX);
        if let Ok(verdict) = timeout_at(until, verdict(&mut stream)).await {
            verdict.map_err(failed)?;
        }
    }
    Ok(Stream::over_tls(stream))
}

/// The name is resolved each time, for it may have moved.
async fn connect_in_the_clear(
    address: &str,
    deadline: Instant,
) -> Result<TcpStream, ConnectFailure> {
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
    net::keep_alive(&stream, &keepalive)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_host_name_is_tried_at_each_of_its_addresses() {
        // `localhost` often is ::1 before 127.0.0.1; the peer listens on the latter only.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect(&format!("localhost:{port}"), LIMIT, None).await.unwrap();
        let Stream::Plain(stream) = stream else { panic!("nobody wanted TLS") };
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_and_a_name_without_address_unresolved() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let refused = ConnectFailure::Io(io::ErrorKind::ConnectionRefused);
        assert_eq!(connect(&address, LIMIT, None).await.unwrap_err(), refused);
        let unresolved = connect("no port here", LIMIT, None).await.unwrap_err();
        assert_eq!(unresolved, ConnectFailure::Unresolved);
    }
}
