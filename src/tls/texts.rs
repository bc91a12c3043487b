//! Files of certificates as they are, for a client that reads them itself: that of Redis.

use std::path::Path;
use std::sync::Arc;

use super::certificate::Certificate;
use super::error::Error;
use super::pem::{self, Wiped};
use super::{Calling, Problem};
use crate::config::tls::{Authorities, CallingTls, PemFile};

/// Whom to trust and who we are, in PEM. It was found to be right.
#[derive(Clone)]
pub struct Texts {
    ca: Option<Arc<Wiped>>,
    own: Option<Arc<(Wiped, Wiped)>>,
    /// Who we are, if we can say so.
    pub certificate: Option<Certificate>,
}

impl Texts {
    /// Reads the files. `credentials` is the folder of `$CREDENTIALS_DIRECTORY`.
    pub fn read(files: &CallingTls, credentials: Option<&Path>) -> Result<Self, Error> {
        // Says better than the client would what is wrong.
        let Calling { certificate, .. } = Calling::read(files, credentials)?;
        let read = |key, file: &PemFile| {
            pem::read(file, credentials).map_err(|problem: Problem| problem.of(key, file))
        };
        let ca = match &files.ca {
            Authorities::File(file) => Some(Arc::new(read("ca", file)?)),
            Authorities::System | Authorities::Unsaid => None,
        };
        let own = match files.cert.is_named() {
            true => Some(Arc::new((read("cert", &files.cert)?, read("key", &files.key)?))),
            false => None,
        };
        Ok(Self { ca, own, certificate })
    }

    /// The authorities; `None` for those of the system.
    pub fn ca(&self) -> Option<&[u8]> {
        self.ca.as_ref().map(|text| text.0.as_slice())
    }

    /// Our certificate with its chain, and its key.
    pub fn own(&self) -> Option<(&[u8], &[u8])> {
        self.own.as_ref().map(|own| (own.0.0.as_slice(), own.1.0.as_slice()))
    }
}

impl std::fmt::Debug for Texts {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Texts").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
