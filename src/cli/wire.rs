//! A connection that carries frames, for whoever can wait for each: a played service or its client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;

use crate::connection::frame::{Decoder, Framing};

const FRAMING: Framing = Framing::Length4;
const FRAME_BYTES_MAX: usize = 1 << 20;
/// What is read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// The connection.
pub(super) struct Wire {
    stream: TcpStream,
    decoder: Decoder,
    received: BytesMut,
}

impl Wire {
    /// To a server, which may take so long to take it and for each reply.
    pub(super) fn connect(server: SocketAddr, wait_max: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, wait_max)?;
        stream.set_read_timeout(Some(wait_max))?;
        Self::of(stream)
    }

    pub(super) fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let decoder = Decoder::new(FRAMING, FRAME_BYTES_MAX);
        Ok(Self { stream, decoder, received: BytesMut::new() })
    }

    pub(super) fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut frame = BytesMut::new();
        FRAMING.put(payload, &mut frame).map_err(io::Error::other)?;
        self.write_frames(&frame)
    }

    /// Frames that are ready.
    pub(super) fn write_frames(&mut self, frames: &[u8]) -> io::Result<()> {
        self.stream.write_all(frames)
    }

    /// The next payload.
    pub(super) fn read(&mut self) -> io::Result<String> {
        loop {
            if let Some(found) = self.decoder.find(&self.received).map_err(io::Error::other)? {
                let payload = self.received[found.start..found.end].to_vec();
                self.decoder.consume(&mut self.received, found);
                return String::from_utf8(payload).map_err(io::Error::other);
            }
            let mut chunk = [0; CHUNK_BYTES];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.received.extend_from_slice(&chunk[..read]),
            }
        }
    }
}
