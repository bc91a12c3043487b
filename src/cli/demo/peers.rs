//! The fleet's services, played: clients that ask the daemon, and servers that it calls.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;

use super::Error;
use crate::connection::frame::{Decoder, Framing};

const FRAMING: Framing = Framing::Length4;
const FRAME_BYTES_MAX: usize = 1 << 20;
/// How long the daemon may take to answer, or to call.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A connection that carries frames.
struct Wire {
    stream: TcpStream,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        let decoder = Decoder::new(FRAMING, FRAME_BYTES_MAX);
        Self { stream, decoder, buffer: BytesMut::new() }
    }

    fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut frame = BytesMut::new();
        FRAMING.put(payload, &mut frame).map_err(io::Error::other)?;
        self.stream.write_all(&frame)
    }

    fn read(&mut self) -> io::Result<String> {
        loop {
            if let Some(found) = self.decoder.find(&self.buffer).map_err(io::Error::other)? {
                let payload = self.buffer[found.start..found.end].to_vec();
                self.decoder.consume(&mut self.buffer, found);
                return String::from_utf8(payload).map_err(io::Error::other);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

/// A service that asks the daemon.
pub(super) struct Client(Wire);

impl Client {
    pub(super) fn connect(daemon: SocketAddr) -> Result<Self, Error> {
        let connect = || {
            let stream = TcpStream::connect_timeout(&daemon, WAIT_MAX)?;
            stream.set_read_timeout(Some(WAIT_MAX))?;
            Ok(Self(Wire::new(stream)))
        };
        connect().map_err(Error::io("can't connect to the daemon"))
    }

    pub(super) fn ask(&mut self, message: &str) -> Result<String, Error> {
        let exchange = |wire: &mut Wire| {
            wire.write(message.as_bytes())?;
            wire.read()
        };
        exchange(&mut self.0).map_err(Error::io("the daemon did not answer"))
    }
}

/// How a played service answers what it is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manner {
    /// Always the same text.
    Says(&'static str),
    /// The text once, then not at all.
    SaysOnce(&'static str),
    /// Not at all.
    Silent,
}

/// A service that the daemon calls.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    told: Receiver<String>,
}

impl Server {
    pub(super) fn start(manner: Manner) -> Result<Self, Error> {
        let bind = || {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = bind().map_err(Error::io("can't play a service"))?;
        let manner = Arc::new(Mutex::new(manner));
        let (tell, told) = channel();
        let manner_of_connections = Arc::clone(&manner);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (manner, tell) = (Arc::clone(&manner_of_connections), tell.clone());
                thread::spawn(move || serve(stream, &manner, &tell));
            }
        });
        Ok(Self { address, manner, told })
    }

    pub(super) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// The next message that the daemon sends here.
    pub(super) fn told(&self) -> Result<String, Error> {
        self.told
            .recv_timeout(WAIT_MAX)
            .map_err(|_| Error::Daemon("the daemon did not call a service in time".to_owned()))
    }
}

/// Answers until the daemon closes the connection; the story hears of every message.
fn serve(stream: TcpStream, manner: &Mutex<Manner>, tell: &Sender<String>) {
    let mut wire = Wire::new(stream);
    while let Ok(message) = wire.read() {
        let text = next_answer(&mut manner.lock().unwrap_or_else(PoisonError::into_inner));
        if tell.send(message).is_err() {
            return;
        }
        if let Some(text) = text
            && wire.write(text.as_bytes()).is_err()
        {
            return;
        }
    }
}

fn next_answer(manner: &mut Manner) -> Option<&'static str> {
    match *manner {
        Manner::Says(text) => Some(text),
        Manner::SaysOnce(text) => {
            *manner = Manner::Silent;
            Some(text)
        }
        Manner::Silent => None,
    }
}
