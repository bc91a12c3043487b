//! `stated send`: messages out, replies in, for people and for scripts.

use std::io::{self, BufRead, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::{ClientConnection, StreamOwned};

use super::SendArgs;
use crate::connection::frame::{BrokenFraming, Decoder, PayloadTooLong};
use crate::tls;

/// The longest reply that is taken.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// Exit status when at least one reply was an error.
const ERROR_REPLY: u8 = 1;
/// Exit status when the daemon could not be asked.
const NOT_ASKED: u8 = 2;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("can't reach {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("TLS can't be spoken: {0}")]
    Files(#[from] tls::Error),
    #[error("{0} can't be in a certificate")]
    Name(String),
    #[error("TLS can't be spoken with {address}: {source}")]
    Tls { address: String, source: rustls::Error },
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the daemon closed the connection without a reply")]
    Closed,
    #[error("the reply can't be read: {0}")]
    Framing(#[from] BrokenFraming),
    #[error("the message can't be sent: {0}")]
    TooLong(#[from] PayloadTooLong),
}

#[expect(clippy::print_stderr, reason = "a command's own output")]
pub(super) fn run(args: &SendArgs) -> ExitCode {
    match send_all(args) {
        Ok(AnyError::No) => ExitCode::SUCCESS,
        Ok(AnyError::Yes) => ExitCode::from(ERROR_REPLY),
        Err(error) => {
            eprintln!("stated send: {error}");
            ExitCode::from(NOT_ASKED)
        }
    }
}

/// Whether any reply was an error object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnyError {
    Yes,
    No,
}

fn send_all(args: &SendArgs) -> Result<AnyError, Error> {
    let mut peer = Peer::connect(args)?;
    let mut any = AnyError::No;
    for message in &args.messages {
        if message == "-" {
            for line in io::stdin().lock().lines() {
                let line = line?;
                if !line.trim().is_empty() && peer.exchange(line.trim(), args)? == AnyError::Yes {
                    any = AnyError::Yes;
                }
            }
        } else if peer.exchange(message, args)? == AnyError::Yes {
            any = AnyError::Yes;
        }
    }
    Ok(any)
}

struct Peer {
    stream: Stream,
    decoder: Decoder,
    buffer: BytesMut,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// The handshake is made with the first message.
    fn new(socket: TcpStream, args: &SendArgs) -> Result<Self, Error> {
        let Some(calling) = args.tls.calling()? else { return Ok(Self::Plain(socket)) };
        let address = || args.addr.clone();
        let name = calling.server_name(&args.addr).ok_or_else(|| Error::Name(address()))?;
        let config = Arc::clone(calling.connector().config());
        let failed = |source| Error::Tls { address: address(), source };
        let session = ClientConnection::new(config, name).map_err(failed)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(session) => session.write_all(bytes).and_then(|()| session.flush()),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Tls(session) => session.read(into),
        }
    }
}

impl Peer {
    fn connect(args: &SendArgs) -> Result<Self, Error> {
        let failed = |source| Error::Connect { address: args.addr.clone(), source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in args.addr.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&address, args.timeout) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(args.timeout))?;
                    stream.set_write_timeout(Some(args.timeout))?;
                    let decoder = Decoder::new(args.framing, REPLY_BYTES_MAX);
                    let stream = Stream::new(stream, args)?;
                    return Ok(Self { stream, decoder, buffer: BytesMut::new() });
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// Sends one message, prints its reply.
    fn exchange(&mut self, message: &str, args: &SendArgs) -> Result<AnyError, Error> {
        let mut frame = BytesMut::new();
        args.framing.put(message.as_bytes(), &mut frame)?;
        self.stream.write_all(&frame)?;
        let reply = self.reply()?;
        let mut out = io::stdout().lock();
        if args.raw {
            out.write_all(&reply)?;
            out.write_all(b"\n")?;
        } else {
            writeln!(out, "{}", readable(&reply))?;
        }
        out.flush()?;
        Ok(if is_error(&reply) { AnyError::Yes } else { AnyError::No })
    }

    fn reply(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            if let Some(found) = self.decoder.find(&self.buffer)? {
                let reply = self.buffer[found.start..found.end].to_vec();
                self.decoder.consume(&mut self.buffer, found);
                return Ok(reply);
            }
            let mut chunk = [0; 8 * 1024];
            match self.stream.read(&mut chunk)? {
                0 => return Err(Error::Closed),
                read => self.buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

fn is_error(reply: &[u8]) -> bool {
    let value: Result<serde_json::Value, _> = serde_json::from_slice(reply);
    value.is_ok_and(|value| value.get("error").is_some())
}

/// The reply with its `\uXXXX` as the characters they stand for.
pub(super) fn readable(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply);
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut units = Vec::new();
    let mut rest = &*text;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        flush(&mut units, &mut out, plain);
        match unit(escape) {
            Some(code) if code >= 0x80 => {
                units.push(code);
                rest = &escape[6..];
            }
            _ => {
                let end = escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end);
                flush(&mut units, &mut out, &escape[..end]);
                rest = &escape[end..];
            }
        }
    }
    out.push_str(&String::from_utf16_lossy(&units));
    out.push_str(rest);
    out
}

/// The UTF-16 unit of a `\uXXXX` at the start of `escape`.
fn unit(escape: &str) -> Option<u16> {
    u16::from_str_radix(escape.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

/// Appends the characters collected so far, then `text`. Between two escapes there is no text: they
/// may be the halves of one character.
fn flush(units: &mut Vec<u16>, out: &mut String, text: &str) {
    if text.is_empty() {
        return;
    }
    out.push_str(&String::from_utf16_lossy(units));
    units.clear();
    out.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn korean_is_shown_as_korean_and_other_escapes_stay() {
        let reply = br#"{"a":"\uac00\ub098 \ud83d\ude00","b":"\"\n\u0001\\u"}"#;
        assert_eq!(readable(reply), r#"{"a":"가나 😀","b":"\"\n\u0001\\u"}"#);
        assert_eq!(readable(b""), "(empty)");
        assert_eq!(readable(b"\\uac00"), "가");
    }
}
