//! Sockets of a simulated network, with the reach of the system's: a network that cuts what is
//! written and read into pieces of any size is the rule here, not the exception.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt as _;
use socket2::TcpKeepalive;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use turmoil::net as simulated;

/// One in so many reads and writes is cut short, to fewer bytes than most messages have.
const CUT_ONE_IN: u32 = 8;
const CUT_BYTES_MAX: usize = 64;

/// A stream of a simulated host.
#[derive(Debug)]
pub struct TcpStream {
    /// Behind a lock, as a look at what has arrived needs it whole.
    stream: Mutex<simulated::TcpStream>,
}

/// A listening socket of a simulated host.
pub struct TcpListener {
    socket: simulated::TcpListener,
}

impl std::fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpListener").finish_non_exhaustive()
    }
}

impl TcpStream {
    /// Connects to another host of the simulation.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        simulated::TcpStream::connect(address).await.map(Self::new)
    }

    fn new(stream: simulated::TcpStream) -> Self {
        Self { stream: Mutex::new(stream) }
    }

    fn with<T>(&self, look: impl FnOnce(&mut simulated::TcpStream) -> T) -> T {
        look(&mut self.stream.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn whole(&mut self) -> Pin<&mut simulated::TcpStream> {
        Pin::new(self.stream.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// This end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.with(|stream| stream.local_addr())
    }

    /// The other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.with(|stream| stream.peer_addr())
    }

    /// The simulated network holds nothing back in the first place.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.with(|stream| stream.set_nodelay(nodelay))
    }
}

/// So many of `all` bytes go through at once.
fn cut(all: usize) -> usize {
    match fastrand::u32(..CUT_ONE_IN) {
        0 if all > 1 => fastrand::usize(1..all.min(CUT_BYTES_MAX)),
        _ => all,
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut piece = vec![0; cut(into.remaining())];
        let mut read = ReadBuf::new(&mut piece);
        let polled = self.whole().poll_read(task, &mut read);
        into.put_slice(read.filled());
        polled
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let piece = bytes.get(..cut(bytes.len())).unwrap_or(bytes);
        self.whole().poll_write(task, piece)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole().poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole().poll_shutdown(task)
    }
}

impl TcpListener {
    /// No socket of the system's leads into a simulation.
    pub fn from_std(_: std::net::TcpListener) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.socket.accept().await?;
        Ok((TcpStream::new(stream), peer))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// As the system's; how many connections wait to be accepted is the simulation's affair.
pub fn listen(address: SocketAddr, _backlog: u32) -> io::Result<TcpListener> {
    let bound = simulated::TcpListener::bind(address).now_or_never();
    bound.unwrap_or(Err(io::ErrorKind::WouldBlock.into())).map(|socket| TcpListener { socket })
}

/// The addresses of a host of the simulation, or of an address.
pub async fn lookup_host(host: &str) -> io::Result<impl Iterator<Item = SocketAddr>> {
    simulated::lookup_host(host).await
}

/// A simulated machine doesn't vanish without its network.
pub fn keep_alive(_: &TcpStream, _: &TcpKeepalive) -> io::Result<()> {
    Ok(())
}

/// As with the system's sockets.
pub fn peek(stream: &TcpStream) -> io::Result<usize> {
    let mut byte = [0];
    now(stream, |stream, task| stream.get_mut().poll_peek(task, &mut ReadBuf::new(&mut byte)))
}

/// As with the system's sockets.
pub fn read_now(stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    let mut read = ReadBuf::new(into);
    now(stream, |stream, task| stream.poll_read(task, &mut read))?;
    Ok(read.filled().len())
}

/// As with the system's sockets.
pub fn write_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    now(stream, |stream, task| stream.poll_write(task, bytes))
}

fn now<T>(
    stream: &TcpStream,
    poll: impl FnOnce(Pin<&mut simulated::TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
) -> io::Result<T> {
    let mut task = Context::from_waker(Waker::noop());
    match stream.with(|stream| poll(Pin::new(stream), &mut task)) {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// As with the system's sockets.
pub async fn readable(stream: &TcpStream) -> io::Result<()> {
    let mut byte = [0];
    poll_fn(|task| {
        let mut peeked = ReadBuf::new(&mut byte);
        stream.with(|stream| stream.poll_peek(task, &mut peeked)).map_ok(drop)
    })
    .await
}

/// Nothing is remembered.
pub fn forget_readable(_: &TcpStream) {}

/// A simulated host has one runtime.
pub fn hand_over(stream: TcpStream, _: &Handle) -> io::Result<TcpStream> {
    Ok(stream)
}

/// A simulated socket takes no descriptor.
pub fn are_descriptors_short(_: &TcpStream) -> bool {
    false
}
