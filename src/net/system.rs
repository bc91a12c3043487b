//! The system's own sockets, and what is set on them.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::TcpSocket;
pub use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::runtime::Handle;

/// Listens on an address; the kernel keeps `backlog` connections until somebody accepts them.
pub fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the old connections' last packets to die.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Has the kernel ask whether the peer's machine is still there. Nothing of it reaches the peer's
/// program.
pub fn keep_alive(stream: &TcpStream, keepalive: &TcpKeepalive) -> io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(keepalive)
}

/// How many bytes have come and were not read, one at the most; none if the peer closed its side. Asks
/// the system, not the runtime, which may not have looked at the socket yet, and never waits.
pub fn peek(stream: &TcpStream) -> io::Result<usize> {
    SockRef::from(stream).peek(&mut [MaybeUninit::uninit()])
}

/// Reads what has come, past the runtime, and never waits.
pub fn read_now(stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    (&*SockRef::from(stream)).read(into)
}

/// Writes what can be written, past the runtime, and never waits.
pub fn write_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    (&*SockRef::from(stream)).write(bytes)
}

/// Waits until there is something to read.
pub async fn readable(stream: &TcpStream) -> io::Result<()> {
    stream.readable().await
}

/// After reading past the runtime: lets [`readable`] wait again.
pub fn forget_readable(stream: &TcpStream) {
    let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
    drop(stream.try_io(Interest::READABLE, nothing));
}

/// Gives a socket to another runtime, which tells from then on what becomes of it.
pub fn hand_over(stream: TcpStream, to: &Handle) -> io::Result<TcpStream> {
    let stream = stream.into_std()?;
    let _within = to.enter();
    TcpStream::from_std(stream)
}

/// Whether peers have all the file descriptors that are for them.
pub fn are_descriptors_short(newest: &TcpStream) -> bool {
    crate::descriptors::are_short(newest)
}
