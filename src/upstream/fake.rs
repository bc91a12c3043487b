//! A peer for tests: a real socket whose every word the test decides.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::config;
use crate::connection::frame::{Decoder, Framing};

/// Whatever a test waits for has come long before, or never will.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// One that listens.
pub(super) struct Peer {
    listener: TcpListener,
    framing: Framing,
}

/// One that has its address and does not listen yet: connections are refused.
pub(super) struct DeadPeer {
    socket: TcpSocket,
}

/// One accepted connection.
pub(super) struct Talk {
    pub(super) stream: TcpStream,
    framing: Framing,
    buffer: BytesMut,
}

impl DeadPeer {
    pub(super) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { socket }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(super) fn listen(self) -> Peer {
        Peer { listener: self.socket.listen(1024).unwrap(), framing: Framing::Length4 }
    }

    /// Listens, and lets nobody through: the system's queue of connections is full.
    pub(super) async fn black_hole(self) -> (TcpListener, Vec<TcpStream>) {
        let address = self.address();
        let listener = self.socket.listen(1).unwrap();
        let mut crowd = Vec::new();
        while let Ok(stream) =
            timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            crowd.push(stream.unwrap());
        }
        (listener, crowd)
    }
}

impl Peer {
    pub(super) async fn new(framing: Framing) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), framing }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(super) async fn accept(&self) -> Talk {
        let (stream, _) = timeout(LONG, self.listener.accept()).await.unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        Talk { stream, framing: self.framing, buffer: BytesMut::new() }
    }

    /// Whether nobody has connected who was not accepted yet.
    pub(super) async fn is_alone(&self) -> bool {
        timeout(Duration::from_millis(20), self.listener.accept()).await.is_err()
    }
}

impl Talk {
    /// The next message, or `None` if there is none and the connection is closed.
    pub(super) async fn hear(&mut self) -> Option<String> {
        let mut decoder = Decoder::new(self.framing, 1 << 20);
        loop {
            if let Some(found) = decoder.find(&self.buffer).unwrap() {
                let text = str::from_utf8(&self.buffer[found.start..found.end]).unwrap().to_owned();
                decoder.consume(&mut self.buffer, found);
                return Some(text);
            }
            let read = timeout(LONG, self.stream.read_buf(&mut self.buffer)).await.unwrap();
            if read.unwrap_or(0) == 0 {
                assert!(self.buffer.is_empty(), "half a message");
                return None;
            }
        }
    }

    /// Whether nothing was said since the last message.
    pub(super) async fn is_quiet(&mut self) -> bool {
        let quiet = self.buffer.is_empty();
        let read = self.stream.read_buf(&mut self.buffer);
        quiet && timeout(Duration::from_millis(20), read).await.is_err()
    }

    pub(super) async fn say(&mut self, payload: &[u8]) {
        self.say_raw(&framed(self.framing, payload)).await;
    }

    pub(super) async fn say_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Answers each message with itself until the other side closes; returns the messages.
    pub(super) async fn echo(mut self) -> Vec<String> {
        let mut heard = Vec::new();
        while let Some(message) = self.hear().await {
            assert!(self.buffer.is_empty(), "a second message before the first was answered");
            self.say(message.as_bytes()).await;
            heard.push(message);
        }
        heard
    }

    /// Closes with a reset.
    pub(super) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

pub(super) fn framed(framing: Framing, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    framing.put(payload, &mut out).unwrap();
    out
}

/// A gateway's configuration with limits that are not reached.
pub(super) fn config(address: SocketAddr, framing: Framing) -> config::Gateway {
    config::Gateway {
        address: address.to_string(),
        framing,
        pool_size: 10,
        connect_timeout: LONG,
        reply_timeout: LONG,
        max_frame_bytes: 2046,
        tls: config::tls::CallingTls::default(),
    }
}

pub(super) fn far() -> Instant {
    Instant::now() + LONG
}

/// Waits until `holds`.
pub(super) async fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = far();
    while !holds() {
        assert!(Instant::now() < deadline, "it never came about");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
