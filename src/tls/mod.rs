//! TLS: what listeners present and demand, how gateways call, and whom a certificate names.
//!
//! Everything here is read from files at the start and at each reload, as a whole: [`InForce`] stands
//! beside the configuration that names the files, and is replaced with it. A connection keeps what it
//! was made with; a handshake goes by what is in force when it begins.
//!
//! No session is remembered for a client to resume: each handshake proves anew who both are, so that
//! an authority or a certificate that was taken back is gone with the reload that takes it back.

mod calling;
mod certificate;
mod error;
mod handshake;
mod in_force;
mod listening;
mod names;
mod pem;
mod texts;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use self::calling::Calling;
pub use self::certificate::Certificate;
pub use self::error::{Error, Problem};
pub use self::handshake::HandshakeFailure;
pub use self::in_force::{Gateways, InForce, Wrong};
pub use self::listening::Listening;
pub use self::names::{Names, names};
pub use self::texts::Texts;

/// TLS 1.2 and 1.3 with what is not known to be weak, which is what rustls has.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
