//! PEM files: chains, keys, authorities. Nothing of a key stays behind in memory that is ours.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{self, SectionKind};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::{CertifiedKey, SigningKey};

use super::certificate::Certificate;
use super::error::{Error, Problem};
use crate::config::tls::{Authorities, PemFile};

/// A file longer than this holds something else. All authorities of a system are a quarter of it.
const BYTES_MAX: u64 = 1 << 20;
/// What OpenSSL writes around a key that has a password.
const ENCRYPTED_MARKS: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];

/// Bytes that are overwritten when they are dropped, and never shown.
pub(super) struct Wiped(pub(super) Vec<u8>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.fill(0);
        // Else the compiler may leave out what nobody reads.
        black_box(&self.0);
    }
}

/// A certificate with its key, ready to be shown.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) certificate: Certificate,
    pub(super) key: Arc<CertifiedKey>,
}

/// Reads `cert` and `key`, which belong together.
pub(super) fn identity(
    cert: &PemFile,
    key: &PemFile,
    credentials: Option<&Path>,
) -> Result<Identity, Error> {
    if !key.is_named() {
        return Err(Problem::Alone("its key is missing: `key` names that file").of("cert", cert));
    }
    if !cert.is_named() {
        let alone = "its certificate is missing: `cert` names that file";
        return Err(Problem::Alone(alone).of("key", key));
    }
    let chain = chain(cert, credentials).map_err(|problem| problem.of("cert", cert))?;
    let certificate = Certificate::of(&chain).map_err(|problem| problem.of("cert", cert))?;
    let signing = signing_key(key, credentials).map_err(|problem| problem.of("key", key))?;
    let both = CertifiedKey::new(chain, signing);
    match both.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Identity { certificate, key: Arc::new(both) })
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(Problem::OtherKey(cert.to_string()).of("key", key))
        }
        Err(error) => {
            let problem = Problem::Certificate { place: 1, cause: error.to_string() };
            Err(problem.of("cert", cert))
        }
    }
}

/// Whom to trust; `key` is the name under which they stand.
pub(super) fn authorities(
    key: &'static str,
    from: &Authorities,
    credentials: Option<&Path>,
) -> Result<Arc<RootCertStore>, Error> {
    let found = match from {
        Authorities::File(file) => trusted(file, credentials),
        Authorities::System | Authorities::Unsaid => trusted_by_the_system(),
    };
    found.map(Arc::new).map_err(|problem| problem.of(key, from))
}

/// The certificates of a file that is trusted.
pub(super) fn trusted(
    file: &PemFile,
    credentials: Option<&Path>,
) -> Result<RootCertStore, Problem> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in chain(file, credentials)?.into_iter().enumerate() {
        let unreadable = |error: rustls::Error| Problem::Certificate {
            place: index + 1,
            cause: error.to_string(),
        };
        store.add(certificate).map_err(unreadable)?;
    }
    Ok(store)
}

/// Of the system's authorities some are always odd: those that can't be read are left out.
fn trusted_by_the_system() -> Result<RootCertStore, Problem> {
    let mut found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _odd) = store.add_parsable_certificates(found.certs);
    match (added, found.errors.pop()) {
        (0, Some(error)) => Err(Problem::NoSystem(error.to_string())),
        (0, None) => Err(Problem::NoSystem("none is installed".to_owned())),
        (_, Some(_) | None) => Ok(store),
    }
}

/// The certificates of a file, at least one.
pub(super) fn chain(
    file: &PemFile,
    credentials: Option<&Path>,
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let text = read(file, credentials)?;
    let mut found = Vec::new();
    for (kind, der) in sections(&text)? {
        if kind == SectionKind::Certificate {
            found.push(CertificateDer::from(std::mem::take(&mut { der }.0)));
        }
    }
    if found.is_empty() { Err(Problem::Lacks("certificate")) } else { Ok(found) }
}

/// The first key of a file, whichever of the three usual forms it has.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of what else stands in the file nothing counts"
)]
fn signing_key(file: &PemFile, credentials: Option<&Path>) -> Result<Arc<dyn SigningKey>, Problem> {
    let text = read(file, credentials)?;
    let has = |mark: &[u8]| text.0.windows(mark.len()).any(|found| found == mark);
    if ENCRYPTED_MARKS.into_iter().any(has) {
        return Err(Problem::Encrypted);
    }
    for (kind, der) in sections(&text)? {
        // Borrowed, so that the only copy is the one that is wiped.
        let bytes = der.0.as_slice();
        let key = match kind {
            SectionKind::PrivateKey => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(bytes)),
            SectionKind::RsaPrivateKey => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(bytes)),
            SectionKind::EcPrivateKey => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(bytes)),
            // Certificates may stand beside it, and parameters of its curve.
            _ => continue,
        };
        return any_supported_type(&key).map_err(|error| Problem::Key(error.to_string()));
    }
    Err(Problem::Lacks("private key"))
}

fn sections(text: &Wiped) -> Result<Vec<(SectionKind, Wiped)>, Problem> {
    let mut rest = text.0.as_slice();
    let mut found = Vec::new();
    loop {
        match pem::from_buf(&mut rest) {
            Ok(Some((kind, der))) => found.push((kind, Wiped(der))),
            Ok(None) => return Ok(found),
            // The parser's own words may hold a piece of the text.
            Err(pem::Error::MissingSectionEnd { .. }) => {
                return Err(Problem::NotPem("a section does not end".to_owned()));
            }
            Err(pem::Error::Base64Decode(_)) => {
                return Err(Problem::NotPem("a section is damaged".to_owned()));
            }
            Err(_) => return Err(Problem::NotPem("a line can't be understood".to_owned())),
        }
    }
}

pub(super) fn read(file: &PemFile, credentials: Option<&Path>) -> Result<Wiped, Problem> {
    let path = file.path(credentials).ok_or(Problem::NoCredentials)?;
    // Looked at first: to open a pipe waits for its other end.
    let length = match path.metadata()? {
        found if !found.is_file() => return Err(Problem::NotAFile),
        found => found.len(),
    };
    if length > BYTES_MAX {
        return Err(Problem::TooLong(BYTES_MAX));
    }
    // With room for all of it, so that it does not move and leave a copy behind.
    let room = usize::try_from(length).unwrap_or_default() + 1;
    let mut text = Wiped(Vec::with_capacity(room));
    File::open(path)?.take(BYTES_MAX).read_to_end(&mut text.0)?;
    Ok(text)
}
