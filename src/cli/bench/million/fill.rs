//! Fills a daemon: every user is spoken of once, as fast as it takes it.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;

use super::super::Error;
use super::super::messages::{Filling, LISTED_USERS};
use crate::cli::wire::Wire;

/// Connections that fill, each from a thread of its own.
const CONNECTIONS: u64 = 8;
/// Requests under way on each.
const IN_FLIGHT: u64 = 64;
/// How long a reply may take.
const REPLY_MAX: Duration = Duration::from_secs(10);

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
    let (mut wire, mut out) = (connect(daemon)?, BytesMut::new());
    let step = IN_FLIGHT * filling.users_each;
    for first in users.clone().step_by(step as usize) {
        out.clear();
        let said = (first..users.end.min(first + step)).step_by(filling.users_each as usize);
        said.clone().for_each(|user| filling.put(user, &mut out));
        wire.write_frames(&out).map_err(Error::io("the daemon takes no more"))?;
        for _ in said {
            hear(&mut wire)?;
        }
    }
    Ok(())
}

/// Asks one thing.
pub(super) fn ask(daemon: SocketAddr, message: &str) -> Result<(), Error> {
    let mut wire = connect(daemon)?;
    wire.write(message.as_bytes()).map_err(Error::io("the daemon takes no more"))?;
    hear(&mut wire)
}

/// Reads a reply, which may not be an error.
fn hear(wire: &mut Wire) -> Result<(), Error> {
    let reply = wire.read().and_then(|reply| {
        let is_error = reply.starts_with("{\"error\"");
        if is_error { Err(io::Error::other("with an error")) } else { Ok(()) }
    });
    reply.map_err(Error::io("the daemon did not answer"))
}

fn connect(daemon: SocketAddr) -> Result<Wire, Error> {
    Wire::connect(daemon, REPLY_MAX).map_err(|source| Error::Connect { address: daemon, source })
}
