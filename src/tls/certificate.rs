//! What is told of a certificate of our own: from when, and until when, it is of use.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::error::Problem;

const DAY: f64 = 24.0 * 60.0 * 60.0;

/// A certificate with the chain that it is shown with: of use while all of them are valid.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Seconds of the Unix epoch from which all of the chain is valid.
    pub begins: i64,
    /// Seconds of the Unix epoch after which not all of the chain is valid any more.
    pub ends: i64,
    /// Tells it from another one.
    digest: Vec<u8>,
}

impl Certificate {
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Result<Self, Problem> {
        let (mut begins, mut ends, mut all) = (i64::MIN, i64::MAX, Vec::new());
        for (index, der) in chain.iter().enumerate() {
            let (_, certificate) = X509Certificate::from_der(der).map_err(|error| {
                Problem::Certificate { place: index + 1, cause: error.to_string() }
            })?;
            let validity = certificate.validity();
            begins = begins.max(validity.not_before.timestamp());
            ends = ends.min(validity.not_after.timestamp());
            all.extend_from_slice(der);
        }
        Ok(Self { begins, ends, digest: digest(&SHA256, &all).as_ref().to_vec() })
    }

    /// Days until it ends, with their fraction; negative when it has ended.
    pub fn days_left(&self) -> f64 {
        (self.ends - now()) as f64 / DAY
    }

    /// Whether nobody may accept it any more.
    pub fn is_expired(&self) -> bool {
        self.ends < now()
    }

    /// Whether nobody may accept it yet.
    pub fn is_not_yet_valid(&self) -> bool {
        self.begins > now()
    }

    /// What an operator has to know of it, if there is something: that it is of no use now.
    pub fn doubt(&self) -> Option<String> {
        if self.is_expired() {
            return Some(format!("ended at {}: whoever checks it refuses it", moment(self.ends)));
        }
        self.is_not_yet_valid().then(|| {
            format!("is valid from {} on: whoever checks it refuses it", moment(self.begins))
        })
    }
}

/// Until when, and how many days that are.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.days_left().floor() as i64;
        let end = moment(self.ends);
        match days {
            ..0 => write!(f, "ended at {end}"),
            1 => write!(f, "valid until {end}, 1 day left"),
            0 | 2.. => write!(f, "valid until {end}, {days} days left"),
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({self})")
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
