//! Redis as a single server, under Sentinel, and as a cluster.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use redis::{FromRedisValue, Value};
use stated::config::{FieldStyle, Redis, Secret, Store, StoreUrl};
use tempfile::TempDir;

use super::eventually;

/// The configuration of a store at `url`, with the defaults of the daemon.
pub(crate) fn store_at(url: StoreUrl) -> Store {
    let redis = Redis {
        field_style: FieldStyle::Plain,
        connect_timeout: std::time::Duration::from_secs(1),
        command_timeout: std::time::Duration::from_secs(2),
        scrub_interval: std::time::Duration::from_secs(3600),
        scrub_keys_per_second: 2000,
        tls: stated::config::tls::CallingTls::default(),
    };
    Store { url, redis }
}

/// One `redis-server`, with a folder for its data.
pub(crate) struct RedisServer {
    pub(crate) port: u16,
    folder: TempDir,
    options: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// A server that writes everything to disk at once.
    pub(crate) async fn start() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// A server that starts empty every time.
    pub(crate) async fn start_forgetful() -> Self {
        Self::start_with(&[]).await
    }

    /// A cluster of its own.
    pub(crate) async fn start_with_slots() -> Self {
        let bus = free_port().to_string();
        let server = Self::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
        server.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
        server
    }

    /// A server that also speaks TLS on the port given back, with a certificate that nobody knows.
    pub(crate) async fn start_with_tls() -> (Self, u16) {
        let (mut server, port) = (Self::start().await, free_port());
        let path = |name| server.folder.path().join(name).to_str().unwrap().to_owned();
        let (key, certificate) = (path("key.pem"), path("certificate.pem"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        let port_text = port.to_string();
        let options = [
            ["--tls-port", &port_text],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
        ];
        server.options.extend(options.concat().into_iter().map(str::to_owned));
        server.options.extend(["--tls-auth-clients", "no"].map(str::to_owned));
        server.stop();
        server.start_again().await;
        (server, port)
    }

    async fn start_with(options: &[&str]) -> Self {
        let mut server = Self {
            port: free_port(),
            folder: TempDir::new().unwrap(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            process: None,
        };
        server.start_again().await;
        server
    }

    /// Starts the process, with the data it had, and waits for it.
    pub(crate) async fn start_again(&mut self) {
        self.begin_again();
        let this = &*self;
        eventually("redis-server answers", || async move {
            this.try_ask::<String>(&["PING"]).await.ok()
        })
        .await;
    }

    /// Starts the process, with the data it had.
    pub(crate) fn begin_again(&mut self) {
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port", &self.port.to_string()])
            .args(["--dir", self.folder.path().to_str().unwrap()])
            .args(["--enable-debug-command", "yes"])
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.process = Some(process);
    }

    /// As [`Self::begin_again`], with a pause after each command that it finds in its file.
    pub(crate) fn begin_again_slowly(&mut self) {
        self.options.extend(["--key-load-delay", "100"].map(str::to_owned));
        self.begin_again();
    }

    /// So many keys that are nobody's, which take time to load.
    pub(crate) async fn fill(&self, keys: u32) {
        let set = "for i = ARGV[1], ARGV[1] + 999 do redis.call('SET', 'filling:' .. i, i) end";
        for first in (0..keys).step_by(1000) {
            self.ask::<()>(&["EVAL", set, "0", &first.to_string()]).await;
        }
    }

    /// Kills the process; what it acknowledged is on disk.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Whether it was not stopped.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The process hangs: its connections stay open, and nothing answers.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// It goes on where it hung.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub(crate) fn url(&self) -> Secret {
        Secret::new(format!("redis://127.0.0.1:{}/", self.port))
    }

    /// The configuration of a store on this server alone.
    pub(crate) fn store(&self) -> Store {
        store_at(StoreUrl::Redis(self.url()))
    }

    /// Waits until a replica has everything.
    pub(crate) async fn replicated(&self) {
        eventually("a replica has everything", || async {
            let info: String = self.try_ask(&["INFO", "replication"]).await.ok()?;
            let offset = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:"))?;
            let replica = info.lines().find(|line| line.starts_with("slave0:"))?;
            replica.contains(&format!("offset={offset},")).then_some(())
        })
        .await;
    }

    /// Asks the server as another program would.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_ask(command).await.unwrap()
    }

    async fn try_ask<T: FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url().expose())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Three masters, each with a replica if asked for.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub(crate) async fn start(replicas: u8) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 * (1 + usize::from(replicas)) {
            let bus = free_port().to_string();
            let options = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "1000",
            ];
            nodes.push(RedisServer::start_with(&options).await);
        }
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"])
            .stdout(Stdio::null())
            .status()
            .expect("redis-cli is installed");
        assert!(created.success());
        let cluster = Self { nodes };
        cluster.settled().await;
        cluster
    }

    /// Waits until every node knows that every slot is served.
    pub(crate) async fn settled(&self) {
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            eventually("the cluster is complete", || async move {
                let state: String = node.try_ask(&["CLUSTER", "INFO"]).await.ok()?;
                let role: String = node.try_ask(&["INFO", "replication"]).await.ok()?;
                let is_ready = role.contains("role:master") || role.contains("link_status:up");
                (state.contains("cluster_state:ok") && is_ready).then_some(())
            })
            .await;
        }
    }

    pub(crate) fn store(&self) -> Store {
        store_at(StoreUrl::RedisCluster(self.nodes.iter().map(RedisServer::url).collect()))
    }

    /// Forgets everything.
    pub(crate) async fn clear(&self) {
        for node in &self.nodes {
            drop(node.try_ask::<Value>(&["FLUSHALL"]).await);
        }
    }

    /// The master that has the key.
    pub(crate) async fn master_of(&self, key: &str) -> &RedisServer {
        for node in &self.nodes {
            if node.try_ask::<Value>(&["EXISTS", key]).await.is_ok() {
                return node;
            }
        }
        panic!("nobody has {key}");
    }
}

/// A slot on the move to another master.
pub(crate) struct SlotMove {
    slot: String,
    to: String,
}

impl RedisCluster {
    /// Moves the key, with its slot on the move from then on.
    pub(crate) async fn begin_move(&self, key: &str, to: &RedisServer) -> SlotMove {
        let from = self.master_of(key).await;
        let slot: i64 = from.ask(&["CLUSTER", "KEYSLOT", key]).await;
        let slot = slot.to_string();
        let from_id: String = from.ask(&["CLUSTER", "MYID"]).await;
        let to_id: String = to.ask(&["CLUSTER", "MYID"]).await;
        to.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
        from.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
        let port = to.port.to_string();
        from.ask::<()>(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await;
        SlotMove { slot, to: to_id }
    }

    /// Moves what there still is of the slot.
    pub(crate) async fn move_keys(&self, moving: &SlotMove, from: &RedisServer, to: &RedisServer) {
        let port = to.port.to_string();
        loop {
            let find = ["CLUSTER", "GETKEYSINSLOT", &moving.slot, "5"];
            let keys: Vec<String> = from.ask(&find).await;
            if keys.is_empty() {
                return;
            }
            let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            migrate.extend(keys.iter().map(String::as_str));
            // A key may have gone meanwhile.
            from.ask::<String>(&migrate).await;
        }
    }

    /// The slot has moved: its new owner is told first.
    pub(crate) async fn end_move(&self, moving: SlotMove) {
        let settle = ["CLUSTER", "SETSLOT", &moving.slot, "NODE", &moving.to];
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        for at in 0..nodes.len() {
            if nodes[at].ask::<String>(&["CLUSTER", "MYID"]).await == moving.to {
                nodes.swap(0, at);
            }
        }
        for node in nodes {
            node.ask::<()>(&settle).await;
        }
    }
}

/// A master, a replica, and three sentinels.
pub(crate) struct RedisSentinel {
    pub(crate) master: RedisServer,
    pub(crate) replica: RedisServer,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    port: u16,
    _folder: TempDir,
    process: Child,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl RedisSentinel {
    pub(crate) async fn start() -> Self {
        let master = RedisServer::start().await;
        let of = master.port.to_string();
        let options = ["--replicaof", "127.0.0.1", &of, "--repl-diskless-sync-delay", "0"];
        let replica = RedisServer::start_with(&options).await;
        let sentinels: Vec<_> = (0..3).map(|_| Sentinel::start(master.port)).collect();
        let these = Self { master, replica, sentinels };
        these.settled().await;
        these
    }

    /// Waits until the sentinels know each other and the replica is up to date.
    async fn settled(&self) {
        for sentinel in &self.sentinels {
            let url = format!("redis://127.0.0.1:{}/", sentinel.port);
            eventually("the sentinels know everybody", || async {
                let client = redis::Client::open(url.as_str()).ok()?;
                let mut connection = client.get_multiplexed_async_connection().await.ok()?;
                let state: std::collections::HashMap<String, String> = redis::cmd("SENTINEL")
                    .arg(&["MASTER", "the-master"])
                    .query_async(&mut connection)
                    .await
                    .ok()?;
                (state["num-other-sentinels"] == "2" && state["num-slaves"] == "1").then_some(())
            })
            .await;
        }
        eventually("the replica follows", || async {
            let info: String = self.replica.try_ask(&["INFO", "replication"]).await.ok()?;
            info.contains("master_link_status:up").then_some(())
        })
        .await;
    }

    pub(crate) fn store(&self) -> Store {
        store_at(StoreUrl::RedisSentinel {
            sentinels: self
                .sentinels
                .iter()
                .map(|sentinel| Secret::new(format!("redis://127.0.0.1:{}/", sentinel.port)))
                .collect(),
            master: "the-master".to_owned(),
            node: Secret::new("redis://placeholder:6379/0"),
        })
    }
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let (port, folder) = (free_port(), TempDir::new().unwrap());
        let file = folder.path().join("sentinel.conf");
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", folder.path().display()),
            format!("sentinel monitor the-master 127.0.0.1 {master} 2"),
            "sentinel down-after-milliseconds the-master 500".to_owned(),
            "sentinel failover-timeout the-master 5000".to_owned(),
        ];
        std::fs::write(&file, lines.join("\n")).unwrap();
        let process = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        Self { port, _folder: folder, process }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
