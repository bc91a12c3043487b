//! How a command speaks TLS with a daemon, for all commands that speak with one.

use crate::config::tls::{Authorities, CallingTls, PemFile};
use crate::tls::{Calling, Error};

/// Whom to trust, and who asks.
#[derive(Debug, Default, clap::Args)]
pub(super) struct TlsArgs {
    /// Speak TLS with a daemon whose certificate is from one of these authorities; "system" for those
    /// that this system trusts
    #[arg(long, value_name = "FILE", value_parser = Authorities::parse)]
    ca: Option<Authorities>,
    /// Certificate to show if the daemon asks for one
    #[arg(long, value_name = "FILE", requires = "key", value_parser = PemFile::parse)]
    cert: Option<PemFile>,
    /// The private key of that certificate
    #[arg(long, value_name = "FILE", requires = "cert", value_parser = PemFile::parse)]
    key: Option<PemFile>,
}

impl TlsArgs {
    /// How to call; `None` if nothing of TLS was said. A certificate alone is enough said.
    pub(super) fn calling(&self) -> Result<Option<Calling>, Error> {
        match (&self.ca, &self.cert) {
            (None, None) => Ok(None),
            (Some(_), _) | (None, Some(_)) => self.calling_anyway().map(Some),
        }
    }

    /// The same where it is certain that TLS is spoken.
    pub(super) fn calling_anyway(&self) -> Result<Calling, Error> {
        let files = CallingTls {
            ca: self.ca.clone().unwrap_or_default(),
            cert: self.cert.clone().unwrap_or_default(),
            key: self.key.clone().unwrap_or_default(),
            server_name: String::new(),
        };
        Calling::read(&files, None)
    }
}
