//! The keys of the admin server.

use super::super::form::{count, secret, text};
use super::super::key::{Key, key};
use super::super::{ADMIN_ADDRESS, Admin, address, token};

/// All but those of TLS.
pub(super) fn all() -> Vec<Key<Admin>> {
    vec![
        key(
            "address",
            ADMIN_ADDRESS,
            text("HOST:PORT, or \"\" for none", admin_address, |admin: &mut Admin| {
                &mut admin.address
            }),
            "Where health, metrics and the admin API are served over HTTP, to whoever can connect; \
             if the default is taken, they are not, and a warning is logged.",
        ),
        key(
            "token",
            "",
            secret(token::EXPECTED, token::parse, |admin: &mut Admin| &mut admin.token),
            "The bearer token without which the admin API changes nothing; with none, it changes \
             something only for whoever asks over loopback.",
        )
        .live(),
        key(
            "closed_connections_max",
            "10000",
            count(0..=1_000_000, |admin| &mut admin.closed_connections_max),
            "Connections that ended and are still listed by the admin API.",
        ),
    ]
}

fn admin_address(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { address::parse(text, 0) }
}
