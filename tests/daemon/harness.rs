//! Starts the real daemon, learns from its log where it listens, and asserts at its end that
//! nothing is left over.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::fleet::Fleet;
use crate::log::Log;
use crate::place::Place;
use crate::played::Played;
use crate::wire::{Client, Framing};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_stated");
/// How long anything may take that is waited for. Nothing is asserted to be fast; this only keeps
/// a failing test from hanging. A daemon that is killed over a delivery from Redis leaves a lock of
/// 30 s behind.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(120);
/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits for a condition; fails the test if it never holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        rest(LOOK_EVERY);
    }
}

/// Long enough for what should not happen to happen on an idle machine. A test that ends with it
/// can miss a mistake, but never sees one that is not there.
pub(crate) fn moment() {
    rest(Duration::from_millis(150));
}

#[expect(clippy::disallowed_methods, reason = "no runtime here whose worker it could block")]
pub(crate) fn rest(duration: Duration) {
    thread::sleep(duration);
}

/// How long a daemon lives that is killed at random, in this round: up to so long, by the seed in
/// `KILL_SEED`.
pub(crate) fn rest_of_life(round: usize, most: Duration) -> Duration {
    let seed: u64 = std::env::var("KILL_SEED").map_or(1, |text| text.parse().expect("a number"));
    let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003) + round as u64);
    most.mul_f64(random.f64())
}

/// A configuration in the making.
#[derive(Clone)]
pub(crate) struct Setup {
    keys: BTreeMap<String, String>,
    listen: Vec<Framing>,
    listener_tls: String,
    tables: String,
    place: Place,
    file_blocks_max: Option<u32>,
    crash_at: Option<String>,
    inside: Option<u32>,
    descriptors: Option<[u32; 2]>,
    at: SocketAddr,
}

impl Setup {
    /// One `length4` listener, a memory store, and nobody there to be called.
    pub(crate) fn new() -> Self {
        let keys = BTreeMap::from([("log.format".to_owned(), "\"json\"".to_owned())]);
        let nobody = "\"127.0.0.1:1\"";
        let (listen, tables, place) = (vec![Framing::Length4], String::new(), Place::memory());
        let (file_blocks_max, crash_at, inside, descriptors) = (None, None, None, None);
        let listener_tls = String::new();
        Self {
            keys,
            listen,
            listener_tls,
            tables,
            place,
            file_blocks_max,
            crash_at,
            inside,
            descriptors,
            at: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
        .key("gateways.room.address", nobody)
        .key("gateways.signaling.address", nobody)
        .key("gateways.auth.address", nobody)
        .key("admin.address", "\"\"")
    }

    /// As [`Setup::new`], with the fleet to be called.
    pub(crate) fn with(fleet: &Fleet) -> Self {
        Self::new()
            .calls("room", &fleet.room)
            .calls("signaling", &fleet.signaling)
            .calls("auth", &fleet.auth)
    }

    pub(crate) fn calls(self, peer: &str, played: &Played) -> Self {
        self.key(&format!("gateways.{peer}.address"), &format!("\"{}\"", played.address))
    }

    /// A key and its value as TOML has it.
    pub(crate) fn key(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Tables at the end of the file, as TOML has them.
    pub(crate) fn tables(mut self, toml: &str) -> Self {
        self.tables = toml.to_owned();
        self
    }

    /// Every listener presents and demands this, as TOML has it.
    pub(crate) fn over_tls(mut self, keys: &str) -> Self {
        self.listener_tls = format!("tls = {{ {keys} }}\n");
        self
    }

    /// Listens once in each of these framings.
    pub(crate) fn listens(mut self, framings: &[Framing]) -> Self {
        self.listen = framings.to_vec();
        self
    }

    pub(crate) fn keeps(mut self, place: &Place) -> Self {
        self.place = place.clone();
        self
    }

    /// No file of the daemon can grow beyond this many blocks of 512 bytes, as on a full disk.
    pub(crate) fn file_blocks_max(mut self, blocks: u32) -> Self {
        self.file_blocks_max = Some(blocks);
        self
    }

    /// The daemon dies at this point; see `stated::crash`.
    pub(crate) fn dies_at(mut self, point: &str) -> Self {
        self.crash_at = Some(point.to_owned());
        self
    }

    /// The daemon sees the file systems that this process sees.
    pub(crate) fn inside(mut self, process: u32) -> Self {
        self.inside = Some(process);
        self
    }

    /// The soft and the hard limit of file descriptors with which the daemon is started.
    pub(crate) fn descriptors(mut self, soft: u32, hard: u32) -> Self {
        self.descriptors = Some([soft, hard]);
        self
    }

    /// Every daemon of this setup listens at one address, where nobody else does: each is known as the
    /// successor of the one before.
    pub(crate) fn always_at_one_address(mut self) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let own = NEXT.fetch_add(1, Ordering::Relaxed);
        self.at = SocketAddr::from(([127, own, high, low], 8099));
        self
    }

    pub(crate) fn toml(&self) -> String {
        let mut toml = format!("store.url = \"{}\"\n", self.place.url);
        for (key, value) in &self.keys {
            writeln!(toml, "{key} = {value}").unwrap();
        }
        for framing in &self.listen {
            let (at, framing, tls) = (self.at, framing.name(), &self.listener_tls);
            writeln!(toml, "[[listen]]\naddress = \"{at}\"\nframing = \"{framing}\"\n{tls}")
                .unwrap();
        }
        toml + &self.tables
    }

    pub(crate) fn start(&self) -> Daemon {
        Daemon::start(self)
    }

    /// A daemon that may die before it is ready: the status with which it ended, then.
    pub(crate) fn start_mortal(&self) -> Result<Daemon, ExitStatus> {
        let dir = tempfile::tempdir().unwrap();
        let mut started = serve(&dir, self);
        let daemon = Daemon::watch(dir, &mut started, &self.listen);
        match daemon.addresses.len() == self.listen.len() {
            true => Ok(daemon),
            false => Err(daemon.ended().0),
        }
    }
}

/// A daemon under test. Dropped, it is stopped as [`Daemon::stop`] does it.
pub(crate) struct Daemon {
    /// In the order of the listeners.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) log: Log,
    framings: Vec<Framing>,
    child: Child,
    reader: Option<thread::JoinHandle<()>>,
    over: bool,
    dir: TempDir,
}

impl Daemon {
    fn start(setup: &Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let started = serve(&dir, setup);
        Self::adopt(dir, started, &setup.listen)
    }

    /// A daemon that `started` starts, which listens in these framings.
    pub(crate) fn adopt(dir: TempDir, mut started: Command, framings: &[Framing]) -> Self {
        let daemon = Self::watch(dir, &mut started, framings);
        let listens = daemon.addresses.len() == framings.len();
        assert!(listens, "it did not start:\n{}", daemon.log.tail());
        daemon
    }

    /// Waits until the daemon is ready, or has ended.
    fn watch(dir: TempDir, started: &mut Command, framings: &[Framing]) -> Self {
        let (mut child, log, reader) = spawn(started);
        let ready = || log.has("\"message\":\"ready\"") || child.try_wait().unwrap().is_some();
        wait_until("the daemon is ready", ready);
        let addresses = match log.has("\"message\":\"ready\"") {
            true => log.addresses(),
            false => Vec::new(),
        };
        let framings = framings.to_vec();
        Self { addresses, log, framings, child, reader: Some(reader), over: false, dir }
    }

    /// A peer at the first listener.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addresses[0], self.framings[0])
    }

    /// A peer at the listener with this framing.
    pub(crate) fn connect_in(&self, framing: Framing) -> Client {
        let at = self.framings.iter().position(|other| *other == framing).unwrap();
        Client::connect(self.addresses[at], framing)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes this setup as its configuration.
    pub(crate) fn write(&self, setup: &Setup) {
        write_config(self.dir.path(), &setup.toml());
    }

    /// Puts a pipe that nobody writes into in the place of its configuration.
    pub(crate) fn replace_config_by_a_pipe(&self) {
        let file = self.dir.path().join("stated.toml");
        std::fs::remove_file(&file).unwrap();
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
    }

    /// Writes this setup as its configuration and has it read; waits until it is in force.
    pub(crate) fn reload(&self, setup: &Setup) {
        self.reload_text(&setup.toml(), "\"message\":\"reloaded\"");
    }

    /// Writes this as its configuration and has it read; waits for the log to say this once more.
    pub(crate) fn reload_text(&self, toml: &str, expected: &str) {
        let before = self.log.count(expected);
        write_config(self.dir.path(), toml);
        self.signal("-HUP");
        wait_until("the configuration is read again", || self.log.count(expected) > before);
    }

    /// Memory the process has in use, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        resident_kib(&format!("/proc/{}/status", self.id()))
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Whether it runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.end();
        self.assert_no_panic();
    }

    /// Stops it as an operator would. It ends by itself, with success, having cut nothing off.
    pub(crate) fn stop(mut self) {
        self.stop_with_success();
        self.assert_nothing_cut_off();
    }

    /// Stops it while it owes something that it can't be rid of. It ends by itself, with success.
    pub(crate) fn stop_in_debt(mut self) {
        self.stop_with_success();
    }

    fn stop_with_success(&mut self) {
        self.signal("-TERM");
        let status = self.wait_for_exit();
        self.end();
        assert!(status.success(), "it stopped with {status}:\n{}", self.log.tail());
        self.assert_no_panic();
    }

    fn assert_nothing_cut_off(&self) {
        let tail = self.log.tail();
        assert!(!self.log.has("grace period is over"), "something was left over:\n{tail}");
    }

    /// Waits until it ends by itself, however it ends.
    pub(crate) fn ended(mut self) -> (ExitStatus, Log) {
        let status = self.wait_for_exit();
        self.end();
        self.assert_no_panic();
        (status, self.log.clone())
    }

    fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Its log is read to the end.
    fn end(&mut self) {
        self.over = true;
        self.reader.take().map(thread::JoinHandle::join);
    }

    fn assert_no_panic(&self) {
        assert!(!self.log.has("panicked"), "it panicked:\n{}", self.log.tail());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if thread::panicking() {
            drop(self.child.kill());
            drop(self.child.wait());
            self.end();
            println!("the end of the daemon's log:\n{}", self.log.tail());
        } else {
            self.stop_with_success();
            self.assert_nothing_cut_off();
        }
    }
}

/// Of the process with this file in `/proc`.
pub(crate) fn resident_kib(status: &str) -> u64 {
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// `stated serve` with this setup, its configuration written into `dir`.
fn serve(dir: &TempDir, setup: &Setup) -> Command {
    let file = write_config(dir.path(), &setup.toml());
    let mut limits = String::new();
    if let Some(blocks) = setup.file_blocks_max {
        // Without the trap the signal would end it, where a full disk does not.
        write!(limits, "trap '' XFSZ; ulimit -f {blocks}; ").unwrap();
    }
    if let Some([soft, hard]) = setup.descriptors {
        write!(limits, "ulimit -S -n {soft}; ulimit -H -n {hard}; ").unwrap();
    }
    let mut command = match (&setup.crash_at, setup.inside) {
        (Some(point), _) => {
            let mut command = command_of(crate::crash_points::program(), dir.path());
            command.env("CRASH_AT", point);
            command
        }
        (None, None) if !limits.is_empty() => {
            let mut shell = command_of("sh", dir.path());
            shell.args(["-c", &format!("{limits}exec \"$@\""), "sh", PROGRAM]);
            shell
        }
        (None, Some(process)) => {
            let mut command = command_of("nsenter", dir.path());
            command.args([&format!("--mount=/proc/{process}/ns/mnt"), PROGRAM]);
            command
        }
        (None, None) => command(dir.path()),
    };
    command.arg("serve").arg("--config").arg(&file);
    command
}

fn spawn(command: &mut Command) -> (Child, Log, thread::JoinHandle<()>) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let log = Log::default();
    let reader = log.read(&mut child);
    (child, log, reader)
}

/// The program, run in `dir`, with nothing of our environment that it would listen to.
pub(crate) fn command(dir: &Path) -> Command {
    command_of(PROGRAM, dir)
}

/// As [`command`], of another program.
pub(crate) fn command_of(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STATED_") {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn write_config(dir: &Path, toml: &str) -> PathBuf {
    // As an editor does it: whoever reads finds the old one or the new one.
    let (file, draft) = (dir.join("stated.toml"), dir.join("stated.toml.draft"));
    std::fs::write(&draft, toml).unwrap();
    std::fs::rename(&draft, &file).unwrap();
    file
}

/// Starts a daemon that must refuse to; its exit status and log.
pub(crate) fn start_in_vain(setup: &Setup) -> (ExitStatus, Log) {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, log, reader) = spawn(&mut serve(&dir, setup));
    let mut status = None;
    wait_until("the daemon refuses to start", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    reader.join().unwrap();
    (status.unwrap(), log)
}
