//! Fills a daemon: every user is spoken of once, as fast as it takes it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;

use super::super::Error;
use super::super::messages::{Filling, LISTED_USERS};
use crate::connection::frame::{Decoder, Framing};

/// Connections that fill, each from a thread of its own.
const CONNECTIONS: u64 = 8;
/// Requests under way on each.
const IN_FLIGHT: u64 = 64;
/// How long a reply may take.
const REPLY_MAX: Duration = Duration::from_secs(10);
const REPLY_BYTES_MAX: usize = 1 << 20;

/// What is said of the users.
#[derive(Debug, Clone, Copy)]
pub(super) enum Saying {
    /// Each enters a room.
    Enters,
    /// Each is listed with a study time, by `SCHEDULER`; the text is what the names begin with.
    Listed(&'static str),
}

/// Says it of so many users; returns when all of it is answered.
pub(super) fn fill(daemon: SocketAddr, saying: Saying, users: u64) -> Result<(), Error> {
    let share = users.div_ceil(CONNECTIONS).next_multiple_of(LISTED_USERS);
    let shares = (0..CONNECTIONS).map(|at| at * share..((at + 1) * share).min(users));
    thread::scope(|scope| {
        let threads: Vec<_> =
            shares.map(|share| scope.spawn(move || say(daemon, saying, share))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(Error::Panic)))
    })
}

fn say(daemon: SocketAddr, saying: Saying, users: Range<u64>) -> Result<(), Error> {
    let filling = match saying {
        Saying::Enters => Filling::entering(),
        Saying::Listed(name) => Filling::listing(name),
    }?;
    let mut stream = connect(daemon)?;
    let (mut out, mut decoder) = (BytesMut::new(), Decoder::new(Framing::Length4, REPLY_BYTES_MAX));
    let step = IN_FLIGHT * filling.users_each;
    for first in users.clone().step_by(step as usize) {
        out.clear();
        let said = (first..users.end.min(first + step)).step_by(filling.users_each as usize);
        let requests = said.clone().count();
        said.for_each(|user| filling.put(user, &mut out));
        stream.write_all(&out).map_err(Error::io("the daemon takes no more"))?;
        hear(&mut stream, &mut decoder, requests)
            .map_err(Error::io("the daemon did not answer"))?;
    }
    Ok(())
}

/// Reads so many replies, none of which may be an error.
fn hear(stream: &mut TcpStream, decoder: &mut Decoder, requests: usize) -> io::Result<()> {
    let (mut received, mut chunk) = (BytesMut::new(), [0; 64 * 1024]);
    let mut left = requests;
    while left > 0 {
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => received.extend_from_slice(&chunk[..read]),
        }
        while let Some(found) = decoder.find(&received).map_err(io::Error::other)? {
            if received[found.start..found.end].starts_with(b"{\"error\"") {
                return Err(io::Error::other("with an error"));
            }
            decoder.consume(&mut received, found);
            left = left.saturating_sub(1);
        }
    }
    Ok(())
}

/// Asks one thing.
pub(super) fn ask(daemon: SocketAddr, message: &str) -> Result<(), Error> {
    let mut stream = connect(daemon)?;
    let mut out = BytesMut::new();
    Framing::Length4.put(message.as_bytes(), &mut out)?;
    stream.write_all(&out).map_err(Error::io("the daemon takes no more"))?;
    let mut decoder = Decoder::new(Framing::Length4, REPLY_BYTES_MAX);
    hear(&mut stream, &mut decoder, 1).map_err(Error::io("the daemon did not answer"))
}

fn connect(daemon: SocketAddr) -> Result<TcpStream, Error> {
    let connect = || {
        let stream = TcpStream::connect(daemon)?;
        stream.set_read_timeout(Some(REPLY_MAX))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    connect().map_err(|source| Error::Connect { address: daemon, source })
}
