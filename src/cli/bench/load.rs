//! One round of load: threads, connections, and what they bring together.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::Error;
#[cfg(feature = "grpc-bench")]
use super::grpc;
use super::messages::{Frames, Mix, Script};
use super::open::{Pacer, Schedule};
use super::peer::{Peer, lock};
use super::process::Process;
use super::tally::{Round, Tally, Times};
use crate::connection::frame::Framing;

/// How long making a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long replies are waited for after the end of a round unless told otherwise: the fleet's clients give
/// up then.
pub(super) const REPLY_MAX: Duration = Duration::from_secs(10);

/// What is put on a server.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) speech: Speech,
    pub(super) framing: Framing,
    pub(super) mix: Mix,
    pub(super) users: u64,
    pub(super) connections: usize,
    pub(super) pace: Pace,
    pub(super) warm_up: Duration,
    pub(super) duration: Duration,
    /// How long replies are waited for after its end.
    pub(super) reply_max: Duration,
    pub(super) threads: usize,
}

/// What is spoken with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// Frames.
    Frames,
    /// Unary gRPC.
    #[cfg(feature = "grpc-bench")]
    Grpc,
}

/// When the next request is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// With the reply to an earlier one: so many are in flight on each connection.
    Closed {
        /// On each connection.
        in_flight: usize,
    },
    /// When its time has come, whatever became of the earlier ones.
    Open {
        /// Requests a second, of all connections together.
        rate: f64,
    },
}

/// Who is put under load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) process: Option<Process>,
}

/// The times of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) start: Instant,
    /// From here on it counts.
    pub(super) counts_from: Instant,
    pub(super) end: Instant,
    /// From here on no reply is waited for.
    pub(super) gives_up: Instant,
}

/// What the threads of a round have in common.
struct Common<'a> {
    target: Target,
    load: &'a Load,
    frames: Arc<Frames>,
    /// Passed by every thread when its connections stand, or can't be made.
    connected: Barrier,
    /// A thread could not connect: there is no round.
    failed: AtomicBool,
    window: OnceLock<Window>,
}

impl Window {
    fn beginning(start: Instant, load: &Load) -> Self {
        let counts_from = start + load.warm_up;
        let end = counts_from + load.duration;
        Self { start, counts_from, end, gives_up: end + load.reply_max }
    }

    pub(super) fn counts(&self, moment: Instant) -> bool {
        (self.counts_from..self.end).contains(&moment)
    }
}

/// Connects, warms up, measures.
pub(super) fn round(target: Target, load: &Load) -> Result<Round, Error> {
    let frames = Frames::new(load.framing, load.mix)?;
    let threads = load.threads.clamp(1, load.connections);
    let common = Common {
        target,
        load,
        frames: Arc::new(frames),
        connected: Barrier::new(threads + 1),
        failed: AtomicBool::new(false),
        window: OnceLock::new(),
    };
    let (tallies, times) = thread::scope(|scope| {
        let common = &common;
        let drive = |thread| scope.spawn(move || drive(common, thread, threads));
        let threads: Vec<_> = (0..threads).map(drive).collect();
        let times = watch(common);
        let tallies: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        (tallies, times)
    });
    let mut tally = Tally::new();
    for part in tallies {
        tally.add(&part.unwrap_or(Err(Error::Panic))?);
    }
    let window = common.window();
    let last = tally.last().unwrap_or(window.end).max(window.end);
    Ok(Round {
        elapsed: last - window.counts_from,
        counted: load.duration,
        tally,
        times,
        resident_bytes: target.process.and_then(Process::resident_bytes),
    })
}

impl Common<'_> {
    /// Waits for the other threads; whether all of them are connected.
    fn all_connected(&self, this: bool) -> bool {
        if !this {
            self.failed.store(true, Ordering::SeqCst);
        }
        self.connected.wait();
        !self.failed.load(Ordering::SeqCst)
    }

    /// Begins with the first who asks, once all are connected.
    fn window(&self) -> Window {
        *self.window.get_or_init(|| Window::beginning(Instant::now(), self.load))
    }

    fn script(&self, connection: usize) -> Script {
        let load = self.load;
        let frames = Arc::clone(&self.frames);
        Script::new(frames, load.mix, connection, load.connections, load.users)
    }
}

/// What the server's processors did from where the round counts to its end.
#[expect(clippy::disallowed_methods, reason = "a thread that no task runs on")]
fn watch(common: &Common<'_>) -> Option<Times> {
    if !common.all_connected(true) {
        return None;
    }
    let window = common.window();
    let process = common.target.process?;
    let look = || Some([process.cpu()?, process.processors_busy()?, process.waited()?]);
    thread::sleep(window.counts_from.saturating_duration_since(Instant::now()));
    let before = look()?;
    thread::sleep(window.end.saturating_duration_since(Instant::now()));
    let after = look()?;
    let [cpu, busy, waited] = [0, 1, 2].map(|at| after[at].saturating_sub(before[at]));
    // A thread waits for others of its own process too, and others may run while none waits.
    Some(Times { cpu, lost: waited.min(busy.saturating_sub(cpu)) })
}

/// The part of one thread.
fn drive(common: &Common<'_>, thread: usize, threads: usize) -> Result<Tally, Error> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        common.all_connected(false);
        return Err(Error::Runtime);
    };
    let connections: Vec<usize> = (thread..common.load.connections).step_by(threads).collect();
    let tally = Arc::new(Mutex::new(Tally::new()));
    let talked = runtime.block_on(async {
        match common.load.speech {
            Speech::Frames => {
                let streams = connect(common.target.address, connections.len()).await;
                let all_connected = common.all_connected(streams.is_ok());
                let streams = streams?;
                // Otherwise another thread tells why not.
                if all_connected {
                    talk(common, connections.into_iter().zip(streams), &tally).await?;
                }
            }
            #[cfg(feature = "grpc-bench")]
            Speech::Grpc => {
                let channels = grpc::connect(common.target.address, connections.len()).await;
                let all_connected = common.all_connected(channels.is_ok());
                let channels = channels.map_err(io::Error::other)?;
                if all_connected {
                    call(common, connections.into_iter().zip(channels), &tally).await;
                }
            }
        }
        Ok(())
    });
    talked.map_err(|source| Error::Connect { address: common.target.address, source })?;
    let mut total = Tally::new();
    total.add(&lock(&tally));
    Ok(total)
}

/// Each connection, given by its number and its socket, is a task.
async fn talk(
    common: &Common<'_>,
    connections: impl Iterator<Item = (usize, TcpStream)>,
    tally: &Arc<Mutex<Tally>>,
) -> io::Result<()> {
    let load = common.load;
    let window = common.window();
    let tasks = TaskTracker::new();
    let peer = |stream| Peer::new(stream, load.framing, window, Arc::clone(tally));
    match load.pace {
        Pace::Closed { in_flight } => {
            for (connection, stream) in connections {
                let script = common.script(connection);
                tasks.spawn(peer(stream).ask_and_wait(script, in_flight));
            }
        }
        Pace::Open { rate } => {
            let mut pacer = Pacer::new(window, Arc::clone(tally));
            for (connection, stream) in connections {
                let schedule = Schedule::new(window, rate, connection, load.connections);
                let stream = pacer.add(stream, schedule, common.script(connection))?;
                tasks.spawn(peer(stream).listen(schedule));
            }
            tasks.spawn_blocking(move || pacer.run());
        }
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Each call in flight, of each connection, is a task.
#[cfg(feature = "grpc-bench")]
async fn call(
    common: &Common<'_>,
    connections: impl Iterator<Item = (usize, tonic::transport::Channel)>,
    tally: &Arc<Mutex<Tally>>,
) {
    let window = common.window();
    let in_flight = match common.load.pace {
        Pace::Closed { in_flight } => in_flight,
        // The command refuses it.
        Pace::Open { .. } => 1,
    };
    let tasks = TaskTracker::new();
    for (connection, channel) in connections {
        let script = Arc::new(Mutex::new(common.script(connection)));
        for _ in 0..in_flight {
            let (channel, script, tally) =
                (channel.clone(), Arc::clone(&script), Arc::clone(tally));
            tasks.spawn(grpc::call_and_wait(channel, window, script, tally));
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn connect(address: SocketAddr, connections: usize) -> io::Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = timeout(CONNECT_MAX, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    Ok(streams)
}
