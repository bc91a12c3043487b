//! The fleet's services, played: clients that ask the daemon, and servers that it calls.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::Error;
use crate::cli::wire::Wire;

/// How long the daemon may take to answer, or to call.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A service that asks the daemon.
pub(super) struct Client(Wire);

impl Client {
    pub(super) fn connect(daemon: SocketAddr) -> Result<Self, Error> {
        let wire = Wire::connect(daemon, WAIT_MAX);
        wire.map(Self).map_err(Error::io("can't connect to the daemon"))
    }

    pub(super) fn ask(&mut self, message: &str) -> Result<String, Error> {
        let reply = self.0.write(message.as_bytes()).and_then(|()| self.0.read());
        reply.map_err(Error::io("the daemon did not answer"))
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
    let Ok(mut wire) = Wire::of(stream) else { return };
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
