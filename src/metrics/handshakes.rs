//! Handshakes of peers that came to nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::tls::HandshakeFailure;

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// It was not over within `limits.handshake_timeout`.
    Timeout,
    /// What came was no TLS.
    NotTls,
    /// A certificate is demanded, and the peer showed none.
    NoCertificate,
    /// The peer's certificate is from nobody who is trusted.
    UnknownAuthority,
    /// The peer's certificate has ended.
    Expired,
    /// The peer's certificate begins later.
    NotYetValid,
    /// The peer's certificate is wrong in another way.
    BadCertificate,
    /// The peer does not accept our certificate.
    Refused,
    /// No version or cipher in common.
    NothingInCommon,
    /// The peer hung up, or the connection broke.
    HungUp,
    /// Something else was wrong with what the peer said.
    Other,
}

/// Since the daemon started.
#[derive(Debug, Default)]
pub struct Handshakes {
    failed: [AtomicU64; Failed::ALL.len()],
}

impl Failed {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Timeout,
        Self::NotTls,
        Self::NoCertificate,
        Self::UnknownAuthority,
        Self::Expired,
        Self::NotYetValid,
        Self::BadCertificate,
        Self::Refused,
        Self::NothingInCommon,
        Self::HungUp,
        Self::Other,
    ];

    /// The label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::UnknownAuthority => "unknown_authority",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::BadCertificate => "bad_certificate",
            Self::Refused => "refused",
            Self::NothingInCommon => "nothing_in_common",
            Self::HungUp => "hung_up",
            Self::Other => "other",
        }
    }
}

impl From<HandshakeFailure> for Failed {
    fn from(failure: HandshakeFailure) -> Self {
        match failure {
            HandshakeFailure::UnknownAuthority => Self::UnknownAuthority,
            HandshakeFailure::Expired => Self::Expired,
            HandshakeFailure::NotYetValid => Self::NotYetValid,
            HandshakeFailure::WrongName | HandshakeFailure::BadCertificate => Self::BadCertificate,
            HandshakeFailure::NoCertificate => Self::NoCertificate,
            HandshakeFailure::CertificateDemanded
            | HandshakeFailure::OurAuthorityUnknown
            | HandshakeFailure::OursExpired
            | HandshakeFailure::OursRefused => Self::Refused,
            HandshakeFailure::NotTls => Self::NotTls,
            HandshakeFailure::NothingInCommon | HandshakeFailure::BrokenOff => {
                Self::NothingInCommon
            }
            HandshakeFailure::TimedOut => Self::Timeout,
            HandshakeFailure::HungUp => Self::HungUp,
            HandshakeFailure::Other => Self::Other,
        }
    }
}

impl Handshakes {
    /// One more came to nothing.
    pub fn fail(&self, why: Failed) {
        if let Some(count) = self.failed.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How many did, and why.
    pub fn failed(&self) -> impl Iterator<Item = (Failed, u64)> + '_ {
        Failed::ALL.into_iter().zip(&self.failed).map(|(why, count)| (why, count.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_place_of_its_own() {
        for (at, why) in Failed::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at);
        }
    }
}
