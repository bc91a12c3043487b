//! Request → handler → reply: the whole table in one match. Only here do errors become replies and
//! log lines.

use std::hash::{BuildHasher, Hash};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hashbrown::DefaultHashBuilder;
use tracing::field::display;

use super::access::Identity;
use super::frame::{BrokenFraming, Framing, PayloadTooLong};
use super::request::{self, Request};
use crate::domain::{self, Call, Context, Reply, SessionId, UserId};
use crate::domain::{auth, chat, room, scheduling, signaling};
use crate::error::Code;
use crate::log::chain;
use crate::metrics::requests::Kind;
use crate::store::Key;
use crate::throttle::{Cause, admits};

/// Why a request is answered with an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message is wrong.
    #[error(transparent)]
    Request(#[from] request::Error),
    /// The stream is wrong from here on.
    #[error(transparent)]
    Framing(#[from] BrokenFraming),
    /// What was asked could not be done.
    #[error(transparent)]
    Domain(#[from] domain::Failure),
    /// The peer may not speak for this service.
    #[error("this peer may not speak for `{server}`")]
    Denied {
        /// The service.
        server: &'static str,
        /// Who it is that may not.
        #[source]
        who: Box<Identity>,
    },
    /// It was not done in time; it may still be done.
    #[error("not done within {0:?}; it may still take effect")]
    Late(Duration),
    /// Requests that were answered for being late are still worked on, as many as may be.
    #[error("too many requests are still worked on whose time is over")]
    Crowded,
    /// What it is answered is too much for the listener's framing.
    #[error("the answer can't be said")]
    Unsayable(#[source] PayloadTooLong),
}

impl Error {
    /// The code that the peer reads.
    pub fn code(&self) -> Code {
        match self {
            Self::Request(_) | Self::Framing(_) => Code::InvalidMessageFormat,
            Self::Domain(failure) => failure.why.code(),
            Self::Denied { .. } => Code::InvalidToken,
            Self::Late(_) | Self::Crowded | Self::Unsayable(_) => Code::UnknownServerError,
        }
    }

    /// Whom the request was about, where that is known.
    fn user(&self) -> Option<&UserId> {
        match self {
            Self::Domain(failure) => failure.user.as_ref(),
            Self::Request(_)
            | Self::Framing(_)
            | Self::Denied { .. }
            | Self::Late(_)
            | Self::Crowded
            | Self::Unsayable(_) => None,
        }
    }

    /// The entry of `[[peers]]` that does not allow it.
    fn entry(&self) -> Option<&str> {
        match self {
            Self::Denied { who, .. } => Some(who.entry()),
            Self::Request(_)
            | Self::Framing(_)
            | Self::Domain(_)
            | Self::Late(_)
            | Self::Crowded
            | Self::Unsayable(_) => None,
        }
    }
}

/// Whose request is answered.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Who asks.
    pub peer: SocketAddr,
    /// What.
    pub kind: Kind,
}

/// What a request is answered.
pub type Answer = Result<Reply, Error>;

/// Does what the request asks, and gives back what it was lent for it.
pub async fn answer(request: Request, context: Arc<Context>, call: Call) -> (Answer, Arc<Context>) {
    let reply = match request {
        Request::Chat(request) => chat::handle(request, &context).await,
        Request::Signaling(request) => signaling::handle(request, &context, call).await,
        Request::Scheduling(request) => scheduling::handle(request, &context).await,
        Request::Auth(request) => auth::handle(request, &context).await,
        Request::Room(request) => room::handle(request, &context, call).await,
    };
    (reply.map_err(Error::from), context)
}

/// What the peer reads.
#[derive(Debug)]
pub enum Said {
    /// The answer.
    Answer,
    /// This, as the framing can't carry the answer.
    Instead(Error),
}

/// Appends the frame that answers. An answer that the framing can't carry becomes a CHAT-031
/// without detail (contract §8); an error there means that not even that fits.
pub fn put_answer(
    answer: &Answer,
    asked: Asked,
    framing: Framing,
    out: &mut BytesMut,
) -> Result<Said, PayloadTooLong> {
    let put = match answer {
        Ok(reply) => framing.put_with(out, |out| reply.put(out)),
        Err(error) => {
            log(error, asked);
            put_error(error, framing, out)
        }
    };
    let Err(too_long) = put else { return Ok(Said::Answer) };
    let error = Error::Unsayable(too_long);
    log(&error, asked);
    framing.put_with(out, |out| error.code().put("", out))?;
    Ok(Said::Instead(error))
}

/// An error whose detail the framing can't carry goes without.
fn put_error(error: &Error, framing: Framing, out: &mut BytesMut) -> Result<(), PayloadTooLong> {
    let code = error.code();
    framing
        .put_with(out, |out| code.put(&error.to_string(), out))
        .or_else(|_| framing.put_with(out, |out| code.put("", out)))
}

/// What of the state a request touches, by which two requests of one connection are told apart.
/// Different things may share a hash: two requests then keep an order that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touches {
    /// Nothing that the store keeps.
    Nothing,
    /// One user, and perhaps one session.
    Some([u64; 2]),
    /// Users that are not known yet, or many.
    Everything,
}

impl Touches {
    /// What the request touches.
    pub fn of(request: &Request, hasher: &DefaultHashBuilder) -> Self {
        let user = |user: &UserId| [key(hasher, 0, user), key(hasher, 0, user)];
        match request {
            Request::Chat(chat::Request::Subscribe { user, session, room: _ }) => {
                Self::Some([key(hasher, 0, user), key(hasher, 1, session)])
            }
            // Whose session it is, only the store knows.
            Request::Chat(chat::Request::Unsubscribe { .. }) => Self::Everything,
            Request::Chat(chat::Request::Ignored) | Request::Room(_) => Self::Nothing,
            Request::Signaling(
                signaling::Request::StudyTimeFrom { user: id }
                | signaling::Request::StudyTimeTo { user: id, .. },
            )
            | Request::Auth(auth::Request::StudyTimeFrom { user: id }) => Self::Some(user(id)),
            Request::Scheduling(scheduling::Request { .. }) => Self::Everything,
        }
    }

    /// What the end of a session touches, if it is known whose it is: by an earlier request that opens
    /// it, or by the store.
    ///
    /// The store may be mistaken if another daemon has given the session to another user meanwhile. Then
    /// its end may come before or after what else is asked about that user here: what is stored is the same
    /// in both orders, and what is answered tells of one of them.
    pub fn of_end(
        session: &SessionId,
        mut earlier: impl Iterator<Item = Self>,
        guess: impl FnOnce() -> Option<UserId>,
        hasher: &DefaultHashBuilder,
    ) -> Self {
        let session = key(hasher, 1, session);
        let opened = earlier.find_map(|touches| match touches {
            Self::Some([user, of]) if of == session => Some(user),
            Self::Some(_) | Self::Nothing | Self::Everything => None,
        });
        let guessed = guess().map(|user| key(hasher, 0, &user));
        match (opened, guessed) {
            // Until it is opened it is somebody else's, and opening it may fail.
            (Some(user), Some(other)) if user != other => Self::Everything,
            (Some(user), _) | (None, Some(user)) => Self::Some([user, session]),
            (None, None) => Self::Everything,
        }
    }

    /// Whether the two must not be worked on at once.
    pub fn conflicts_with(self, other: Self) -> bool {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => false,
            (Self::Everything, _) | (_, Self::Everything) => true,
            (Self::Some(mine), Self::Some(theirs)) => mine.iter().any(|key| theirs.contains(key)),
        }
    }
}

/// What the request looks up in the store, but for lists.
pub fn keys(request: &Request) -> impl Iterator<Item = Key<'_>> {
    let (user, session) = match request {
        Request::Chat(chat::Request::Subscribe { user, session, room: _ }) => {
            (Some(user), Some(session))
        }
        Request::Chat(chat::Request::Unsubscribe { session }) => (None, Some(session)),
        Request::Signaling(
            signaling::Request::StudyTimeFrom { user }
            | signaling::Request::StudyTimeTo { user, .. },
        )
        | Request::Auth(auth::Request::StudyTimeFrom { user }) => (Some(user), None),
        Request::Chat(chat::Request::Ignored)
        | Request::Room(_)
        | Request::Scheduling(scheduling::Request { .. }) => (None, None),
    };
    user.map(Key::User).into_iter().chain(session.map(Key::Session))
}

fn key(hasher: &DefaultHashBuilder, kind: u8, id: impl Hash) -> u64 {
    hasher.hash_one((kind, id))
}

/// The user about whom a request may make the daemon tell another service.
pub fn forwards_about(request: &Request) -> Option<&UserId> {
    match request {
        Request::Signaling(signaling::Request::StudyTimeTo { user, .. })
        | Request::Room(room::Request { user, .. }) => Some(user),
        Request::Signaling(signaling::Request::StudyTimeFrom { .. })
        | Request::Chat(_)
        | Request::Scheduling(_)
        | Request::Auth(_) => None,
    }
}

/// One line for each error that a peer is answered, unless there are too many with this code.
/// An unknown session is everyday life: whoever asks for such lines gets all of them.
fn log(error: &Error, asked: Asked) {
    let code = error.code();
    if code != Code::UserNotFound && !admits(Cause::Answered(code)) {
        return;
    }
    let Asked { peer, kind } = asked;
    let (server, kind) = (kind.server(), kind.type_name());
    let user = error.user().map(display);
    let (code, why) = (code.code(), chain(error));
    match error.code() {
        Code::UserNotFound => tracing::debug!(
            %peer, server, "type" = kind, code, user.id = user, "{server} {kind} answered {code}: {why}"
        ),
        Code::InvalidMessageFormat => tracing::info!(
            %peer, server, "type" = kind, code, user.id = user, "{server} {kind} answered {code}: {why}"
        ),
        Code::InvalidToken => tracing::warn!(
            %peer, server, "type" = kind, code, entry = error.entry(),
            "{server} {kind} answered {code}: {why}"
        ),
        Code::MessageNotDelivered
        | Code::TcpConnectionFailed
        | Code::TcpBindFailed
        | Code::TcpTimeout
        | Code::UnknownServerError => tracing::warn!(
            %peer, server, "type" = kind, code, user.id = user, "{server} {kind} answered {code}: {why}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    #[test]
    fn the_end_of_a_session_waits_for_whoever_has_it_and_for_everybody_if_nobody_knows() {
        let hasher = DefaultHashBuilder::default();
        let session = SessionId::parse("s1").unwrap();
        let open = |user: &str, session: &str| {
            let (user, session) =
                (UserId::parse(user).unwrap(), SessionId::parse(session).unwrap());
            let request = chat::Request::Subscribe { user, room: None, session };
            Touches::of(&Request::Chat(request), &hasher)
        };
        let read = |id: &str| {
            let request = auth::Request::StudyTimeFrom { user: user(id) };
            Touches::of(&Request::Auth(request), &hasher)
        };
        let end = |earlier: &[Touches], guess: Option<&str>| {
            Touches::of_end(&session, earlier.iter().copied(), || guess.map(user), &hasher)
        };
        let unknown = end(&[open("u2", "s2"), read("u1")], None);
        assert!(unknown.conflicts_with(read("u2")));
        let guessed = end(&[open("u2", "s2")], Some("u1"));
        assert!(guessed.conflicts_with(read("u1")) && guessed.conflicts_with(open("u3", "s1")));
        assert!(!guessed.conflicts_with(read("u2")));
        let opened = end(&[open("u3", "s1"), open("u2", "s2")], None);
        assert!(opened.conflicts_with(read("u3")) && !opened.conflicts_with(read("u2")));
        let passing = end(&[open("u3", "s1")], Some("u1"));
        assert!(passing.conflicts_with(read("u1")) && passing.conflicts_with(read("u4")));
    }
}
