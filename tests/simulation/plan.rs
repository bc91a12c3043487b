//! What a seed decides before anything begins: the configuration and the faults.

use std::time::Duration;

use fastrand::Rng;
use stated::config::tls::ListeningTls;
use stated::config::{Config, Listen, StoreUrl};
use stated::connection::frame::Framing;

/// What a set of seeds is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Theme {
    /// The network fails, and peers have moods.
    Network,
    /// The network holds; peers that are called do whatever they like.
    Peers,
    /// As all of it, and the daemon dies and forgets.
    Deaths,
}

impl Theme {
    pub(crate) fn test(self) -> &'static str {
        match self {
            Self::Network => "whatever_the_network_does_every_promise_is_kept",
            Self::Peers => "whatever_peers_answer_every_promise_is_kept",
            Self::Deaths => "a_daemon_that_dies_leaves_no_wrong_answer_and_tells_nothing_twice",
        }
    }
}

/// From then on nothing fails any more.
pub(crate) const CALM_AT: Duration = Duration::from_secs(6);
/// Longer than anybody waits for anything that began before the calm.
pub(crate) const SETTLED_AT: Duration = Duration::from_secs(12);
/// A simulation that is not over by then never will be.
pub(crate) const END_AT: Duration = Duration::from_secs(60);
/// Steps of the simulated clock; what hosts do within one is not ordered.
pub(crate) const TICK: Duration = Duration::from_millis(10);

pub(crate) const DAEMON: &str = "daemon";
pub(crate) const CALLERS: [&str; 2] = ["callers-1", "callers-2"];
pub(crate) const PEERS: [&str; 3] = ["room", "signaling", "auth"];
pub(crate) const PROBER: &str = "prober";

/// Where the daemon listens, and how it is spoken to there.
pub(crate) const LISTENERS: [(u16, Framing); 3] =
    [(8099, Framing::Length4), (8098, Framing::Crlf), (8097, Framing::Lf)];

/// The port of every peer.
pub(crate) const PEER_PORT: u16 = 7000;

/// A fault, from a moment on and for a while.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing gets through between the daemon and this host, and what is sent is lost.
    Partition(&'static str),
    /// Nothing gets from this host to the daemon.
    Deaf(&'static str),
    /// Nothing gets from the daemon to this host.
    Mute(&'static str),
    /// What is sent either way arrives when this is over.
    Hold(&'static str),
    /// Everything takes longer.
    Slow(&'static str),
    /// The host dies, and is started again.
    Crash(&'static str),
}

impl Kind {
    /// The host at the other end of the daemon's link, if the fault is about one.
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::Partition(host)
            | Self::Deaf(host)
            | Self::Mute(host)
            | Self::Hold(host)
            | Self::Slow(host)
            | Self::Crash(host) => host,
        }
    }
}

/// Everything that is decided beforehand.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) theme: Theme,
    pub(crate) config: Config,
    pub(crate) faults: Vec<Fault>,
    pub(crate) latency_max: Duration,
    /// Of 100 messages that a peer hears, how many it does not just answer.
    pub(crate) moods: u32,
    pub(crate) callers: usize,
}

impl Plan {
    pub(crate) fn of(theme: Theme, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5eed);
        let moods = match theme {
            Theme::Peers => rng.u32(10..60),
            Theme::Network | Theme::Deaths => rng.u32(0..20),
        };
        Self {
            theme,
            config: config(&mut rng),
            faults: faults(theme, &mut rng),
            latency_max: Duration::from_millis(rng.u64(1..60)),
            moods,
            callers: rng.usize(2..5),
        }
    }
}

fn config(rng: &mut Rng) -> Config {
    let listener = |(port, framing)| {
        let (address, tls) = (format!("0.0.0.0:{port}"), ListeningTls::default());
        Listen { address, framing, tls }
    };
    let listen = LISTENERS.map(listener).to_vec();
    let mut config = Config { listen, ..Config::default() };
    config.store.url = StoreUrl::Memory;
    config.admin.address = String::new();
    config.limits.request_timeout = Duration::from_secs(2);
    config.limits.shutdown_grace = Duration::from_secs(3);
    config.limits.max_in_flight = rng.choice([2, 8, 64]).unwrap();
    config.rollover.batch_users = rng.usize(1..4);
    config.rollover.retry_max = Duration::from_secs(1);
    config.rollover.stamp = rng.bool();
    config.rollover.keep_online = rng.bool();
    config.gateways.room_retry_for = Duration::from_secs(3);
    let pool_size = rng.usize(1..4);
    let framing = rng.choice([Framing::Length4, Framing::Crlf]).unwrap();
    let gateways = &mut config.gateways;
    let named =
        PEERS.into_iter().zip([&mut gateways.room, &mut gateways.signaling, &mut gateways.auth]);
    for (peer, gateway) in named {
        gateway.address = format!("{peer}:{PEER_PORT}");
        gateway.framing = framing;
        gateway.pool_size = pool_size;
        gateway.connect_timeout = Duration::from_millis(500);
        gateway.reply_timeout = Duration::from_secs(1);
    }
    config
}

fn faults(theme: Theme, rng: &mut Rng) -> Vec<Fault> {
    let mut faults = Vec::new();
    let count = match theme {
        Theme::Network => rng.usize(1..7),
        Theme::Peers => 0,
        Theme::Deaths => rng.usize(0..4),
    };
    for _ in 0..count {
        let host = rng.choice([CALLERS.as_slice(), &PEERS].concat()).unwrap();
        let kind = match rng.u32(..6) {
            0 => Kind::Partition(host),
            1 => Kind::Deaf(host),
            2 => Kind::Mute(host),
            3 => Kind::Slow(host),
            4 if PEERS.contains(&host) => Kind::Crash(host),
            _ => Kind::Hold(host),
        };
        faults.push(window(kind, rng));
    }
    if theme == Theme::Deaths {
        faults.push(window(Kind::Crash(DAEMON), rng));
    }
    // Two faults of one host at once would end with the first of them.
    faults.sort_by_key(|fault| fault.from);
    let mut kept: Vec<Fault> = Vec::new();
    for fault in faults {
        let meets =
            |other: &Fault| other.kind.host() == fault.kind.host() && other.until >= fault.from;
        if !kept.iter().any(meets) {
            kept.push(fault);
        }
    }
    kept
}

fn window(kind: Kind, rng: &mut Rng) -> Fault {
    let from = Duration::from_millis(rng.u64(200..4500));
    Fault { from, until: from + Duration::from_millis(rng.u64(50..1400)), kind }
}
