//! The beginning of a connection with TLS: the handshake, and whether there is anything to talk about.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::account::{Account, Secured, Wish};
use super::shared::Shared;
use crate::metrics::connections::{CloseReason, Denied};
use crate::metrics::handshakes::Failed;
use crate::throttle::{Cause, admits};
use crate::tls::{self, HandshakeFailure};

/// Names of a certificate that are looked at; there is no use for so many.
const NAMES_MAX: usize = 64;

/// A stream that is ready for messages. On the heap: what TLS keeps is large, and would be part of
/// every future that the stream is handed through.
pub(super) type Stream<S> = Box<TlsStream<S>>;

/// Shakes hands with the peer, and notes in the account what is known of it then. An error is why
/// the connection ends already; it is counted and logged.
pub(super) async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    acceptor: TlsAcceptor,
    account: &Account,
    shared: &Shared,
) -> Result<Stream<S>, CloseReason> {
    let limit = shared.limits().handshake_timeout;
    // A stop doesn't wait for it: nothing was asked yet.
    let accepted = tokio::select! {
        biased;
        wish = account.wished() => return Err(reason_of(wish)),
        accepted = timeout(limit, acceptor.accept(stream)) => accepted,
    };
    let mut stream = match accepted {
        Ok(Ok(stream)) => Box::new(stream),
        Ok(Err(error)) => {
            tell(account, shared, HandshakeFailure::of(&error), &error);
            return Err(CloseReason::Handshake);
        }
        Err(_late) => {
            fail(account, shared, Failed::Timeout, &format!("not over within {limit:?}"));
            return Err(CloseReason::Handshake);
        }
    };
    account.secure(Arc::new(secured(&stream)));
    if shared.access.grant(account.caller()).is_nothing() {
        deny(account, shared);
        // It hears that this was the end, if it listens.
        let _gone = timeout(limit, stream.shutdown()).await;
        return Err(CloseReason::Denied);
    }
    Ok(stream)
}

fn reason_of(wish: Wish) -> CloseReason {
    match wish {
        Wish::Nothing | Wish::Stop => CloseReason::Stopping,
        Wish::Close => CloseReason::Operator,
    }
}

fn secured<S>(stream: &TlsStream<S>) -> Secured {
    let (_, session) = stream.get_ref();
    let version = session.protocol_version().and_then(|version| version.as_str());
    let mut names = tls::names(session.peer_certificates().unwrap_or_default());
    names.truncate(NAMES_MAX);
    names.shrink_to_fit();
    Secured { version: version.unwrap_or("TLS"), names }
}

fn tell(account: &Account, shared: &Shared, failure: Option<HandshakeFailure>, error: &io::Error) {
    match failure {
        Some(HandshakeFailure::NotTls) => {
            let why = "it speaks in the clear to a listener with TLS";
            fail(account, shared, Failed::NotTls, why);
        }
        Some(failure) => fail(account, shared, failure.into(), &format!("{failure}: {error}")),
        None => fail(account, shared, Failed::HungUp, &error.to_string()),
    }
}

fn fail(account: &Account, shared: &Shared, failed: Failed, why: &str) {
    shared.context.metrics.handshakes.fail(failed);
    if admits(Cause::Handshake) {
        let (peer, listener) = (account.origin.peer, account.origin.listener);
        let reason = failed.name();
        tracing::warn!(%peer, %listener, reason, "a handshake with a peer failed: {why}");
    }
}

fn deny(account: &Account, shared: &Shared) {
    shared.context.metrics.connections.deny(Denied::NoEntry);
    if admits(Cause::Denied) {
        let (peer, reason) = (account.origin.peer, Denied::NoEntry.name());
        let who = shared.access.identify(account);
        tracing::warn!(%peer, reason, "a peer is denied a connection: {who}");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt, duplex};
    use tokio_rustls::TlsConnector;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::connection::account::Origin;
    use crate::connection::frame::Framing;
    use crate::connection::{Connection, tests::context};

    /// What the daemon's side and the peer's go by.
    fn sides() -> (TlsAcceptor, TlsConnector) {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let provider = || Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let mut trusted = RootCertStore::empty();
        trusted.add(own.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(trusted)
            .with_no_client_auth();
        (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)))
    }

    #[tokio::test]
    async fn what_tls_holds_back_of_the_replies_is_sent_when_there_is_room() {
        const REQUESTS: usize = 200;
        let (acceptor, connector) = sides();
        let (peer, daemon) = duplex(256);
        let name = ServerName::try_from("localhost").unwrap();
        let (peer, daemon) = tokio::join!(connector.connect(name, peer), acceptor.accept(daemon));
        let (mut peer, daemon) = (peer.unwrap(), daemon.unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let framing = Framing::Lf;
        let origin = Origin { peer: address, listener: address, framing, is_near: true };
        let shared = Arc::new(Shared::new(context(), TaskTracker::new()));
        let mut connection = Connection::new(daemon, Arc::new(Account::new(1, origin)), shared);
        let asked = async {
            peer.write_all(&b"{}\n".repeat(REQUESTS)).await.unwrap();
            peer.shutdown().await.unwrap();
            let mut replies = String::new();
            peer.read_to_string(&mut replies).await.unwrap();
            assert_eq!(replies.matches("CHAT-003").count(), REQUESTS);
        };
        let (served, ()) = tokio::join!(connection.serve(), asked);
        assert_eq!(served.unwrap(), CloseReason::Peer);
    }
}
