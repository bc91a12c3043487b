//! All the servers of a store: one, or the masters of a cluster.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use redis::Value;

use super::call::{Call, Reply};
use super::cluster::Cluster;
use super::departures::Departures;
use super::server::{Fault, Server};
use super::slots::Holding;
use super::{refusal, unreached};
use crate::store::{Error, Result as StoreResult};

/// Who keeps the keys. The ways through a cluster are boxed: they are long, and every operation would make
/// room for them, and be moved with it.
#[derive(Clone)]
pub(super) enum Servers {
    /// One Redis, or the master that sentinels name.
    One(Departures),
    /// A Redis Cluster.
    Cluster(Cluster),
}

/// A number for what may be told apart by it, in this process.
pub(super) fn mark_of(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Where all keys lie at one moment. If it is the same at a later one, no key has moved between.
pub(super) struct Layout {
    /// The servers that together have every key.
    pub(super) servers: Vec<Server>,
    connections: Vec<u64>,
    /// What each of a cluster's servers holds.
    holdings: Vec<Holding>,
}

impl Servers {
    /// Whether one script may be about keys of several users and sessions.
    pub(super) fn are_one(&self) -> bool {
        match self {
            Self::One(one) => !one.server().has_slots(),
            Self::Cluster(_) => false,
        }
    }

    /// Makes one call.
    pub(super) async fn one(&self, call: Call) -> Result<Reply, Fault> {
        let mut replies = self.each(vec![call]).await?;
        replies.pop().ok_or_else(|| Fault::Broken("a reply is missing".to_owned()))
    }

    /// Makes one call on a key of our own, which is about no single user: if something else lies
    /// there, no record is unreadable, the store is of no use.
    pub(super) async fn own(&self, call: Call) -> StoreResult<Value> {
        let key = call.key().to_owned();
        let reply = self.one(call).await.map_err(unreached)?;
        reply.map_err(|error| match refusal(error) {
            Error::Unreadable(_) => Error::Failed(format!("`{key}` is another program's")),
            error @ (Error::Away(_) | Error::Slow(_) | Error::Failed(_)) => error,
        })
    }

    /// Makes the calls one after the other.
    pub(super) async fn in_order(&self, calls: Vec<Call>) -> Result<Vec<Reply>, Fault> {
        match self {
            Self::One(server) => server.send(calls).await,
            Self::Cluster(cluster) => Box::pin(cluster.in_order(&calls)).await,
        }
    }

    /// Makes the calls one after the other, and `beside` with the last of them. What becomes of
    /// that one is no fault: there is no reply to it then.
    pub(super) async fn in_order_beside(
        &self,
        mut calls: Vec<Call>,
        beside: Call,
    ) -> Result<(Vec<Reply>, Option<Reply>), Fault> {
        match self {
            Self::One(server) => {
                calls.push(beside);
                let mut replies = server.send(calls).await?;
                let last = replies.pop();
                Ok((replies, last))
            }
            Self::Cluster(cluster) => Box::pin(cluster.in_order_beside(&calls, &beside)).await,
        }
    }

    /// Makes the first calls in any order, and when all are done, the second ones.
    pub(super) async fn in_two_steps(
        &self,
        mut first: Vec<Call>,
        mut second: Vec<Call>,
    ) -> Result<Vec<Reply>, Fault> {
        match self {
            Self::One(server) => {
                first.append(&mut second);
                server.send(first).await
            }
            Self::Cluster(cluster) => {
                let mut replies = Box::pin(cluster.each(&first)).await?;
                let second = Box::pin(cluster.each(&second)).await;
                replies.extend(second.map_err(Fault::midway)?);
                Ok(replies)
            }
        }
    }

    /// Makes the calls in any order, all at once.
    pub(super) async fn each(&self, calls: Vec<Call>) -> Result<Vec<Reply>, Fault> {
        match self {
            Self::One(server) => server.send(calls).await,
            Self::Cluster(cluster) => Box::pin(cluster.each(&calls)).await,
        }
    }

    /// The servers that together have every key, and a mark that these have alone, with the slots
    /// and the connections they have now.
    pub(super) async fn survey(&self) -> Result<(Vec<Server>, u64), Fault> {
        let (servers, slots) = match self {
            Self::One(one) => (vec![one.server().clone()], 0),
            Self::Cluster(cluster) => cluster.survey().await?,
        };
        for server in &servers {
            server.connected().await?;
        }
        let connections: Vec<_> = servers.iter().map(Server::connection_number).collect();
        let mark = mark_of(&(slots, connections));
        Ok((servers, mark))
    }

    /// A key on each server that has keys, which begins with `prefix`.
    pub(super) async fn key_on_each(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        match self {
            Self::One(_) => Ok(vec![prefix.to_owned()]),
            Self::Cluster(cluster) => cluster.key_on_each(prefix).await,
        }
    }

    /// Where all keys lie.
    pub(super) async fn layout(&self) -> Result<Layout, Fault> {
        match self {
            Self::One(one) => Layout::of(vec![one.server().clone()], Vec::new()),
            Self::Cluster(cluster) => cluster.layout().await,
        }
    }
}

impl Layout {
    /// Fails if a server is not connected to.
    pub(super) fn of(servers: Vec<Server>, holdings: Vec<Holding>) -> Result<Self, Fault> {
        let numbers = servers.iter().map(Server::connection_number);
        let connections = numbers
            .collect::<Option<_>>()
            .ok_or_else(|| Fault::Away("a server is not connected to".to_owned()))?;
        Ok(Self { servers, connections, holdings })
    }

    /// A number that is the same for this layout only, in this process.
    pub(super) fn mark(&self) -> u64 {
        mark_of(&(self.servers.len(), &self.connections, &self.holdings))
    }

    /// Whether everything is as it was: the same processes and the same slots on each.
    pub(super) fn is_as(&self, then: &Self) -> bool {
        self.servers.len() == then.servers.len()
            && self.servers.iter().zip(&then.servers).all(|(now, then)| now.is_same(then))
            && self.connections == then.connections
            && self.holdings == then.holdings
    }
}
