//! The services that the daemon calls, played: each with a manner of its own, each remembering all
//! that it was told and how.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::harness::{self, WAIT_MAX};
use crate::wire::Framing;

/// What a played service does once it has read a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Answers with this text; an empty one is an empty frame.
    Say(String),
    /// Answers with the message itself.
    Echo,
    /// Answers, a byte at a time.
    SayByteByByte(String),
    /// Writes these bytes, whatever they are as a frame.
    Write(Vec<u8>),
    /// Says nothing, and reads on.
    KeepSilent,
    /// Says nothing until the manner is changed.
    Wait,
    /// Closes.
    HangUp,
    /// Answers, then closes.
    SayAndHangUp(String),
}

/// Up to where a connection gets at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Reads messages.
    Reads,
    /// Accepts and closes at once.
    HangsUpAtOnce,
    /// Reads this many bytes of the first message, then closes.
    HangsUpAfterBytes(usize),
}

type Script = Arc<dyn Fn(&str) -> Act + Send + Sync>;

/// What is known of a played service.
#[derive(Default)]
struct Memory {
    script: Option<Script>,
    manners: Option<Manners>,
    /// Counts changes of the manner.
    manner: usize,
    told: Vec<String>,
    connections: usize,
    open: usize,
    open_max: usize,
    /// Connections that were closed over a message of which something had come.
    cut_short: usize,
    /// What no daemon may do; asserted when the service is dropped.
    wrongs: Vec<String>,
    gone: bool,
}

/// A played service. It is asserted at its end that the daemon never sent it an empty frame, and
/// never a message before the reply to the one before.
pub(crate) struct Played {
    pub(crate) address: SocketAddr,
    framing: Framing,
    shared: Arc<(Mutex<Memory>, Condvar)>,
    /// The address of a service that is not there, kept from others.
    place: Option<Socket>,
}

impl Played {
    pub(crate) fn says(text: &str) -> Self {
        Self::does(Act::Say(text.to_owned()))
    }

    pub(crate) fn does(act: Act) -> Self {
        let mut played = Self::absent(Framing::Length4);
        played.behave(act);
        played.appear();
        played
    }

    /// A service that is not there: whoever connects is refused.
    pub(crate) fn absent(framing: Framing) -> Self {
        let place = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        place.set_reuse_address(true).unwrap();
        place.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = place.local_addr().unwrap().as_socket().unwrap();
        let memory = Memory { manners: Some(Manners::Reads), ..Memory::default() };
        let shared = Arc::new((Mutex::new(memory), Condvar::new()));
        let played = Self { address, framing, shared, place: Some(place) };
        played.behave(Act::Say("SUCCESS".to_owned()));
        played
    }

    /// From now on the service is there.
    pub(crate) fn appear(&mut self) {
        let place = self.place.take().expect("it was absent");
        place.listen(128).unwrap();
        let listener = TcpListener::from(place);
        let (shared, framing) = (Arc::clone(&self.shared), self.framing);
        thread::spawn(move || accept(&listener, framing, &shared));
    }

    pub(crate) fn behave(&self, act: Act) {
        self.play(move |_| act.clone());
    }

    /// Decides by the message.
    pub(crate) fn play(&self, script: impl Fn(&str) -> Act + Send + Sync + 'static) {
        let mut memory = self.memory();
        memory.script = Some(Arc::new(script));
        memory.manner += 1;
        self.shared.1.notify_all();
    }

    pub(crate) fn have(&self, manners: Manners) {
        self.memory().manners = Some(manners);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.shared.0.lock().unwrap()
    }

    /// All it was told so far.
    pub(crate) fn told(&self) -> Vec<String> {
        self.memory().told.clone()
    }

    pub(crate) fn told_count(&self) -> usize {
        self.memory().told.len()
    }

    /// Waits until it was told this many messages; all of them.
    pub(crate) fn wait_told(&self, count: usize) -> Vec<String> {
        self.wait_told_that(&format!("{count} messages"), |told| told.len() >= count)
    }

    pub(crate) fn wait_told_that(
        &self,
        what: &str,
        enough: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        let deadline = Instant::now() + WAIT_MAX;
        let mut memory = self.memory();
        while !enough(&memory.told) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not told {what}, but only {:?}", memory.told);
            memory = self.shared.1.wait_timeout(memory, left).unwrap().0;
        }
        memory.told.clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.memory().connections
    }

    /// Waits until this many connections were closed over a message that was half read.
    pub(crate) fn wait_cut_short(&self, count: usize) {
        harness::wait_until("a message is cut short", || self.memory().cut_short >= count);
    }

    pub(crate) fn open_max(&self) -> usize {
        self.memory().open_max
    }

    pub(crate) fn open(&self) -> usize {
        self.memory().open
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        let wrongs = {
            let mut memory = self.shared.0.lock().unwrap();
            memory.gone = true;
            memory.manner += 1;
            self.shared.1.notify_all();
            std::mem::take(&mut memory.wrongs)
        };
        // Wakes the listener's thread, which then ends.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        if !thread::panicking() {
            assert!(wrongs.is_empty(), "what the daemon may not do: {wrongs:?}");
        }
    }
}

fn accept(listener: &TcpListener, framing: Framing, shared: &Arc<(Mutex<Memory>, Condvar)>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        let manners = {
            let mut memory = shared.0.lock().unwrap();
            if memory.gone {
                return;
            }
            memory.connections += 1;
            memory.open += 1;
            memory.open_max = memory.open_max.max(memory.open);
            memory.manners.unwrap_or(Manners::Reads)
        };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let mut connection = Connection { stream, framing, received: Vec::new() };
            connection.serve(manners, &shared);
            let (memory, changed) = &*shared;
            memory.lock().unwrap().open -= 1;
            changed.notify_all();
        });
    }
}

struct Connection {
    stream: TcpStream,
    framing: Framing,
    received: Vec<u8>,
}

impl Connection {
    fn serve(&mut self, manners: Manners, shared: &(Mutex<Memory>, Condvar)) {
        match manners {
            Manners::Reads => {}
            Manners::HangsUpAtOnce => return,
            Manners::HangsUpAfterBytes(bytes) => {
                let mut some = vec![0; bytes];
                if self.stream.read_exact(&mut some).is_ok() {
                    let (memory, changed) = shared;
                    memory.lock().unwrap().cut_short += 1;
                    changed.notify_all();
                }
                return;
            }
        }
        while let Some(text) = self.message() {
            let Some(act) = self.note(text, shared) else { return };
            if !self.act(act) {
                return;
            }
        }
    }

    fn message(&mut self) -> Option<String> {
        loop {
            if let Some(payload) = self.framing.take(&mut self.received) {
                return Some(String::from_utf8(payload).expect("what the daemon writes is ASCII"));
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.received.extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// Remembers the message, and asks the script what to do about it.
    fn note(&mut self, text: String, shared: &(Mutex<Memory>, Condvar)) -> Option<Act> {
        let (memory, changed) = shared;
        let mut memory = memory.lock().unwrap();
        if text.is_empty() || !text.is_ascii() {
            memory.wrongs.push(format!("{text:?} was sent"));
        }
        if !self.received.is_empty() {
            memory.wrongs.push(format!("more was sent before {text} was answered"));
        }
        memory.told.push(text.clone());
        changed.notify_all();
        loop {
            let manner = memory.manner;
            let act = memory.script.as_ref().map_or(Act::KeepSilent, |script| script(&text));
            if act == Act::Echo {
                return Some(Act::Say(text));
            }
            if act != Act::Wait {
                return Some(act);
            }
            while memory.manner == manner {
                memory = changed.wait(memory).unwrap();
            }
            if self.more_has_come() {
                memory.wrongs.push(format!("more was sent before {text} was answered"));
            }
            if memory.gone {
                return None;
            }
        }
    }

    fn more_has_come(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let come = self.stream.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
        self.stream.set_nonblocking(false).unwrap();
        come
    }

    /// Whether the connection goes on.
    fn act(&mut self, act: Act) -> bool {
        match act {
            Act::Say(text) => self.say(&text),
            Act::Echo => unreachable!("`note` has made a text of it"),
            Act::SayByteByByte(text) => self
                .framing
                .frame(text.as_bytes())
                .iter()
                .all(|byte| self.stream.write_all(&[*byte]).is_ok()),
            Act::Write(bytes) => self.stream.write_all(&bytes).is_ok(),
            Act::KeepSilent => true,
            Act::Wait | Act::HangUp => false,
            Act::SayAndHangUp(text) => {
                self.say(&text);
                drop(self.stream.shutdown(Shutdown::Both));
                false
            }
        }
    }

    fn say(&mut self, text: &str) -> bool {
        self.stream.write_all(&self.framing.frame(text.as_bytes())).is_ok()
    }
}
