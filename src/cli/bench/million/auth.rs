//! An auth service that acknowledges every frame at once, and counts the users in it.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::Error;
use crate::cli::wire::Wire;

/// How long no frame may come before the rest is given up.
const FRAME_MAX: Duration = Duration::from_secs(10);

/// The running service; it ends with the process.
#[derive(Debug)]
pub(super) struct Auth {
    pub(super) address: SocketAddr,
    told: Receiver<u64>,
}

impl Auth {
    pub(super) fn start() -> Result<Self, Error> {
        let bind = || {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = bind().map_err(Error::io("can't play the auth service"))?;
        let (tell, told) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                // A connection ends when the daemon closes it, or nobody counts any more.
                thread::spawn(move || drop(serve(stream, &tell)));
            }
        });
        Ok(Self { address, told })
    }

    /// Waits until it was told of so many users; when that was.
    pub(super) fn told(&self, users: u64) -> Result<Instant, Error> {
        let mut left = users;
        while left > 0 {
            let more = self.told.recv_timeout(FRAME_MAX);
            let more = more.map_err(|_| {
                Error::Server(format!("the night's delivery stopped {left} users short"))
            })?;
            left = left.saturating_sub(more);
        }
        Ok(Instant::now())
    }
}

fn serve(stream: TcpStream, tell: &Sender<u64>) -> io::Result<()> {
    let mut wire = Wire::of(stream)?;
    loop {
        let users = users_in(&wire.read()?);
        wire.write(b"SUCCESS")?;
        tell.send(users as u64).map_err(io::Error::other)?;
    }
}

/// Every user of a frame has a study time, and nobody's name is one.
fn users_in(frame: &str) -> usize {
    frame.matches("\"user_id\"").count()
}
