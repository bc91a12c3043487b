//! What a listener presents to clients, and what it demands of them.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio_rustls::TlsAcceptor;

use super::certificate::Certificate;
use super::error::{Error, Problem};
use super::{pem, provider};
use crate::config::tls::{ClientAuth, ListeningTls};

/// One listener's side of a handshake. It doesn't change: a reload makes another one, and whoever
/// accepts asks for the one in force with each connection.
#[derive(Clone)]
pub struct Listening {
    config: Arc<ServerConfig>,
    /// What is presented.
    pub certificate: Certificate,
}

impl Listening {
    /// Reads the files. `credentials` is the folder of `$CREDENTIALS_DIRECTORY`.
    pub fn read(files: &ListeningTls, credentials: Option<&Path>) -> Result<Self, Error> {
        let identity = pem::identity(&files.cert, &files.key, credentials)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Problem::Key(error.to_string()).of("key", &files.key))?
            .with_client_cert_verifier(verifier(files, credentials)?)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key)));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), certificate: identity.certificate })
    }

    /// For one handshake or many; a clone of one counter.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

fn verifier(
    files: &ListeningTls,
    credentials: Option<&Path>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    if !files.client_ca.is_named() {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let wrong = |problem: Problem| problem.of("client_ca", &files.client_ca);
    let trusted = pem::trusted(&files.client_ca, credentials).map_err(wrong)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider());
    let builder = match files.client_auth {
        ClientAuth::Required => builder,
        ClientAuth::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| wrong(Problem::Authorities(error.to_string())))
}

impl std::fmt::Debug for Listening {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
