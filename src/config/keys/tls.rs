//! The keys of the `tls` tables.

use super::super::form::{text, word};
use super::super::key::{Key, key, live};
use super::super::tls::{
    AUTHORITIES_EXPECTED, Authorities, CallingTls, ClientAuth, FILE_EXPECTED, ListeningTls,
    PemFile, SERVER_NAME_EXPECTED, server_name,
};

/// Those of a listener and of the admin server.
pub(super) fn listening() -> Vec<Key<ListeningTls>> {
    let words = vec![("required", ClientAuth::Required), ("optional", ClientAuth::Optional)];
    live(vec![
        key(
            "cert",
            "",
            text(FILE_EXPECTED, PemFile::parse, |tls: &mut ListeningTls| &mut tls.cert),
            "The certificate that is presented, first in its file, and those that lead to its \
             authority; with one, only TLS is spoken. Files are read again with each reload; turning \
             TLS on or off needs a restart.",
        ),
        key(
            "key",
            "",
            text(FILE_EXPECTED, PemFile::parse, |tls| &mut tls.key),
            "The certificate's private key, without a password.",
        ),
        key(
            "client_ca",
            "",
            text(FILE_EXPECTED, PemFile::parse, |tls| &mut tls.client_ca),
            "The authorities whose certificates clients may show; with none, no certificate is asked \
             for.",
        ),
        key(
            "client_auth",
            "required",
            word(words, |tls: &mut ListeningTls| &mut tls.client_auth),
            "Whether a client has to show a certificate from `client_ca`.",
        ),
    ])
}

/// Those of a gateway.
pub(super) fn gateway() -> Vec<Key<CallingTls>> {
    let mut keys = vec![key(
        "ca",
        "",
        text(AUTHORITIES_EXPECTED, Authorities::parse, |tls: &mut CallingTls| &mut tls.ca),
        "The authorities from which the service's certificate may be; with some, the service is \
         called over TLS, else in the clear.",
    )];
    keys.extend(own());
    keys.push(key(
        "server_name",
        "",
        text(SERVER_NAME_EXPECTED, server_name, |tls| &mut tls.server_name),
        "The name that has to be in the service's certificate.",
    ));
    live(keys)
}

/// Those of Redis, where `store.url` says whether there is TLS.
pub(super) fn redis() -> Vec<Key<CallingTls>> {
    let mut keys = vec![key(
        "ca",
        "",
        text(AUTHORITIES_EXPECTED, Authorities::parse, |tls: &mut CallingTls| &mut tls.ca),
        "The authorities from which the certificate of a Redis may be whose URL begins with \
         `rediss`; \"\" is \"system\".",
    )];
    keys.extend(own());
    live(keys)
}

fn own() -> [Key<CallingTls>; 2] {
    [
        key(
            "cert",
            "",
            text(FILE_EXPECTED, PemFile::parse, |tls: &mut CallingTls| &mut tls.cert),
            "The certificate that is shown if one is asked for, first in its file, and those that \
             lead to its authority.",
        ),
        key(
            "key",
            "",
            text(FILE_EXPECTED, PemFile::parse, |tls| &mut tls.key),
            "That certificate's private key, without a password.",
        ),
    ]
}
