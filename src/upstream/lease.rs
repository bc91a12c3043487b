//! A connection in the hands of one caller, and what becomes of it afterwards.

use std::sync::Arc;

use tokio::time::Instant;

use super::call::{Connection, Failure, Received, Rest};
use super::pool::Pool;

/// A connection in the hands of one caller. Dropped as it came it goes to the next caller; dropped
/// after [`Lease::exchange`] it is closed, unless [`Lease::give_back`] vouched for it.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Pool>,
    connection: Option<Connection>,
    touched: bool,
    waited_for_others: bool,
}

impl Lease {
    pub(super) fn new(pool: Arc<Pool>, connection: Connection) -> Self {
        Self { pool, connection: Some(connection), touched: false, waited_for_others: false }
    }

    pub(super) fn after_waiting_for_others(mut self, waited: bool) -> Self {
        self.waited_for_others = waited;
        self
    }

    /// Whether its caller had to wait until others were done.
    pub(super) fn waited_for_others(&self) -> bool {
        self.waited_for_others
    }

    /// The connection, if the lease was not used yet: nobody took it.
    pub(super) fn into_connection(mut self) -> Option<Connection> {
        self.connection.take()
    }

    /// Whether the connection lay in the pool since it was made.
    pub(super) fn was_pooled(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::was_pooled)
    }

    /// One exchange. From its first byte on the connection counts as dirty.
    pub(super) async fn exchange(
        &mut self,
        message: &[u8],
        by: Instant,
    ) -> Result<Received, Failure> {
        if Instant::now() >= by {
            return Err(Failure::Timeout { sent: false });
        }
        // A lease without a connection was given back already.
        let Some(connection) = &mut self.connection else { return Err(Failure::Unsent) };
        self.touched = true;
        let outcome = connection.exchange(message, by).await;
        let unused = matches!(outcome, Err(Failure::Unsent | Failure::Unasked));
        if !connection.was_pooled() && !unused {
            self.pool.note_success();
        }
        if matches!(outcome, Err(Failure::Unasked) | Ok(Received { rest: Rest::Bytes, .. })) {
            self.pool.distrust();
        }
        outcome
    }

    /// The exchange is complete and nothing is left over: the next caller may have it, if the peer
    /// can be relied on to answer once.
    pub(super) fn give_back(mut self) {
        self.touched = !self.pool.trusts();
        if let Some(connection) = &mut self.connection {
            connection.set_pooled();
        }
    }

    /// The peer accepted the connection and let go of it before a byte was sent: as good as not
    /// accepted.
    pub(super) fn hung_up(self) {
        self.pool.hung_up();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.connection.take() {
            Some(connection) if self.touched => self.pool.discard(connection),
            Some(connection) => self.pool.pass_on(connection),
            None => {}
        }
    }
}
