//! Peers' connections: those that are open, those that ended, and to end one.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::parameter::{NoParameters, Page, Segment, no_cursor};
use crate::admin::Desk;
use crate::admin::answer::{Answer, Moment, Refusal, accepted, found};
use crate::connection::access::Access;
use crate::connection::account::{Account, LastError, Snapshot, Wish};
use crate::connection::registry::Closed;
use crate::domain::Server;

#[derive(Debug, Serialize)]
pub(super) struct Connections {
    connections: Vec<Connection>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ClosedConnections {
    connections: Vec<ClosedConnection>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Connection {
    id: u64,
    peer: String,
    listener: String,
    framing: &'static str,
    tls: Option<&'static str>,
    certificate: Vec<String>,
    entries: Vec<String>,
    servers: Vec<&'static str>,
    since: Moment,
    in_flight: u64,
    requests: u64,
    errors: u64,
    received_bytes: u64,
    sent_bytes: u64,
    last_error: Option<AnsweredError>,
}

#[derive(Debug, Serialize)]
struct ClosedConnection {
    #[serde(flatten)]
    connection: Connection,
    closed_at: Moment,
    reason: &'static str,
}

#[derive(Debug, Serialize)]
struct AnsweredError {
    code: &'static str,
    text: String,
    at: Moment,
}

pub(super) async fn list(State(desk): State<Arc<Desk>>, page: Page) -> Answer<Connections> {
    let after = parse_cursor(page.cursor)?.unwrap_or_default();
    let page = desk.registry.open(after, page.limit);
    let connections =
        page.items.into_iter().map(|seen| Connection::of(seen, &desk.access)).collect();
    found(Connections { connections, next_cursor: page.next.map(|next| next.to_string()) })
}

pub(super) async fn list_closed(
    State(desk): State<Arc<Desk>>,
    page: Page,
) -> Answer<ClosedConnections> {
    let page = desk.registry.closed(parse_cursor(page.cursor)?, page.limit);
    let connections =
        page.items.into_iter().map(|closed| ClosedConnection::of(closed, &desk.access)).collect();
    found(ClosedConnections { connections, next_cursor: page.next.map(|next| next.to_string()) })
}

pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    _: NoParameters,
    Segment(id): Segment,
) -> Answer<Connection> {
    let account = find(&desk, &id)?;
    found(Connection::of(account.snapshot(), &desk.access))
}

/// Its task ends it, after this answer: what has arrived is answered first.
pub(super) async fn close(
    State(desk): State<Arc<Desk>>,
    _: NoParameters,
    Segment(id): Segment,
) -> Answer<Connection> {
    let account = find(&desk, &id)?;
    account.ask(Wish::Close);
    accepted(Connection::of(account.snapshot(), &desk.access))
}

fn parse_cursor(cursor: Option<String>) -> Result<Option<u64>, Refusal> {
    cursor.map(|cursor| cursor.parse().map_err(|_| no_cursor())).transpose()
}

fn find(desk: &Desk, id: &str) -> Result<Arc<Account>, Refusal> {
    let wrong = |_| Refusal::Wrong("a connection's id is a whole number".to_owned());
    let id = id.parse().map_err(wrong)?;
    let missing = || Refusal::Missing("no connection with this id is open".to_owned());
    desk.registry.find(id).ok_or_else(missing)
}

impl Connection {
    fn of(seen: Snapshot, access: &Access) -> Self {
        let (entries, servers) = access.standing(seen.caller());
        let names = seen.secured.iter().flat_map(|secured| &secured.names);
        Self {
            tls: seen.secured.as_ref().map(|secured| secured.version),
            certificate: names.map(ToString::to_string).collect(),
            entries,
            servers: servers.each().map(Server::name).collect(),
            id: seen.id,
            peer: seen.origin.peer.to_string(),
            listener: seen.origin.listener.to_string(),
            framing: seen.origin.framing.name(),
            since: Moment(seen.since),
            in_flight: seen.in_flight,
            requests: seen.requests,
            errors: seen.errors,
            received_bytes: seen.received_bytes,
            sent_bytes: seen.sent_bytes,
            last_error: seen.last_error.map(|error| AnsweredError::of(*error)),
        }
    }
}

impl ClosedConnection {
    fn of(closed: Closed, access: &Access) -> Self {
        Self {
            connection: Connection::of(closed.last, access),
            closed_at: Moment(closed.closed_at),
            reason: closed.reason.name(),
        }
    }
}

impl AnsweredError {
    fn of(error: LastError) -> Self {
        Self { code: error.code.code(), text: error.text, at: Moment(error.at) }
    }
}
