//! What is wrong with a file of certificates or keys: which key names it, and what was found in it.

use std::io;

/// A file that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {file:?}: {problem}")]
pub struct Error {
    /// The key that names it, within its `tls` table: `cert`.
    pub key: &'static str,
    /// The file as it was named.
    pub file: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a file, without anything that stands in it.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The system does not give it.
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A directory, a pipe: a reload could not read it again.
    #[error("it is no regular file")]
    NotAFile,
    /// Longer than any file of certificates.
    #[error("it is longer than {} KiB", .0 / 1024)]
    TooLong(u64),
    /// A credential, and there are none.
    #[error("systemd handed over no credentials: $CREDENTIALS_DIRECTORY is not set")]
    NoCredentials,
    /// The text is damaged.
    #[error("it is not PEM: {0}")]
    NotPem(String),
    /// PEM, and nothing in it that is looked for.
    #[error("there is no {0} in it")]
    Lacks(&'static str),
    /// The key is locked with a password.
    #[error("the key in it is encrypted: nobody could type its password at a start")]
    Encrypted,
    /// A certificate that can't be understood.
    #[error("certificate {place} in it can't be read: {cause}")]
    Certificate {
        /// Counted from 1.
        place: usize,
        /// As the parser has it.
        cause: String,
    },
    /// A key that can't be used.
    #[error("the key in it can't be used: {0}")]
    Key(String),
    /// The key of another certificate.
    #[error("the key in it is not that of the certificate in {0:?}")]
    OtherKey(String),
    /// Nobody can be verified with these authorities.
    #[error("nobody can be verified by it: {0}")]
    Authorities(String),
    /// The system trusts nobody.
    #[error("this system trusts no authority: {0}")]
    NoSystem(String),
    /// A key that goes with another one, and the other one is missing.
    #[error("{0}")]
    Alone(&'static str),
}

impl Problem {
    pub(super) fn of(self, key: &'static str, file: impl ToString) -> Error {
        Error { key, file: file.to_string(), problem: self }
    }
}
