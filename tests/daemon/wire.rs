//! The contract's framings, written a second time so that the daemon is not measured by itself, and
//! a peer that speaks them.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// Longer than the daemon may ever take: the fleet's clients give up after 10 s.
pub(crate) const REPLY_MAX: Duration = Duration::from_secs(60);

/// How payloads are delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length4,
    Length2,
    Length1,
    Crlf,
    Lf,
}

impl Framing {
    pub(crate) const ALL: [Self; 5] =
        [Self::Length4, Self::Length2, Self::Length1, Self::Crlf, Self::Lf];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Length4 => "length4",
            Self::Length2 => "length2",
            Self::Length1 => "length1",
            Self::Crlf => "crlf",
            Self::Lf => "lf",
        }
    }

    /// The longest payload that the framing has room for.
    pub(crate) fn payload_bytes_max(self) -> usize {
        match self {
            Self::Length4 | Self::Crlf | Self::Lf => u32::MAX as usize,
            Self::Length2 => 65_535,
            Self::Length1 => 255,
        }
    }

    pub(crate) fn frame(self, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        match self {
            Self::Length4 => [&length, payload].concat(),
            Self::Length2 => [&length[2..], payload].concat(),
            Self::Length1 => [&length[3..], payload].concat(),
            Self::Crlf => [payload, b"\r\n"].concat(),
            Self::Lf => [payload, b"\n"].concat(),
        }
    }

    /// Takes the first frame off the front of `received`, if it is complete.
    pub(crate) fn take(self, received: &mut Vec<u8>) -> Option<Vec<u8>> {
        let (start, end, consumed) = match self {
            Self::Length4 => prefixed(received, 4)?,
            Self::Length2 => prefixed(received, 2)?,
            Self::Length1 => prefixed(received, 1)?,
            Self::Crlf => delimited(received, b"\r\n")?,
            Self::Lf => delimited(received, b"\n")?,
        };
        let payload = received[start..end].to_vec();
        received.drain(..consumed);
        Some(payload)
    }
}

fn prefixed(received: &[u8], prefix: usize) -> Option<(usize, usize, usize)> {
    let length = received.get(..prefix)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    (received.len() >= prefix + length).then_some((prefix, prefix + length, prefix + length))
}

fn delimited(received: &[u8], end: &[u8]) -> Option<(usize, usize, usize)> {
    let at = received.windows(end.len()).position(|window| window == end)?;
    Some((0, at, at + end.len()))
}

/// A peer of the daemon, as a service of the fleet would be.
pub(crate) struct Client<S = TcpStream> {
    stream: S,
    framing: Framing,
    received: Vec<u8>,
}

impl Client<TcpStream> {
    pub(crate) fn connect(daemon: SocketAddr, framing: Framing) -> Self {
        Self::try_connect(daemon, framing).expect("the daemon listens")
    }

    pub(crate) fn try_connect(daemon: SocketAddr, framing: Framing) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&daemon, REPLY_MAX)?;
        Ok(Self::over(stream, framing))
    }

    fn over(stream: TcpStream, framing: Framing) -> Self {
        stream.set_read_timeout(Some(REPLY_MAX)).unwrap();
        stream.set_write_timeout(Some(REPLY_MAX)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::of(stream, framing)
    }

    /// A peer with this address of its own.
    pub(crate) fn connect_from(own: IpAddr, daemon: SocketAddr, framing: Framing) -> Self {
        let socket = Socket::new(Domain::for_address(daemon), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(own, 0).into()).unwrap();
        socket.connect(&daemon.into()).expect("the daemon listens");
        Self::over(socket.into(), framing)
    }

    pub(crate) fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Whether the daemon says or closes anything within `within`.
    pub(crate) fn hears_something(&mut self, within: Duration) -> bool {
        self.stream.set_read_timeout(Some(within)).unwrap();
        let heard = match self.fill() {
            Ok(_) => true,
            Err(error) => is_closed(&error),
        };
        self.stream.set_read_timeout(Some(REPLY_MAX)).unwrap();
        heard || !self.received.is_empty()
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl<S: Read + Write> Client<S> {
    /// A peer on a stream that is made already.
    pub(crate) fn of(stream: S, framing: Framing) -> Self {
        Self { stream, framing, received: Vec::new() }
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).expect("the daemon reads");
    }

    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    pub(crate) fn send(&mut self, payload: impl AsRef<[u8]>) {
        self.send_bytes(&self.framing.frame(payload.as_ref()));
    }

    /// The next reply; fails the test if there is none in time.
    pub(crate) fn reply(&mut self) -> String {
        match self.try_reply() {
            Ok(reply) => reply,
            Err(error) => panic!("no reply: {error}, {} bytes of one", self.received.len()),
        }
    }

    pub(crate) fn try_reply(&mut self) -> io::Result<String> {
        loop {
            if let Some(payload) = self.framing.take(&mut self.received) {
                assert!(payload.is_ascii(), "what the daemon writes is ASCII: {payload:?}");
                return Ok(String::from_utf8(payload).unwrap());
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let read = self.stream.read(&mut chunk)?;
        self.received.extend_from_slice(&chunk[..read]);
        Ok(read)
    }

    pub(crate) fn ask(&mut self, payload: impl AsRef<[u8]>) -> String {
        self.send(payload);
        self.reply()
    }

    /// Asks what is answered with an error of this code; the error.
    pub(crate) fn refused(&mut self, payload: impl AsRef<[u8]>, code: &str) -> Value {
        let reply = self.ask(payload);
        error_of(&reply, code)
    }

    /// Asks what is not refused.
    pub(crate) fn served(&mut self, payload: impl AsRef<[u8]>) -> String {
        let reply = self.ask(payload.as_ref());
        let payload = String::from_utf8_lossy(payload.as_ref());
        assert!(!reply.starts_with("{\"error\""), "{payload} is refused: {reply}");
        reply
    }

    /// The daemon closes, and has nothing more to say before.
    pub(crate) fn expect_end(&mut self) {
        match self.try_reply() {
            Ok(reply) => panic!("one reply too many: {reply}"),
            Err(error) => assert!(is_closed(&error), "the connection is still open: {error}"),
        }
        assert!(self.received.is_empty(), "half a reply before the end");
    }
}

/// Whether the other side ended the connection, in whatever way.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// The error object of a reply that must be one, with this code.
pub(crate) fn error_of(reply: &str, code: &str) -> Value {
    error_among(reply, &[code])
}

/// The error object of a reply that must be one, with one of these codes.
pub(crate) fn error_among(reply: &str, codes: &[&str]) -> Value {
    let value: Value = serde_json::from_str(reply).unwrap_or_default();
    let code = value["error"]["code"].as_str();
    assert!(code.is_some_and(|code| codes.contains(&code)), "{codes:?}, the reply is {reply:?}");
    value["error"].clone()
}
