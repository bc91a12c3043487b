//! A running daemon's HTTP API, as commands ask it.

mod answer;
mod client;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hyper::StatusCode;

pub(super) use self::answer::{Answer, Part};
pub(super) use self::client::Daemon;
use super::duration;
use super::tls::TlsArgs;
use crate::config::ADMIN_ADDRESS;
use crate::tls::{self, HandshakeFailure};

/// Which daemon is asked, and how.
#[derive(Debug, clap::Args)]
pub(super) struct ApiArgs {
    /// Where the daemon answers over HTTP: its admin.address; https://ADDRESS over TLS, as with --ca
    #[arg(long, value_name = "ADDRESS", env = "STATED_ADMIN__ADDRESS", default_value = ADMIN_ADDRESS)]
    admin: String,
    /// File with the daemon's admin.token; without it, the variable STATED_ADMIN__TOKEN is the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How long to wait for each answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the admin address is empty: this daemon answers nobody")]
    Off,
    #[error("the token can't be read from {path}")]
    TokenFile { path: PathBuf, source: io::Error },
    #[error("TLS can't be spoken: {0}")]
    Files(#[from] tls::Error),
    #[error("TLS can't be spoken with {address}: {failure}")]
    Handshake { address: String, failure: HandshakeFailure },
    #[error("the token has characters that a token can't have")]
    Token,
    #[error("no runtime could be started")]
    Runtime(#[source] io::Error),
    #[error("{0} is no address to ask")]
    Address(String),
    #[error("can't reach {address}")]
    Connect { address: String, source: io::Error },
    #[error("{address} did not answer within {} ms", .within.as_millis())]
    Late { address: String, within: Duration },
    #[error("the connection to {address} failed")]
    Connection { address: String, source: hyper::Error },
    #[error("{0} gives no answer that can be read: it is cut off, or too long")]
    Body(String),
    #[error("{0} answers something else than JSON; is it a daemon's admin address?")]
    NotJson(String),
    #[error("{address} knows no {path}: the daemon is older than this command")]
    Older { address: String, path: String },
    #[error("{path}: {text} ({})", .status.as_u16())]
    Refused { path: String, status: StatusCode, text: String },
    #[error("the pages of {0} lead back to themselves")]
    EndlessPages(&'static str),
    #[error("the daemon does not say {0}; it may be of another version")]
    Unsaid(&'static str),
}

impl Error {
    /// Whether the daemon answered, and did not do what was asked.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Older { .. } => true,
            Self::Off
            | Self::TokenFile { .. }
            | Self::Token
            | Self::Files(_)
            | Self::Handshake { .. }
            | Self::Runtime(_)
            | Self::Address(_)
            | Self::Connect { .. }
            | Self::Late { .. }
            | Self::Connection { .. }
            | Self::Body(_)
            | Self::NotJson(_)
            | Self::EndlessPages(_)
            | Self::Unsaid(_) => false,
        }
    }
}
