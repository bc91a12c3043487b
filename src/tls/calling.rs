//! How a peer is called: whom it must be, and who we are if it asks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::certificate::Certificate;
use super::error::{Error, Problem};
use super::{pem, provider};
use crate::config::tls::CallingTls;

/// Our side of a handshake with one peer. It doesn't change: a reload makes another one.
#[derive(Clone)]
pub struct Calling {
    config: Arc<ClientConfig>,
    own: Arc<Own>,
    server_name: Option<ServerName<'static>>,
    /// Who we are, if we can say so.
    pub certificate: Option<Certificate>,
}

/// Our certificate, shown to a peer that asks for one; that it asked is remembered.
#[derive(Debug)]
struct Own {
    key: Option<Arc<CertifiedKey>>,
    was_asked: AtomicBool,
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

impl Calling {
    /// Reads the files. `credentials` is the folder of `$CREDENTIALS_DIRECTORY`.
    pub fn read(files: &CallingTls, credentials: Option<&Path>) -> Result<Self, Error> {
        let trusted = pem::authorities("ca", &files.ca, credentials)?;
        let identity = match files.cert.is_named() || files.key.is_named() {
            true => Some(pem::identity(&files.cert, &files.key, credentials)?),
            false => None,
        };
        let (certificate, key) =
            identity.map(|identity| (identity.certificate, identity.key)).unzip();
        let own = Arc::new(Own { key, was_asked: AtomicBool::new(false) });
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Problem::Authorities(error.to_string()).of("ca", &files.ca))?
            .with_root_certificates(trusted)
            .with_client_cert_resolver(Arc::clone(&own) as Arc<dyn ResolvesClientCert>);
        config.resumption = Resumption::disabled();
        // Checked where the configuration is read.
        let server_name = ServerName::try_from(files.server_name.clone()).ok();
        Ok(Self { config: Arc::new(config), own, server_name, certificate })
    }

    /// For one handshake or many; a clone of one counter.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.config))
    }

    /// Whom the peer's certificate must name, if its address is `HOST:PORT`; `None` if the host is
    /// something that no certificate can name.
    pub fn server_name(&self, address: &str) -> Option<ServerName<'static>> {
        if let Some(name) = &self.server_name {
            return Some(name.clone());
        }
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(host.to_owned()).ok()
    }

    /// Whether the peer asked for a certificate, on this or an earlier connection: then it may still
    /// turn us away when our side of the handshake is done.
    pub fn was_asked(&self) -> bool {
        self.own.was_asked.load(Relaxed)
    }
}

impl std::fmt::Debug for Calling {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calling")
            .field("certificate", &self.certificate)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
