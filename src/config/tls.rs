//! The `tls` of listeners, of the admin server, of gateways and of Redis: files by name, unread.

use std::fmt;
use std::path::{Path, PathBuf};

/// What may stand where a file is named, for people.
pub(super) const FILE_EXPECTED: &str =
    "the path of a PEM file, \"credential:NAME\" for one that systemd hands over, or \"\" for none";
/// What may stand where authorities are named, for people.
pub(super) const AUTHORITIES_EXPECTED: &str = "\"system\" for whom this system trusts, the path of a PEM file, \
     \"credential:NAME\" for one that systemd hands over, or \"\" for none";
/// What may stand where a certificate's name is named, for people.
pub(super) const SERVER_NAME_EXPECTED: &str =
    "a host name or an IP address, or \"\" for that of the address";

const CREDENTIAL: &str = "credential:";
const SYSTEM: &str = "system";

/// `tls` of a listener and of the admin server. Without a certificate it is off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListeningTls {
    /// The chain that is shown, its own certificate first.
    pub cert: PemFile,
    /// The key of that certificate.
    pub key: PemFile,
    /// Whose certificates clients may show.
    pub client_ca: PemFile,
    /// Whether they have to.
    pub client_auth: ClientAuth,
}

/// `tls` of a gateway and of Redis. A gateway without authorities is called in the clear; with Redis
/// the URL decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallingTls {
    /// Whose certificates the called may show.
    pub ca: Authorities,
    /// The chain that is shown to one who asks.
    pub cert: PemFile,
    /// The key of that certificate.
    pub key: PemFile,
    /// Whom the certificate must name; empty for the host of the address.
    pub server_name: String,
}

/// `client_auth`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// A client without a certificate is turned away.
    #[default]
    Required,
    /// A client without a certificate is nobody, and may go on.
    Optional,
}

/// The name of a file of PEM text; empty for none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PemFile(String);

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Authorities {
    /// Nothing is said.
    #[default]
    Unsaid,
    /// Whom this system trusts.
    System,
    /// The certificates in a file.
    File(PemFile),
}

impl ListeningTls {
    /// Whether there is TLS. A table in which something is missing is a mistake, and never the clear.
    pub fn is_on(&self) -> bool {
        self.cert.is_named() || self.key.is_named() || self.client_ca.is_named()
    }
}

impl CallingTls {
    /// Whether there is TLS, where no URL decides.
    pub fn is_on(&self) -> bool {
        *self != Self::default()
    }
}

impl PemFile {
    /// A path, or `credential:NAME`; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix(CREDENTIAL)
            && (name.is_empty() || name.contains('/') || name.starts_with('.'))
        {
            return Err("a credential's name is that of a file in its folder".to_owned());
        }
        if text.starts_with("-----BEGIN") {
            return Err("the name of a file stands here, not what is in it".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether there is one.
    pub fn is_named(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether systemd hands it over, so that it is there for the daemon alone.
    pub fn is_credential(&self) -> bool {
        self.0.starts_with(CREDENTIAL)
    }

    /// Where it is; `None` for a credential where none are handed over. `credentials` is the folder of
    /// `$CREDENTIALS_DIRECTORY`.
    pub fn path(&self, credentials: Option<&Path>) -> Option<PathBuf> {
        match self.0.strip_prefix(CREDENTIAL) {
            Some(name) => credentials.map(|folder| folder.join(name)),
            None => Some(PathBuf::from(&self.0)),
        }
    }
}

impl Authorities {
    /// As [`PemFile::parse`], or `system`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Self::Unsaid),
            SYSTEM => Ok(Self::System),
            text => PemFile::parse(text).map(Self::File),
        }
    }
}

/// A name that a certificate can have.
pub(super) fn server_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let name = rustls::pki_types::ServerName::try_from(text);
    name.map(|_| text.to_owned()).map_err(|_| "no host name and no IP address".to_owned())
}

impl fmt::Display for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsaid => Ok(()),
            Self::System => f.write_str(SYSTEM),
            Self::File(file) => file.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_path_or_a_credential_in_its_folder() {
        let path = |text: &str| PemFile::parse(text).unwrap().path(Some(Path::new("/run/c")));
        assert_eq!(path("/etc/a.pem"), Some(PathBuf::from("/etc/a.pem")));
        assert_eq!(path("credential:key"), Some(PathBuf::from("/run/c/key")));
        assert_eq!(PemFile::parse("credential:key").unwrap().path(None), None);
        for wrong in ["credential:", "credential:../key", "credential:a/b", "-----BEGIN X"] {
            assert!(PemFile::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn authorities_are_the_systems_or_those_of_a_file() {
        assert_eq!(Authorities::parse("system"), Ok(Authorities::System));
        assert_eq!(Authorities::parse(""), Ok(Authorities::Unsaid));
        for text in ["system", "", "/etc/ca.pem", "credential:ca"] {
            assert_eq!(Authorities::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_server_name_is_a_host_or_an_address() {
        for good in ["", "room.fleet", "10.0.0.7", "::1"] {
            assert_eq!(server_name(good).as_deref(), Ok(good));
        }
        assert!(server_name("two words").is_err());
    }
}
