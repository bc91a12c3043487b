//! Whom a certificate names: its subject alternative names, as `[[peers]]` writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use compact_str::{CompactString, format_compact};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The names of one certificate: `DNS:room.fleet`, `URI:spiffe://fleet/room`, `IP:10.0.0.7`. A
/// certificate is part of a handshake, whose length rustls bounds.
pub type Names = Vec<CompactString>;

/// Whom the first of `certs` names, which is the client's own. Only what was verified may be asked:
/// anybody can write any name into a certificate. The common name is none of them, and neither is a
/// name with a character that a log's reader could take for something else.
pub fn names(certs: &[CertificateDer<'_>]) -> Names {
    let Some(own) = certs.first() else { return Names::new() };
    let Ok((_, certificate)) = X509Certificate::from_der(own) else { return Names::new() };
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else {
        return Names::new();
    };
    alternatives.value.general_names.iter().filter_map(name).collect()
}

fn name(name: &GeneralName<'_>) -> Option<CompactString> {
    match name {
        // Case means nothing in a host's name.
        GeneralName::DNSName(host) if is_plain(host) => {
            Some(format_compact!("DNS:{}", host.to_ascii_lowercase()))
        }
        GeneralName::URI(uri) if is_plain(uri) => Some(format_compact!("URI:{uri}")),
        GeneralName::IPAddress(bytes) => ip(bytes).map(|address| format_compact!("IP:{address}")),
        GeneralName::DNSName(_)
        | GeneralName::URI(_)
        | GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4().or_else(|_| v6()).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType, string::Ia5String};

    use super::*;

    #[test]
    fn a_certificate_names_whom_its_subject_alternative_names_name() {
        let mut params = CertificateParams::new(vec!["Room.Fleet".to_owned()]).unwrap();
        let uri = |text: &str| SanType::URI(Ia5String::try_from(text).unwrap());
        params.subject_alt_names.extend([
            uri("spiffe://fleet/room"),
            uri("spiffe://fleet/two\nlines"),
            SanType::IpAddress("10.0.0.7".parse().unwrap()),
            SanType::IpAddress("fd00::7".parse().unwrap()),
            SanType::Rfc822Name(Ia5String::try_from("a@room.fleet").unwrap()),
        ]);
        let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected = ["DNS:room.fleet", "URI:spiffe://fleet/room", "IP:10.0.0.7", "IP:fd00::7"];
        assert_eq!(names(&[own.der().clone()]), expected);
    }

    #[test]
    fn a_certificate_without_names_names_nobody_whatever_its_common_name() {
        let params = CertificateParams::default();
        let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(names(&[own.der().clone()]), Names::new());
        assert_eq!(names(&[]), Names::new());
        assert_eq!(names(&[CertificateDer::from(vec![1, 2, 3])]), Names::new());
    }
}
