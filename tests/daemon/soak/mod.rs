//! A long run of mixed load under one fault after another: what the daemon has in memory, in
//! descriptors, threads and tasks when all is well again is the same at the end as at the beginning.
//!
//! Here for seconds; `scripts/soak` runs it for as long as it is told.

mod load;
mod samples;

use std::net::Shutdown;
use std::time::{Duration, Instant};

use self::load::{CLIENTS, Load};
use self::samples::Samples;
use crate::admin::{metrics, sample};
use crate::fleet::Fleet;
use crate::harness::{Daemon, Setup, rest, wait_until};
use crate::http::{get, observed, request};
use crate::place::{Place, wait_for};
use crate::played::{Act, Manners};
use crate::requests::{last, listing};
use crate::servers::redis::RedisServer;
use crate::wire::Framing;

/// Minutes that a run takes; a few rounds if there is no such variable.
const MINUTES: &str = "SOAK_MINUTES";
/// Rounds of a run without that, with the one that warms up.
const ROUNDS_FEW: usize = 4;
/// What an operator looks at all the time.
const LOOKED_AT: [&str; 7] = [
    "/metrics",
    "/readyz",
    "/api/v1/status",
    "/api/v1/connections?limit=5",
    "/api/v1/rooms",
    "/api/v1/night/history",
    "/api/v1/users/c1-u1",
];

/// How long a run lasts, and each of its faults.
#[derive(Debug, Clone, Copy)]
struct Length {
    /// At this time no more round begins; `None` for a few rounds.
    until: Option<Instant>,
    beat: Duration,
}

impl Length {
    fn chosen() -> Self {
        match std::env::var(MINUTES) {
            Ok(minutes) => {
                let minutes: u64 = minutes.parse().expect("SOAK_MINUTES is a whole number");
                let until = Some(Instant::now() + Duration::from_secs(60 * minutes));
                Self { until, beat: Duration::from_millis(1_500) }
            }
            Err(_) => Self { until: None, beat: Duration::from_millis(200) },
        }
    }

    fn is_over(self, rounds: usize) -> bool {
        match self.until {
            Some(until) => Instant::now() >= until,
            None => rounds >= ROUNDS_FEW,
        }
    }
}

/// A daemon, all around it that may fail, and those who ask it.
struct Scene {
    daemon: Daemon,
    setup: Setup,
    fleet: Fleet,
    redis: Option<RedisServer>,
    load: Load,
    beat: Duration,
    /// Which of two configurations is in force.
    is_changed: bool,
}

/// One after the other, each for a beat.
const FAULTS: [fn(&mut Scene); 9] = [
    Scene::configuration_changes,
    Scene::configuration_is_wrong,
    Scene::peers_are_cut_off,
    Scene::peers_send_garbage,
    Scene::called_peers_hang_up,
    Scene::called_peers_keep_silent,
    Scene::redis_hangs,
    Scene::redis_starts_again,
    Scene::a_night_falls,
];

impl Scene {
    fn new(place: Place, redis: Option<RedisServer>, beat: Duration) -> Self {
        let fleet = Fleet::new();
        let mut setup = observed(Setup::with(&fleet))
            .keeps(&place)
            .listens(&[Framing::Length4, Framing::Crlf])
            .key("admin.closed_connections_max", "100")
            .key("rollover.retry_max", "\"500ms\"")
            .key("store.redis.scrub_interval", "\"30s\"");
        for peer in ["room", "signaling", "auth"] {
            setup = setup
                .key(&format!("gateways.{peer}.pool_size"), "4")
                .key(&format!("gateways.{peer}.reply_timeout"), "\"500ms\"");
        }
        let daemon = setup.start();
        let load = Load::begin(&daemon);
        Self { daemon, setup, fleet, redis, load, beat, is_changed: false }
    }

    fn round(&mut self) {
        for fault in FAULTS {
            fault(self);
            rest(self.beat / 2);
            for path in LOOKED_AT {
                let status = request("GET", path).ask(&self.daemon).status;
                assert!([200, 404, 503].contains(&status), "{path}: {status}");
            }
        }
    }

    fn configuration_changes(&mut self) {
        self.is_changed = !self.is_changed;
        let users = if self.is_changed { "7" } else { "25" };
        self.setup = self.setup.clone().key("rollover.batch_users", users);
        self.daemon.reload(&self.setup);
    }

    fn configuration_is_wrong(&mut self) {
        let refused = "reload refused, nothing is changed: ";
        self.daemon.reload_text("limits.max_in_flight = 0\nlimits.max_frame_bytes = 1\n", refused);
    }

    /// In the middle of a frame, and with an answer on its way.
    fn peers_are_cut_off(&mut self) {
        for _ in 0..20 {
            let mut peer = self.daemon.connect();
            peer.send(listing(&[("cut-off", "00:00:01")]));
            peer.send_bytes(&[0, 0]);
            let socket = socket2::SockRef::from(peer.stream());
            // Closed with a reset.
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
        rest(self.beat);
    }

    fn peers_send_garbage(&mut self) {
        for framing in [Framing::Length4, Framing::Crlf] {
            for _ in 0..10 {
                let mut peer = self.daemon.connect_in(framing);
                let garbage: Vec<u8> = (0..2_000).map(|_| fastrand::u8(..)).collect();
                // The daemon may have closed already.
                drop(peer.try_send_bytes(&garbage));
                drop(peer.stream().shutdown(Shutdown::Write));
                while peer.try_reply().is_ok() {}
            }
        }
    }

    fn called_peers_hang_up(&mut self) {
        self.fleet.room.have(Manners::HangsUpAtOnce);
        self.fleet.signaling.behave(Act::HangUp);
        rest(self.beat);
        self.fleet.room.have(Manners::Reads);
        self.fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    }

    fn called_peers_keep_silent(&mut self) {
        self.fleet.room.behave(Act::KeepSilent);
        self.fleet.signaling.behave(Act::KeepSilent);
        rest(self.beat);
        self.fleet.room.behave(Act::Say("SUCCESS".to_owned()));
        self.fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    }

    fn redis_hangs(&mut self) {
        let Some(redis) = &self.redis else { return };
        redis.pause();
        rest(self.beat);
        redis.resume();
    }

    fn redis_starts_again(&mut self) {
        let Some(redis) = &mut self.redis else { return };
        redis.stop();
        rest(self.beat);
        wait_for(redis.start_again());
    }

    /// While auth has other things to do.
    fn a_night_falls(&mut self) {
        self.fleet.auth.behave(Act::HangUp);
        let mut peer = self.daemon.connect();
        let frame = listing(&[("c1-u1", "00:10:00"), ("c2-u2", "00:20:00")]);
        wait_until("a night may fall", || {
            let replies = [peer.ask(&frame), peer.ask(last(&[]))];
            replies.iter().all(|reply| !reply.contains("\"error\""))
        });
        rest(self.beat);
        self.fleet.auth.behave(Act::Say("SUCCESS".to_owned()));
    }

    /// Waits, with nobody asking anything, until nothing of a fault is left.
    fn all_is_well(&self) {
        wait_until("only those who ask are connected", || {
            sample(&metrics(&self.daemon), "stated_connections") <= Some(CLIENTS as f64)
        });
        wait_until("no night is under way", || {
            let night = request("GET", "/api/v1/night").ask(&self.daemon);
            night.status == 200 && night.json()["undelivered"] == serde_json::json!([])
        });
        wait_until("it is ready", || request("GET", "/readyz").ask(&self.daemon).status == 200);
        get(&self.daemon, "/api/v1/status");
    }
}

fn soak(place: Place, redis: Option<RedisServer>, store: &str) {
    let length = Length::chosen();
    let mut scene = Scene::new(place, redis, length.beat);
    let mut samples = Samples::of(store, &scene.daemon);
    while !length.is_over(samples.len()) {
        scene.round();
        let _nobody_asks = scene.load.pause();
        scene.all_is_well();
        samples.take(&scene.daemon, scene.load.figures());
    }
    let Scene { daemon, load, .. } = scene;
    let figures = load.end();
    println!("{}", samples.table());
    assert_eq!(figures.unanswered, 0, "requests without an answer: {figures:?}");
    assert!(figures.answered > 0);
    samples.assert_flat();
    daemon.stop();
}

#[test]
fn memory_descriptors_and_tasks_stay_flat_on_the_embedded_store() {
    soak(Place::embedded(), None, "embedded");
}

#[test]
fn memory_descriptors_and_tasks_stay_flat_on_a_redis_that_fails() {
    let redis = wait_for(RedisServer::start());
    soak(Place::at(redis.url().expose()), Some(redis), "redis");
}
