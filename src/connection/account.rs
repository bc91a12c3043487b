//! What is known of one connection while it lasts: kept by its task, read by operators.

use std::fmt::{self, Display, Write};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context as TaskContext, Poll};

use futures_util::task::AtomicWaker;

use super::access::Caller;
use super::frame::Framing;
use crate::domain::UnixMillis;
use crate::error::Code;
use crate::tls::Names;

/// So many bytes of an error's text are kept.
const ERROR_BYTES_MAX: usize = 160;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The peer.
    pub peer: SocketAddr,
    /// The listener's own address.
    pub listener: SocketAddr,
    /// What is spoken there.
    pub framing: Framing,
    /// Whether the peer is [near](super::access::is_near).
    pub is_near: bool,
}

/// What a handshake established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secured {
    /// The version of TLS: `TLSv1_3`.
    pub version: &'static str,
    /// Whom the peer's certificate names; none if it showed none.
    pub names: Names,
}

/// One connection's account. Its task is the only one that writes the figures.
#[derive(Debug)]
pub struct Account {
    /// Unique while the daemon runs; a later connection has a higher one.
    pub id: u64,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was let in.
    pub since: UnixMillis,
    /// Requests that were read and not answered.
    pub in_flight: Tally,
    /// Requests that were read, good and bad.
    pub requests: Tally,
    /// Requests that were answered with an error.
    pub errors: Tally,
    /// Bytes that the peer sent.
    pub received_bytes: Tally,
    /// Bytes that the peer was sent.
    pub sent_bytes: Tally,
    last_error: Mutex<Option<Box<LastError>>>,
    /// Set once, if there is TLS and hands were shaken.
    secured: OnceLock<Arc<Secured>>,
    /// A [`Wish`]; it only grows.
    wish: AtomicU8,
    task: AtomicWaker,
}

/// What is wanted of a connection from outside. A later one goes beyond those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// That it goes on.
    Nothing,
    /// That it ends with what was said: the daemon stops.
    Stop,
    /// The same for itself, and not to wait long for a peer that does not read: an operator closes
    /// it.
    Close,
}

/// A figure that one task keeps and others read. As nobody else writes it, counting is a load and a
/// store, which cost nothing beyond the memory they touch.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

/// The latest error that a peer was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// Its code.
    pub code: Code,
    /// What the peer read besides, cut where it gets long.
    pub text: String,
    /// When.
    pub at: UnixMillis,
}

/// An account at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// [`Account::id`]
    pub id: u64,
    /// [`Account::origin`]
    pub origin: Origin,
    /// [`Account::since`]
    pub since: UnixMillis,
    /// [`Account::in_flight`]
    pub in_flight: u64,
    /// [`Account::requests`]
    pub requests: u64,
    /// [`Account::errors`]
    pub errors: u64,
    /// [`Account::received_bytes`]
    pub received_bytes: u64,
    /// [`Account::sent_bytes`]
    pub sent_bytes: u64,
    /// What TLS established, if there is any.
    pub secured: Option<Arc<Secured>>,
    /// The latest error the peer was answered, if there was one.
    pub last_error: Option<Box<LastError>>,
}

impl Origin {
    /// Who the peer is, before anything else is known of it.
    pub fn caller(&self) -> Caller<'static> {
        self.caller_with(None)
    }

    fn caller_with<'a>(&self, secured: Option<&'a Secured>) -> Caller<'a> {
        let address = self.peer.ip().to_canonical();
        let names = secured.map_or(&[][..], |secured| &secured.names);
        Caller { address, is_near: self.is_near, names }
    }
}

impl Snapshot {
    /// Who the peer is.
    pub fn caller(&self) -> Caller<'_> {
        self.origin.caller_with(self.secured.as_deref())
    }
}

impl Tally {
    /// So many more.
    pub fn add(&self, more: usize) {
        self.0.store(self.get().wrapping_add(more as u64), Ordering::Relaxed);
    }

    /// So many now.
    pub fn set(&self, now: usize) {
        self.0.store(now as u64, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Account {
    /// Of a connection that was let in just now.
    pub fn new(id: u64, origin: Origin) -> Self {
        Self {
            id,
            origin,
            since: UnixMillis::now(),
            in_flight: Tally::default(),
            requests: Tally::default(),
            errors: Tally::default(),
            received_bytes: Tally::default(),
            sent_bytes: Tally::default(),
            last_error: Mutex::default(),
            secured: OnceLock::new(),
            wish: AtomicU8::new(Wish::Nothing as u8),
            task: AtomicWaker::new(),
        }
    }

    /// Who the peer is.
    pub fn caller(&self) -> Caller<'_> {
        self.origin.caller_with(self.secured.get().map(|secured| &**secured))
    }

    /// Hands were shaken. Nothing changes that afterwards.
    pub(super) fn secure(&self, secured: Arc<Secured>) {
        // There is one handshake.
        let _first = self.secured.set(secured);
    }

    /// Anything that is wanted of it, once something is. Only its own task asks.
    pub(super) async fn wished(&self) -> Wish {
        poll_fn(|task| self.poll_wish(Wish::Nothing, task)).await
    }

    /// The peer is answered with this error.
    pub fn note_error(&self, code: Code, error: &impl Display) {
        self.errors.add(1);
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.get_or_insert_with(|| Box::new(LastError::blank()));
        last.code = code;
        last.at = UnixMillis::now();
        last.text.clear();
        // It ends with an error where the text is cut.
        let _cut: fmt::Result = write!(Bounded { text: &mut last.text }, "{error}");
    }

    /// Tells its task what is wanted of the connection. To tell it again changes nothing.
    pub fn ask(&self, wish: Wish) {
        self.wish.fetch_max(wish as u8, Ordering::AcqRel);
        self.task.wake();
    }

    /// Ready once more is wanted than what was `heeded`. Only its own task asks.
    pub(super) fn poll_wish(&self, heeded: Wish, task: &TaskContext<'_>) -> Poll<Wish> {
        if self.wish() <= heeded {
            self.task.register(task.waker());
        }
        // It may have come while the task was registered.
        match self.wish() {
            wish if wish > heeded => Poll::Ready(wish),
            Wish::Nothing | Wish::Stop | Wish::Close => Poll::Pending,
        }
    }

    fn wish(&self) -> Wish {
        let wish = self.wish.load(Ordering::Acquire);
        let known = [Wish::Stop, Wish::Close].into_iter().find(|known| *known as u8 == wish);
        known.unwrap_or(Wish::Nothing)
    }

    /// As it stands now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            id: self.id,
            origin: self.origin,
            since: self.since,
            in_flight: self.in_flight.get(),
            requests: self.requests.get(),
            errors: self.errors.get(),
            received_bytes: self.received_bytes.get(),
            sent_bytes: self.sent_bytes.get(),
            secured: self.secured.get().cloned(),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl LastError {
    fn blank() -> Self {
        Self { code: Code::UnknownServerError, text: String::new(), at: UnixMillis(0) }
    }
}

/// Takes text up to the limit, and nothing after what it cut.
struct Bounded<'a> {
    text: &'a mut String,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let fits = more.floor_char_boundary(ERROR_BYTES_MAX.saturating_sub(self.text.len()));
        let (taken, cut) = more.split_at(fits);
        self.text.push_str(taken);
        if cut.is_empty() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let framing = Framing::Lf;
        Account::new(1, Origin { peer: address, listener: address, framing, is_near: true })
    }

    #[test]
    fn an_account_is_small() {
        assert!(size_of::<Account>() <= 208, "{} bytes", size_of::<Account>());
        assert!(size_of::<Snapshot>() <= 144, "{} bytes", size_of::<Snapshot>());
    }

    #[test]
    fn the_text_of_an_error_is_cut_between_two_characters() {
        let account = account();
        account.note_error(Code::InvalidMessageFormat, &"가".repeat(100));
        let last = account.snapshot().last_error.unwrap();
        assert_eq!(last.text, "가".repeat(ERROR_BYTES_MAX / 3));
        account.note_error(Code::UserNotFound, &"short");
        let snapshot = account.snapshot();
        let last = snapshot.last_error.unwrap();
        assert_eq!((last.code, &*last.text), (Code::UserNotFound, "short"));
        assert_eq!(snapshot.errors, 2);
    }
}
