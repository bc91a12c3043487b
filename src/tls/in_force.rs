//! All that a configuration names of certificates and keys, read: in force with it and as long.

use std::path::Path;

use super::certificate::Certificate;
use super::error::{Error, Problem};
use super::{Calling, Listening, Texts};
use crate::config::tls::{Authorities, CallingTls, ListeningTls};
use crate::config::{Config, StoreUrl};

/// See the module. Where there is no TLS, there is nothing.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    /// One for each listener, in their order.
    pub listen: Vec<Option<Listening>>,
    /// Of the admin server.
    pub admin: Option<Listening>,
    /// Of the ways to the services that are called.
    pub gateways: Gateways,
    /// Of the way to Redis.
    pub redis: Option<Texts>,
}

/// Of the ways to the services that are called.
#[derive(Debug, Clone, Default)]
pub struct Gateways {
    /// To room.
    pub room: Option<Calling>,
    /// To signaling.
    pub signaling: Option<Calling>,
    /// To auth.
    pub auth: Option<Calling>,
}

/// A table of which a file is wrong.
#[derive(Debug)]
pub struct Wrong {
    /// `listen[0].tls`
    pub table: String,
    /// The key in it, and what is wrong.
    pub error: Error,
}

/// Reads table after table, and goes on behind one that is wrong.
struct Reader<'a> {
    credentials: Option<&'a Path>,
    wrong: Vec<Wrong>,
}

impl InForce {
    /// Reads all files; of each table the first that is wrong is told. `credentials` is the folder of
    /// `$CREDENTIALS_DIRECTORY`.
    pub fn read(config: &Config, credentials: Option<&Path>) -> Result<Self, Vec<Wrong>> {
        let mut reader = Reader { credentials, wrong: Vec::new() };
        let listen = config.listen.iter().enumerate();
        let listen =
            listen.map(|(index, one)| reader.listening(&format!("listen[{index}]"), &one.tls));
        let listen = listen.collect();
        let admin = reader.listening("admin", &config.admin.tls);
        let gateways = Gateways {
            room: reader.gateway("gateways.room", &config.gateways.room.tls),
            signaling: reader.gateway("gateways.signaling", &config.gateways.signaling.tls),
            auth: reader.gateway("gateways.auth", &config.gateways.auth.tls),
        };
        let redis = reader.redis(&config.store.url, &config.store.redis.tls);
        match reader.wrong.is_empty() {
            true => Ok(Self { listen, admin, gateways, redis }),
            false => Err(reader.wrong),
        }
    }

    /// What a listener presents and demands now; `None` if it speaks in the clear. They are counted in
    /// the order of the configuration.
    pub fn listening(&self, index: usize) -> Option<&Listening> {
        self.listen.get(index)?.as_ref()
    }

    /// Every certificate of ours, with the key that names its file: `listen[0].tls.cert`.
    pub fn certificates(&self) -> Vec<(String, &Certificate)> {
        let listen = self.listen.iter().enumerate();
        let listen = listen.map(|(index, one)| (format!("listen[{index}]"), one.as_ref()));
        let listening = listen.chain([("admin".to_owned(), self.admin.as_ref())]);
        let listening = listening.map(|(table, one)| (table, one.map(|one| &one.certificate)));
        let Gateways { room, signaling, auth } = &self.gateways;
        let redis = self.redis.as_ref().and_then(|texts| texts.certificate.as_ref());
        let calling = [
            ("gateways.room", of_gateway(room)),
            ("gateways.signaling", of_gateway(signaling)),
            ("gateways.auth", of_gateway(auth)),
            ("store.redis", redis),
        ];
        let calling = calling.into_iter().map(|(table, one)| (table.to_owned(), one));
        let all = listening.chain(calling);
        all.filter_map(|(table, one)| Some((format!("{table}.tls.cert"), one?))).collect()
    }

    /// Each certificate of ours that nobody accepts now, by its key, and why.
    pub fn useless(&self) -> Vec<(String, String)> {
        let certificates = self.certificates().into_iter();
        certificates.filter_map(|(key, one)| Some((key, one.doubt()?))).collect()
    }

    /// A sentence for each of those.
    pub fn doubts(&self) -> Vec<String> {
        self.useless().into_iter().map(|(key, why)| format!("{key} {why}")).collect()
    }
}

fn of_gateway(calling: &Option<Calling>) -> Option<&Certificate> {
    calling.as_ref()?.certificate.as_ref()
}

impl Reader<'_> {
    fn listening(&mut self, table: &str, files: &ListeningTls) -> Option<Listening> {
        let read = files.is_on().then(|| Listening::read(files, self.credentials));
        self.keep(table, read)
    }

    /// A gateway says whom it trusts: what is called in the clear by mistake is seen by nobody.
    fn gateway(&mut self, table: &str, files: &CallingTls) -> Option<Calling> {
        let read = files.is_on().then(|| match files.ca {
            Authorities::Unsaid => {
                let unsaid = "whom to trust is not said: a file, or \"system\"";
                Err(Problem::Alone(unsaid).of("ca", &files.ca))
            }
            Authorities::System | Authorities::File(_) => Calling::read(files, self.credentials),
        });
        self.keep(table, read)
    }

    /// A Redis behind TLS is trusted as the system says, unless something else is said.
    fn redis(&mut self, url: &StoreUrl, files: &CallingTls) -> Option<Texts> {
        let read = match url {
            _ if url.is_encrypted() => Some(Texts::read(files, self.credentials)),
            StoreUrl::Memory | StoreUrl::Embedded(_) => None,
            StoreUrl::Redis(_) | StoreUrl::RedisCluster(_) | StoreUrl::RedisSentinel { .. } => {
                let clear = "store.url does not begin with \"rediss\": nothing would be encrypted";
                files.is_on().then(|| Err(Problem::Alone(clear).of("ca", &files.ca)))
            }
        };
        self.keep("store.redis", read)
    }

    fn keep<T>(&mut self, table: &str, read: Option<Result<T, Error>>) -> Option<T> {
        let failed = |error| self.wrong.push(Wrong { table: format!("{table}.tls"), error });
        read.transpose().map_err(failed).ok().flatten()
    }
}
