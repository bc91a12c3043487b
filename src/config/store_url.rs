//! `store.url`: its grammar. No error here repeats a part of the URL, which may be a password.

use std::fmt;
use std::path::PathBuf;

use super::address;
use super::mistake::nearest;
use super::value::Value;
use super::{Secret, StoreUrl};

/// What may stand there, for people.
pub(super) const EXPECTED: &str = "memory:, embedded:DIR, redis://[USER:PASSWORD@]HOST:PORT[/DB], \
     rediss://[USER:PASSWORD@]HOST:PORT[/DB], \
     redis+cluster://[USER:PASSWORD@]HOST:PORT,HOST:PORT,… or \
     redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT,…/MASTER[/DB]; over TLS \
     rediss+cluster: and rediss+sentinel:";

const SCHEMES: [&str; 8] = [
    "memory:",
    "embedded:",
    "redis:",
    "rediss:",
    "redis+cluster:",
    "rediss+cluster:",
    "redis+sentinel:",
    "rediss+sentinel:",
];
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where the parts of a URL's body are: `[USER:PASSWORD@]HOSTS[/PATH]`.
struct Parts<'a> {
    /// With its `@`; empty if there is none.
    credentials: String,
    hosts: &'a str,
    /// Without its first `/`; empty if there is none.
    path: &'a str,
}

impl fmt::Display for StoreUrl {
    /// As it may appear in a log: without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Embedded(folder) => write!(f, "embedded:{}", folder.display()),
            Self::Redis(url) => {
                let (scheme, _) = url.expose().split_once(':').unwrap_or_default();
                write!(f, "{scheme}://{}", without_credentials(url))
            }
            Self::RedisCluster(nodes) => {
                write!(f, "{}+cluster://{}", self.redis_or_rediss(), list(nodes))
            }
            Self::RedisSentinel { sentinels, master, node } => {
                let scheme = self.redis_or_rediss();
                write!(f, "{scheme}+sentinel://{}/{master}", list(sentinels))?;
                match without_credentials(node).split_once('/') {
                    Some((_, database)) => write!(f, "/{database}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl StoreUrl {
    fn redis_or_rediss(&self) -> &'static str {
        if self.is_encrypted() { "rediss" } else { "redis" }
    }

    /// Whether it is a Redis that is called over TLS.
    pub fn is_encrypted(&self) -> bool {
        let encrypted = |url: &Secret| url.expose().starts_with("rediss:");
        match self {
            Self::Memory | Self::Embedded(_) => false,
            Self::Redis(url) => encrypted(url),
            Self::RedisCluster(nodes) => nodes.iter().any(encrypted),
            Self::RedisSentinel { node, .. } => encrypted(node),
        }
    }
}

fn list(urls: &[Secret]) -> String {
    urls.iter().map(without_credentials).collect::<Vec<_>>().join(",")
}

fn without_credentials(url: &Secret) -> &str {
    let url = url.expose();
    let body = url.split_once("://").map_or(url, |(_, body)| body);
    body.rsplit_once('@').map_or(body, |(_, rest)| rest)
}

/// What a message shows of the value: the scheme, and of a text without one nothing.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) if text.is_empty() => "an empty text".to_owned(),
        Value::Text(text) => match scheme(text) {
            Some(scheme) if text.len() == scheme.len() => format!("{scheme:?}"),
            Some(scheme) => format!("\"{scheme}…\""),
            None => "a text without a scheme".to_owned(),
        },
        Value::Integer(_) | Value::Flag(_) | Value::List(_) | Value::Other(_) => value.shown(),
    }
}

/// Takes the URL apart; the error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<StoreUrl, String> {
    if text.chars().any(|c| c.is_control() || c == ' ') && !text.starts_with("embedded:") {
        return Err("a URL has no blanks".to_owned());
    }
    let scheme = scheme(text).ok_or_else(|| match nearest_scheme(text) {
        Some(scheme) => format!("did you mean {scheme}?"),
        None => "it begins with no known scheme".to_owned(),
    })?;
    let body = &text[scheme.len()..];
    match scheme {
        "memory:" if body.is_empty() => Ok(StoreUrl::Memory),
        "memory:" => Err("nothing may follow memory:".to_owned()),
        "embedded:" => embedded(body),
        "redis:" | "rediss:" => redis(scheme, parts(body)?),
        "redis+cluster:" => cluster("redis", parts(body)?),
        "rediss+cluster:" => cluster("rediss", parts(body)?),
        "redis+sentinel:" => sentinel("redis", parts(body)?),
        "rediss+sentinel:" => sentinel("rediss", parts(body)?),
        _ => match nearest(scheme, SCHEMES) {
            Some(known) => Err(format!("no such scheme; did you mean {known}?")),
            None => Err("no such scheme".to_owned()),
        },
    }
}

/// The scheme with its colon. Something with a colon that isn't shaped like a URL has none: it
/// could be `user:password@host`.
fn scheme(text: &str) -> Option<&str> {
    if let Some(known) = SCHEMES.into_iter().find(|known| text.starts_with(known)) {
        return text.get(..known.len());
    }
    let end = text.find("://")?;
    let named = text.bytes().take(end).all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    (named && end > 0).then(|| &text[..=end])
}

fn nearest_scheme(text: &str) -> Option<&'static str> {
    let word: String = text.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '+').collect();
    nearest(&word, SCHEMES)
}

fn embedded(folder: &str) -> Result<StoreUrl, String> {
    if folder.is_empty() {
        return Err("the folder is missing".to_owned());
    }
    if folder.starts_with("//") {
        return Err("the folder follows the colon at once, as in embedded:./stated-data".to_owned());
    }
    if folder.contains('\0') {
        return Err("a folder's name has no zero byte".to_owned());
    }
    Ok(StoreUrl::Embedded(PathBuf::from(folder)))
}

fn redis(scheme: &str, parts: Parts<'_>) -> Result<StoreUrl, String> {
    if parts.hosts.contains(',') {
        return Err("several hosts are a redis+cluster: or a redis+sentinel:".to_owned());
    }
    let host = address::parse_with_default(parts.hosts, REDIS_PORT)?;
    let database = database(parts.path)?;
    Ok(StoreUrl::Redis(Secret::new(format!("{scheme}//{}{host}{database}", parts.credentials))))
}

fn cluster(scheme: &str, parts: Parts<'_>) -> Result<StoreUrl, String> {
    if !parts.path.is_empty() {
        return Err("a cluster has no numbered databases".to_owned());
    }
    let node = |host| Secret::new(format!("{scheme}://{}{host}", parts.credentials));
    Ok(StoreUrl::RedisCluster(hosts(parts.hosts, REDIS_PORT)?.map(node).collect()))
}

fn sentinel(scheme: &str, parts: Parts<'_>) -> Result<StoreUrl, String> {
    let (master, rest) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if master.is_empty() {
        return Err("the master's name is missing after the hosts".to_owned());
    }
    let sentinels = hosts(parts.hosts, SENTINEL_PORT)?;
    let database = database(rest)?;
    Ok(StoreUrl::RedisSentinel {
        sentinels: sentinels.map(|host| Secret::new(format!("{scheme}://{host}"))).collect(),
        master: master.to_owned(),
        node: Secret::new(format!(
            "{scheme}://{}127.0.0.1:{REDIS_PORT}{database}",
            parts.credentials
        )),
    })
}

/// Takes apart what follows the scheme's colon.
fn parts(body: &str) -> Result<Parts<'_>, String> {
    let body = body.strip_prefix("//").ok_or("// is missing after the scheme")?;
    let end = body.find(['/', '?', '#']).unwrap_or(body.len());
    let (authority, rest) = body.split_at(end);
    if rest.contains('@') {
        let how = "/, ? and # of a user or password are written %2F, %3F and %23";
        return Err(how.to_owned());
    }
    if rest.contains(['?', '#']) {
        return Err("nothing may follow a ? or #".to_owned());
    }
    let (credentials, hosts) = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => (credentials_of(credentials)?, hosts),
        None => (String::new(), authority),
    };
    Ok(Parts { credentials, hosts, path: rest.strip_prefix('/').unwrap_or(rest) })
}

/// The client takes a lone word for a user without a password; who writes one means a password.
fn credentials_of(text: &str) -> Result<String, String> {
    match text.contains(':') {
        true => Ok(format!("{}@", text.replace('@', "%40"))),
        false => Err("a password without a user is written :PASSWORD@".to_owned()),
    }
}

fn hosts(text: &str, default_port: u16) -> Result<std::vec::IntoIter<String>, String> {
    let hosts: Result<Vec<_>, _> =
        text.split(',').map(|host| address::parse_with_default(host, default_port)).collect();
    Ok(hosts?.into_iter())
}

/// `/DB`, or nothing.
fn database(text: &str) -> Result<String, String> {
    match text {
        "" => Ok(String::new()),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 9 => {
            Ok(format!("/{digits}"))
        }
        _ => Err("the database is not a number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo as _;

    use super::*;

    fn secrets(url: StoreUrl) -> Vec<String> {
        let urls = match url {
            StoreUrl::Memory | StoreUrl::Embedded(_) => Vec::new(),
            StoreUrl::Redis(url) => vec![url],
            StoreUrl::RedisCluster(nodes) => nodes,
            StoreUrl::RedisSentinel { mut sentinels, master: _, node } => {
                sentinels.push(node);
                sentinels
            }
        };
        urls.iter().map(|url| url.expose().to_owned()).collect()
    }

    #[test]
    fn a_redis_url_becomes_urls_that_the_client_takes() {
        for (text, expected, shown) in [
            ("redis://h", vec!["redis://h:6379"], "redis://h:6379"),
            ("redis://h/", vec!["redis://h:6379"], "redis://h:6379"),
            ("redis://[::1]:1/2", vec!["redis://[::1]:1/2"], "redis://[::1]:1/2"),
            ("redis://:p@h:1/2", vec!["redis://:p@h:1/2"], "redis://h:1/2"),
            ("rediss://:p@h", vec!["rediss://:p@h:6379"], "rediss://h:6379"),
            ("redis://u:p@ss@h:1", vec!["redis://u:p%40ss@h:1"], "redis://h:1"),
            (
                "redis+cluster://u:p@a:1,b",
                vec!["redis://u:p@a:1", "redis://u:p@b:6379"],
                "redis+cluster://a:1,b:6379",
            ),
            (
                "redis+sentinel://u:p@a:1,b/main/3",
                vec!["redis://a:1", "redis://b:26379", "redis://u:p@127.0.0.1:6379/3"],
                "redis+sentinel://a:1,b:26379/main/3",
            ),
            (
                "rediss+cluster://a:1,b",
                vec!["rediss://a:1", "rediss://b:6379"],
                "rediss+cluster://a:1,b:6379",
            ),
            (
                "rediss+sentinel://u:p@a:1/main",
                vec!["rediss://a:1", "rediss://u:p@127.0.0.1:6379"],
                "rediss+sentinel://a:1/main",
            ),
            (
                "redis+sentinel://a:1/main",
                vec!["redis://a:1", "redis://127.0.0.1:6379"],
                "redis+sentinel://a:1/main",
            ),
        ] {
            let url = parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            let urls = secrets(url);
            assert_eq!(urls, expected);
            for url in urls {
                url.as_str().into_connection_info().unwrap();
            }
        }
    }

    #[test]
    fn stores_without_a_server_are_named_in_a_word() {
        assert_eq!(parse("memory:").unwrap(), StoreUrl::Memory);
        for folder in ["./stated-data", "/var/lib/stated", "with blank", "데이터"] {
            let url = format!("embedded:{folder}");
            assert_eq!(parse(&url).unwrap(), StoreUrl::Embedded(PathBuf::from(folder)));
            assert_eq!(parse(&url).unwrap().to_string(), url);
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (text, expected) in [
            ("", "it begins with no known scheme"),
            ("memory", "did you mean memory:?"),
            ("redis//h", "did you mean redis:?"),
            ("./stated-data", "it begins with no known scheme"),
            ("memory://", "nothing may follow memory:"),
            ("embedded:", "the folder is missing"),
            (
                "embedded:///var",
                "the folder follows the colon at once, as in embedded:./stated-data",
            ),
            ("redis:h", "// is missing after the scheme"),
            ("redis://", "the host is missing"),
            ("redis:// h", "a URL has no blanks"),
            ("redis://a:1,b:2", "several hosts are a redis+cluster: or a redis+sentinel:"),
            ("redis://h:x", "the port is not a number from 1 to 65535"),
            ("redis://h/x", "the database is not a number"),
            ("redis://h?protocol=3", "nothing may follow a ? or #"),
            ("redis://p@h", "a password without a user is written :PASSWORD@"),
            ("redis://u:p/q@h", "/, ? and # of a user or password are written %2F, %3F and %23"),
            ("redis+cluster://a,,b", "the host is missing"),
            ("redis+cluster://a/1", "a cluster has no numbered databases"),
            ("redis+sentinel://a:1", "the master's name is missing after the hosts"),
            ("redis+sentinel://a:1/main/x", "the database is not a number"),
            ("redis+clutser://a", "no such scheme; did you mean redis+cluster:?"),
            ("postgres://a", "no such scheme"),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
