//! Programs that call the daemon: as clumsy, hasty and mortal as a seed makes them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use fastrand::Rng;
use stated::connection::frame::{Decoder, Framing};
use stated::net::TcpStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::history::{History, now};
use super::plan::{CALM_AT, DAEMON, LISTENERS};
use super::request::{Numbers, Request};

/// After that long a caller hangs up. The daemon has to answer much earlier.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
const REPLY_BYTES_MAX: usize = 1 << 20;

/// One connection to the daemon.
pub(crate) struct Talk {
    stream: TcpStream,
    framing: Framing,
    input: BytesMut,
    history: History,
    host: &'static str,
    pub(crate) connection: usize,
    owed: VecDeque<usize>,
}

/// Why a caller hears nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The daemon closed, or the connection broke.
    Closed,
    /// Nothing came for too long.
    Silence,
}

impl Talk {
    pub(crate) async fn open(
        history: &History,
        host: &'static str,
        listener: usize,
    ) -> Option<Self> {
        let (port, framing) = LISTENERS[listener % LISTENERS.len()];
        let address = (turmoil::lookup(DAEMON), port).into();
        let connecting = timeout(Duration::from_secs(1), TcpStream::connect(address));
        let stream = connecting.await.ok()?.ok()?;
        let connection = history.opened(host);
        let (input, owed, history) = (BytesMut::new(), VecDeque::new(), history.clone());
        Some(Self { stream, framing, input, history, host, connection, owed })
    }

    /// Says several things at once, in pieces of any size.
    pub(crate) async fn say(&mut self, requests: Vec<Request>) -> Result<(), Over> {
        let mut bytes = BytesMut::new();
        for request in requests {
            self.framing.put(&request.payload(), &mut bytes).unwrap();
            let asked = self.history.asked(self.connection, self.host, self.owed.len(), request);
            self.owed.push_back(asked);
        }
        match timeout(PATIENCE, self.stream.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over::Closed),
            Err(_) => Err(Over::Silence),
        }
    }

    /// Hears the answer to the oldest question.
    pub(crate) async fn hear(&mut self) -> Result<Vec<u8>, Over> {
        let reply = match timeout(PATIENCE, self.frame()).await {
            Ok(reply) => reply?,
            Err(_) => return Err(Over::Silence),
        };
        match self.owed.pop_front() {
            Some(asked) => self.history.answered(asked, &reply),
            None => self.history.complain(format!(
                "connection {} hears what it did not ask for: {}",
                self.connection,
                String::from_utf8_lossy(&reply)
            )),
        }
        Ok(reply)
    }

    pub(crate) async fn hear_all(&mut self) -> Result<(), Over> {
        while !self.owed.is_empty() {
            self.hear().await?;
        }
        Ok(())
    }

    /// Asks nothing for a while, and so hears nothing.
    pub(crate) async fn idle(&mut self, length: Duration) -> Result<(), Over> {
        match timeout(length, self.hear()).await {
            Ok(Ok(_)) | Err(_) => Ok(()),
            Ok(Err(over)) => Err(over),
        }
    }

    /// Says that nothing more will be said, and hears what it is owed, and the end.
    pub(crate) async fn finish(mut self) {
        drop(timeout(PATIENCE, self.stream.shutdown()).await);
        let owed = self.owed.len();
        match self.hear_all().await {
            Ok(()) => {}
            Err(over) => return self.end(over),
        }
        self.history.note(&format!("connection {} heard {owed} more at its end", self.connection));
        match timeout(PATIENCE, self.frame()).await {
            Ok(Err(over)) => self.end(over),
            Ok(Ok(reply)) => {
                let reply = String::from_utf8_lossy(&reply).into_owned();
                self.history.complain(format!("a reply after the last one: {reply}"));
            }
            Err(_) => self.end(Over::Silence),
        }
    }

    pub(crate) fn end(self, over: Over) {
        self.history.ended(self.connection, over == Over::Silence, &format!("{over:?}"));
    }

    /// Is gone, whatever it is owed.
    pub(crate) fn die(self) {
        self.history.ended(self.connection, !self.owed.is_empty(), "dies");
    }

    async fn frame(&mut self) -> Result<Vec<u8>, Over> {
        let mut decoder = Decoder::new(self.framing, REPLY_BYTES_MAX);
        loop {
            match decoder.find(&self.input) {
                Ok(Some(found)) => {
                    let frame = self.input.split_to(found.consumed);
                    return Ok(frame[found.start..found.end].to_vec());
                }
                Ok(None) => {}
                Err(broken) => {
                    self.history.complain(format!("the daemon breaks the framing: {broken}"));
                    return Err(Over::Closed);
                }
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return Err(Over::Closed),
                Ok(_) => {}
            }
        }
    }
}

/// A caller that comes back as often as it goes, until the calm.
pub(crate) async fn call(
    history: History,
    host: &'static str,
    numbers: Rc<RefCell<Numbers>>,
    mut rng: Rng,
) {
    sleep(Duration::from_millis(rng.u64(20..400))).await;
    while now() < CALM_AT {
        let Some(talk) = Talk::open(&history, host, rng.usize(..)).await else {
            sleep(Duration::from_millis(rng.u64(50..400))).await;
            continue;
        };
        converse(talk, &numbers, &mut rng).await;
    }
}

async fn converse(mut talk: Talk, numbers: &RefCell<Numbers>, rng: &mut Rng) {
    loop {
        let depth = if rng.u32(..4) == 0 { rng.usize(2..12) } else { 1 };
        let requests = (0..depth).map(|_| Request::any(rng, &mut numbers.borrow_mut())).collect();
        if let Err(over) = talk.say(requests).await {
            return talk.end(over);
        }
        match rng.u32(..24) {
            0 => return talk.die(),
            1 => return talk.finish().await,
            2 => {
                if let Err(over) = talk.hear().await {
                    return talk.end(over);
                }
                return talk.die();
            }
            _ => {
                if let Err(over) = talk.hear_all().await {
                    return talk.end(over);
                }
            }
        }
        if now() >= CALM_AT {
            return talk.finish().await;
        }
        if let Err(over) = talk.idle(Duration::from_millis(rng.u64(1..250))).await {
            return talk.end(over);
        }
    }
}
