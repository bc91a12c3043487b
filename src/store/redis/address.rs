//! Where a Redis server is: at a fixed address, or wherever the sentinels say the master is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, ServerError, TlsCertificates, Value,
};
use tokio::time::timeout;

use crate::config::Secret;
use crate::tls::Texts;

/// Commands of other tasks that may wait for the connection's writer.
const PIPELINE_BUFFER: usize = 1024;
/// How long one sentinel may take before the next is asked.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(500);

/// Where a server is found.
pub(super) enum Address {
    /// Always there, and the only one.
    Fixed(ConnectionInfo),
    /// One of a cluster, which says itself what it has.
    Node(ConnectionInfo),
    /// Where the sentinels say.
    Master {
        /// Who is asked, in this order.
        sentinels: Vec<ConnectionInfo>,
        /// What they know the master by.
        name: String,
        /// How to log in there; its host and port count for nothing.
        node: ConnectionInfo,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(info) | Self::Node(info) => write!(f, "{}", info.addr()),
            Self::Master { name, .. } => write!(f, "master {name}"),
        }
    }
}

/// How connections to Redis are made.
#[derive(Clone)]
pub(super) struct Terms {
    /// How long one may take.
    pub(super) timeout: Duration,
    /// Whom the servers have to be, and who we are; of no matter where they are called in the clear.
    pub(super) tls: Arc<ArcSwapOption<Texts>>,
}

/// Takes a `redis://` URL. The error says nothing of its content: there may be a password in it.
pub(super) fn parse_url(url: &Secret) -> Result<ConnectionInfo, String> {
    let info = url.expose().into_connection_info();
    // Without the first, small replies wait for the acknowledgement of earlier ones. Without the
    // second, the system would go on sending what was written to a connection that was given up, and
    // a write that nobody waits for any more could arrive after a newer one that was acknowledged.
    let settings = TcpSettings::default().set_nodelay(true).set_linger_time(Duration::ZERO);
    info.map(|info| info.set_tcp_settings(settings))
        .map_err(|error| format!("the store's URL is of no use: {}", error.category()))
}

impl Address {
    /// Connects, and answers where to. The errors hold no secret.
    pub(super) async fn connect(
        &self,
        terms: &Terms,
    ) -> Result<(MultiplexedConnection, String), String> {
        match self {
            Self::Fixed(info) => {
                let mut connection = connect_to(info, terms).await?;
                check_alive(&mut connection).await?;
                check_no_replica(&mut connection).await?;
                Ok((connection, info.addr().to_string()))
            }
            Self::Node(info) => {
                let mut connection = connect_to(info, terms).await?;
                check_alive(&mut connection).await?;
                Ok((connection, info.addr().to_string()))
            }
            Self::Master { sentinels, name, node } => {
                let addr = ask_sentinels(sentinels, name, terms).await?;
                let info = at(node.clone(), addr);
                let mut connection = connect_to(&info, terms).await?;
                check_is_master(&mut connection).await?;
                Ok((connection, info.addr().to_string()))
            }
        }
    }
}

async fn connect_to(info: &ConnectionInfo, terms: &Terms) -> Result<MultiplexedConnection, String> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(terms.timeout))
        // Every operation has its own deadline.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(PIPELINE_BUFFER);
    let client = match (is_encrypted(info), terms.tls.load_full()) {
        (true, Some(texts)) => Client::build_with_tls(info.clone(), certificates(&texts)),
        (true, None) | (false, _) => Client::open(info.clone()),
    };
    let client = client.map_err(|error| error.to_string())?;
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    connected.map_err(|error| error.to_string())
}

fn is_encrypted(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

fn certificates(texts: &Texts) -> TlsCertificates {
    let client_tls = texts.own().map(|(cert, key)| ClientTlsConfig {
        client_cert: cert.to_vec(),
        client_key: key.to_vec(),
    });
    TlsCertificates { client_tls, root_cert: texts.ca().map(<[u8]>::to_vec) }
}

/// The same at another place, over TLS if it was so before.
pub(super) fn at(info: ConnectionInfo, (host, port): (String, u16)) -> ConnectionInfo {
    if let ConnectionAddr::TcpTls { insecure, tls_params, .. } = info.addr().clone() {
        return info.set_addr(ConnectionAddr::TcpTls { host, port, insecure, tls_params });
    }
    info.set_addr(ConnectionAddr::Tcp(host, port))
}

/// A server that is loading its data lets us in and then refuses everything.
async fn check_alive(connection: &mut MultiplexedConnection) -> Result<(), String> {
    let pong = query(connection, &redis::cmd("PING")).await?;
    if let Value::ServerError(error) = pong { Err(error.to_string()) } else { Ok(()) }
}

/// A replica answers questions with what it has heard so far, and takes no changes. Who may not ask
/// for the role is let in.
async fn check_no_replica(connection: &mut MultiplexedConnection) -> Result<(), String> {
    match role_of(connection).await?.as_deref() {
        Ok("slave" | "replica") => Err("it is a replica, which takes no changes".to_owned()),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn check_is_master(connection: &mut MultiplexedConnection) -> Result<(), String> {
    match role_of(connection).await?.as_deref() {
        Ok("master") => Ok(()),
        Ok(_) => Err("the sentinels' master is none yet".to_owned()),
        Err(refused) => Err(refused.to_string()),
    }
}

/// What the server is, or why it does not say so.
async fn role_of(
    connection: &mut MultiplexedConnection,
) -> Result<Result<String, ServerError>, String> {
    let reply = query(connection, &redis::cmd("ROLE")).await?;
    if let Value::ServerError(error) = reply {
        return Ok(Err(error));
    }
    let Value::Array(parts) = reply else { return Err("its role can't be read".to_owned()) };
    Ok(Ok(parts.first().and_then(text).unwrap_or_default()))
}

async fn ask_sentinels(
    sentinels: &[ConnectionInfo],
    name: &str,
    terms: &Terms,
) -> Result<(String, u16), String> {
    let terms = Terms { timeout: SENTINEL_TIMEOUT, ..terms.clone() };
    let mut why = "there is no sentinel to ask".to_owned();
    for sentinel in sentinels {
        match timeout(SENTINEL_TIMEOUT, ask_sentinel(sentinel, name, &terms)).await {
            Ok(Ok(addr)) => return Ok(addr),
            Ok(Err(error)) => why = error,
            Err(_) => why = "the sentinels do not answer".to_owned(),
        }
    }
    Err(why)
}

async fn ask_sentinel(
    sentinel: &ConnectionInfo,
    name: &str,
    terms: &Terms,
) -> Result<(String, u16), String> {
    let mut connection = connect_to(sentinel, terms).await?;
    let mut cmd = redis::cmd("SENTINEL");
    cmd.arg("get-master-addr-by-name").arg(name);
    let reply = query(&mut connection, &cmd).await?;
    let Value::Array(parts) = reply else {
        return Err("the sentinels do not know the master's name".to_owned());
    };
    let host = parts.first().and_then(text);
    let port = parts.get(1).and_then(text).and_then(|port| port.parse().ok());
    match (host, port) {
        (Some(host), Some(port)) => Ok((host, port)),
        _ => Err("a sentinel's answer can't be read".to_owned()),
    }
}

async fn query(connection: &mut MultiplexedConnection, cmd: &redis::Cmd) -> Result<Value, String> {
    connection.send_packed_command(cmd).await.map_err(|error| error.to_string())
}

/// A reply's text, if it is one.
pub(super) fn text(value: &Value) -> Option<String> {
    if let Value::BulkString(bytes) = value {
        return String::from_utf8(bytes.clone()).ok();
    }
    if let Value::Int(number) = value {
        return Some(number.to_string());
    }
    if let Value::SimpleString(text) | Value::VerbatimString { text, .. } = value {
        return Some(text.clone());
    }
    None
}
