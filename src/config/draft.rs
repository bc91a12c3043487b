//! A configuration in the making: defaults, over which values are laid from one source after the
//! other, and the mistakes found on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::key::Key;
use super::keys::Keys;
use super::mistake::{Errors, Mistake, Place, Problem};
use super::tls::{CallingTls, ListeningTls};
use super::value::Value;
use super::{
    Admin, Config, FieldStyle, Gateway, Gateways, Limits, Listen, Log, LogFormat, Peer, Redis,
    Rollover, Signaling, Store, StoreUrl, StudyTimeReply, TimeZone, peers,
};
use crate::connection::frame::Framing;

/// See the module.
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) mistakes: Vec<Mistake>,
    /// What a listener is of which nothing is said.
    default_listen: Listen,
    /// Where each listener's address was last set, else where the listener was added. The default
    /// one has no place.
    listen_places: BTreeMap<usize, Place>,
    /// Where the keys were last set by which files of certificates are named.
    tls_places: BTreeMap<String, Place>,
    /// Where each entry of `[[peers]]` stands.
    peer_places: Vec<Place>,
}

impl Draft {
    /// Nothing but defaults.
    pub(super) fn of_defaults(keys: &Keys) -> Self {
        let mut config = blank();
        for key in &keys.of_config {
            read_default(key, &mut config);
        }
        let mut default_listen = Listen {
            address: String::new(),
            framing: Framing::Length4,
            tls: ListeningTls::default(),
        };
        for key in &keys.of_listener {
            read_default(key, &mut default_listen);
        }
        config.listen = vec![default_listen.clone()];
        Self {
            config,
            mistakes: Vec::new(),
            default_listen,
            listen_places: BTreeMap::new(),
            tls_places: BTreeMap::new(),
            peer_places: Vec::new(),
        }
    }

    /// Lays a value over what was there; if it can't be read, that is a mistake.
    pub(super) fn set(&mut self, key: &Key<Config>, value: &Value, place: Place) {
        self.note_tls(&key.path, &place);
        if let Err(problem) = key.form.read(&mut self.config, value) {
            self.blame(place, &key.path, problem);
        }
    }

    /// The same for a listener. The one after the last is added.
    pub(super) fn set_listener(
        &mut self,
        index: usize,
        key: &Key<Listen>,
        value: &Value,
        place: Place,
    ) {
        if index == self.config.listen.len() {
            self.config.listen.push(self.default_listen.clone());
            self.listen_places.insert(index, place.clone());
        }
        self.note_tls(&listener_path(index, &key.path), &place);
        let Some(listen) = self.config.listen.get_mut(index) else { return };
        if let Err(problem) = key.form.read(listen, value) {
            self.blame(place, &listener_path(index, &key.path), problem);
        } else if key.path == "address" {
            self.listen_places.insert(index, place);
        }
    }

    fn note_tls(&mut self, path: &str, place: &Place) {
        if path.contains(".tls.") {
            self.tls_places.insert(path.to_owned(), place.clone());
        }
    }

    /// Puts default listeners, one for each place, where others were.
    pub(super) fn replace_listeners(&mut self, places: Vec<Place>) {
        self.config.listen = vec![self.default_listen.clone(); places.len()];
        self.listen_places = places.into_iter().enumerate().collect();
    }

    /// Puts blank entries, one for each place, where there were none.
    pub(super) fn begin_peers(&mut self, places: Vec<Place>) {
        self.config.peers = vec![Peer::blank(); places.len()];
        self.peer_places = places;
    }

    /// As [`Draft::set`], for an entry of `[[peers]]`.
    pub(super) fn set_peer(&mut self, index: usize, key: &Key<Peer>, value: &Value, place: Place) {
        let Some(peer) = self.config.peers.get_mut(index) else { return };
        if let Err(problem) = key.form.read(peer, value) {
            self.blame(place, &peers::path(index, &key.path), problem);
        }
    }

    /// Keeps the first listener only.
    pub(super) fn keep_first_listener(&mut self) {
        self.config.listen.truncate(1);
        self.listen_places.retain(|index, _| *index == 0);
    }

    pub(super) fn blame(&mut self, place: Place, key: &str, problem: Problem) {
        self.mistakes.push(Mistake { place, key: Some(key.to_owned()), problem });
    }

    /// The configuration, if nothing is wrong with it, and where files of certificates were named.
    pub(super) fn finish(mut self) -> Result<(Config, BTreeMap<String, Place>), Errors> {
        self.check_addresses_differ();
        peers::check(&self.config.peers, &self.peer_places, &mut self.mistakes);
        self.mistakes.sort_by(|a, b| a.place.cmp(&b.place));
        match self.mistakes.is_empty() {
            true => Ok((self.config, self.tls_places)),
            false => Err(Errors { mistakes: self.mistakes }),
        }
    }

    /// Two listeners on one address would fail when the daemon starts; this says so earlier. What
    /// could not be read is not compared: in its stead stands the default.
    fn check_addresses_differ(&mut self) {
        if self.mistakes.iter().any(|mistake| mistake.key.is_none()) {
            return;
        }
        let mut first_with = BTreeMap::new();
        let mut twice = Vec::new();
        for (index, listen) in self.config.listen.iter().enumerate() {
            let path = listener_path(index, "address");
            let unread = self.mistakes.iter().any(|mistake| mistake.key.as_ref() == Some(&path));
            if unread || listen.address.ends_with(":0") {
                continue;
            }
            let first = *first_with.entry(&listen.address).or_insert(index);
            if let Some(place) = self.listen_places.get(&index).filter(|_| first != index) {
                let problem = Problem::Value {
                    found: format!("{:?}", listen.address),
                    why: Some(format!("the address of listen[{first}]")),
                    expected: "an address of its own for each listener".to_owned(),
                    nearest: None,
                };
                twice.push(Mistake { place: place.clone(), key: Some(path), problem });
            }
        }
        self.mistakes.extend(twice);
    }
}

/// The name of a listener's key in messages.
pub(super) fn listener_path(index: usize, name: &str) -> String {
    format!("listen[{index}].{name}")
}

#[expect(clippy::expect_used, reason = "a test reads every default of the table")]
fn read_default<T: 'static>(key: &Key<T>, target: &mut T) {
    key.form.read(target, &Value::guess(key.default)).expect("a default is allowed");
}

/// Something to lay the defaults over; that each of these values is replaced, a test proves.
fn blank() -> Config {
    let gateway = Gateway {
        address: String::new(),
        framing: Framing::Length4,
        pool_size: 0,
        connect_timeout: Duration::ZERO,
        reply_timeout: Duration::ZERO,
        max_frame_bytes: 0,
        tls: CallingTls::default(),
    };
    Config {
        open: false,
        listen: Vec::new(),
        peers: Vec::new(),
        limits: Limits {
            max_frame_bytes: 0,
            max_in_flight: 0,
            max_connections: 0,
            max_connections_per_address: usize::MAX,
            max_frames_per_second: usize::MAX,
            max_unread_reply_bytes: 0,
            max_buffer_bytes: 0,
            max_late_requests: 0,
            frame_timeout: Duration::ZERO,
            unread_timeout: Duration::ZERO,
            backlog_timeout: Duration::ZERO,
            request_timeout: Duration::ZERO,
            handshake_timeout: Duration::ZERO,
            shutdown_grace: Duration::ZERO,
            connection_threads: usize::MAX,
        },
        store: Store {
            url: StoreUrl::Memory,
            redis: Redis {
                field_style: FieldStyle::Plain,
                connect_timeout: Duration::ZERO,
                command_timeout: Duration::ZERO,
                scrub_interval: Duration::ZERO,
                scrub_keys_per_second: 0,
                tls: CallingTls::default(),
            },
        },
        gateways: Gateways {
            room: gateway.clone(),
            signaling: gateway.clone(),
            auth: gateway,
            room_retry_for: Duration::ZERO,
            room_queue_max: 0,
        },
        signaling: Signaling { study_time_reply: StudyTimeReply::StudyTime },
        rollover: Rollover {
            batch_users: 0,
            keep_online: false,
            last_timeout: Duration::ZERO,
            retry_max: Duration::ZERO,
            stamp: false,
            time_zone: TimeZone::utc(),
        },
        log: Log {
            level: String::new(),
            format: LogFormat::Auto,
            journald_socket: String::new(),
            max_unwritten_bytes: 0,
            max_repeats: 0,
        },
        admin: Admin {
            address: String::new(),
            token: None,
            closed_connections_max: 0,
            tls: ListeningTls::default(),
        },
    }
}
