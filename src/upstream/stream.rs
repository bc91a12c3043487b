//! The stream of a connection to a peer: in the clear, or over TLS.

use std::io::{self, Read, Write};

use bytes::BytesMut;
use rustls::{ClientConnection, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::client::TlsStream;

use super::call::Idle;
use crate::net::{self, TcpStream};
use crate::tls::HandshakeFailure;

/// See the module.
#[derive(Debug)]
pub(super) enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<Tls>),
}

/// A session and its socket. Dropped, it tells the peer that it ends, unless something else is still
/// to be told first: that is never sent behind the back of whoever gave it up.
#[derive(Debug)]
pub(super) struct Tls(TlsStream<TcpStream>);

/// Why nothing more comes of a session.
#[derive(Debug)]
enum Over {
    /// The peer ended it, or the network did.
    Closed,
    /// The peer said something unasked.
    Said,
    /// What came is no TLS as agreed, or says why it is over.
    Broken(rustls::Error),
}

impl Stream {
    pub(super) fn over_tls(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(Tls(stream)))
    }

    /// Asks the system, not the runtime, whether the peer closed the connection or said something
    /// unasked: the runtime may not have looked at the socket yet. What a TLS session says for itself
    /// is no word of the peer's, but its good-bye is.
    pub(super) fn idle(&mut self) -> Idle {
        match self {
            Self::Plain(stream) => match net::peek(stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Idle::Clean,
                Ok(1..) => Idle::Spoke,
                Ok(0) | Err(_) => Idle::Closed,
            },
            Self::Tls(tls) => {
                let (socket, session) = tls.0.get_mut();
                match take_in(socket, session) {
                    Ok(_) => Idle::Clean,
                    Err(Over::Said) => Idle::Spoke,
                    Err(Over::Closed | Over::Broken(_)) => Idle::Closed,
                }
            }
        }
    }

    /// Hands bytes over, how many is returned; [`Stream::flush`] sees to it that they leave.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes).await,
            Self::Tls(tls) => tls.0.write(bytes).await,
        }
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.0.flush().await,
        }
    }

    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read_buf(buffer).await,
            Self::Tls(tls) => tls.0.read_buf(buffer).await,
        }
    }

    /// Whether a write that failed may yet have sent something: a session keeps what it could not send
    /// at once, so that its caller does not know how far it came.
    pub(super) fn may_send_unseen(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
        }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let (socket, session) = self.0.get_mut();
        if !session.wants_write() {
            session.send_close_notify();
            // Whoever does not read it finds the end of the stream behind it.
            drop(session.write_tls(&mut Now(socket)));
        }
    }
}

/// Waits until the peer has said what it thinks of the certificate that it asked for. In TLS 1.3 our
/// side of the handshake is done before that: a refusal comes after it, a first ticket or the like
/// means that it went well. A peer that says neither is asked no longer than the caller waits.
pub(super) async fn verdict(stream: &mut TlsStream<TcpStream>) -> Result<(), HandshakeFailure> {
    let (socket, session) = stream.get_mut();
    if session.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Ok(());
    }
    loop {
        net::readable(socket).await.map_err(|_| HandshakeFailure::HungUp)?;
        match take_in(socket, session) {
            Ok(0) => {}
            Ok(_) | Err(Over::Said) => return Ok(()),
            Err(Over::Closed) => return Err(HandshakeFailure::HungUp),
            Err(Over::Broken(error)) => return Err(HandshakeFailure::of_tls(&error)),
        }
        // The runtime does not know yet that there is nothing to read any more.
        net::forget_readable(socket);
    }
}

/// Takes in what has come and is not for us: its bytes are counted.
fn take_in(socket: &TcpStream, session: &mut ClientConnection) -> Result<usize, Over> {
    let mut all = 0;
    loop {
        match session.read_tls(&mut Now(socket)) {
            Ok(0) => return Err(Over::Closed),
            Ok(bytes) => all += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(all),
            Err(_) => return Err(Over::Closed),
        }
        let state = session.process_new_packets().map_err(Over::Broken)?;
        if state.plaintext_bytes_to_read() > 0 {
            return Err(Over::Said);
        }
        if state.peer_has_closed() {
            return Err(Over::Closed);
        }
    }
}

/// A socket as the system has it now, past the runtime, which never blocks.
struct Now<'a>(&'a TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        net::read_now(self.0, bytes)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        net::write_now(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
