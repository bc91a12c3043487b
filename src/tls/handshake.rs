//! Why a handshake failed, in the few ways that tell an operator where to look.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of rustls' many errors only those are told apart that tell an operator where to look"
)]

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFailure {
    /// The other's certificate comes from nobody we trust.
    #[error("its certificate is from an unknown authority")]
    UnknownAuthority,
    /// The other's certificate has ended.
    #[error("its certificate has expired")]
    Expired,
    /// The other's certificate begins later.
    #[error("its certificate is not valid yet")]
    NotYetValid,
    /// The other's certificate is somebody else's.
    #[error("its certificate names somebody else")]
    WrongName,
    /// The other's certificate is wrong in another way.
    #[error("its certificate can't be accepted")]
    BadCertificate,
    /// The other showed no certificate.
    #[error("it shows no certificate")]
    NoCertificate,
    /// The other wants a certificate of us.
    #[error("it demands a certificate")]
    CertificateDemanded,
    /// The other does not trust the authority of our certificate.
    #[error("it does not know the authority of our certificate")]
    OurAuthorityUnknown,
    /// The other says that our certificate has ended.
    #[error("it says that our certificate has expired")]
    OursExpired,
    /// The other does not take our certificate for another reason.
    #[error("it does not accept our certificate")]
    OursRefused,
    /// What came is no TLS.
    #[error("it does not speak TLS")]
    NotTls,
    /// Both have nothing in common.
    #[error("no version or cipher of TLS in common")]
    NothingInCommon,
    /// It says no and does not say why; TLS 1.2 has no better word for a missing certificate.
    #[error("it broke off: no cipher in common, or no certificate of ours")]
    BrokenOff,
    /// It hung up in the middle.
    #[error("it hung up during the handshake")]
    HungUp,
    /// It took too long.
    #[error("no end of the handshake in time")]
    TimedOut,
    /// Something else is wrong with what it says.
    #[error("the handshake failed")]
    Other,
}

impl HandshakeFailure {
    /// What an error of the handshake's stream stands for; `None` if it is the network's.
    pub fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            Some(error) => Some(Self::of_tls(error)),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Some(Self::HungUp),
            None => None,
        }
    }

    /// The same for an error of the session itself.
    pub fn of_tls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            _ => Self::Other,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::UnknownAuthority
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            _ => Self::BadCertificate,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired => Self::CertificateDemanded,
            AlertDescription::UnknownCA => Self::OurAuthorityUnknown,
            AlertDescription::CertificateExpired => Self::OursExpired,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => Self::OursRefused,
            AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
                Self::NothingInCommon
            }
            AlertDescription::HandshakeFailure => Self::BrokenOff,
            _ => Self::Other,
        }
    }
}
