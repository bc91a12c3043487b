//! All the servers of a store: one, or the masters of a cluster.

use super::call::{Call, Reply};
use super::cluster::Cluster;
use super::server::{Fault, Server};

/// Who keeps the keys.
#[derive(Clone)]
pub(super) enum Servers {
    /// One Redis, or the master that sentinels name.
    One(Server),
    /// A Redis Cluster.
    Cluster(Cluster),
}

impl Servers {
    /// Makes one call.
    pub(super) async fn one(&self, call: Call) -> Result<Reply, Fault> {
        let mut replies = self.each(std::slice::from_ref(&call)).await?;
        replies.pop().ok_or_else(|| Fault::Broken("a reply is missing".to_owned()))
    }

    /// Makes the calls one after the other.
    pub(super) async fn in_order(&self, calls: &[Call]) -> Result<Vec<Reply>, Fault> {
        match self {
            Self::One(server) => server.send(calls).await,
            Self::Cluster(cluster) => cluster.in_order(calls).await,
        }
    }

    /// Makes the first calls in any order, and when all are done, the second ones.
    pub(super) async fn in_two_steps(
        &self,
        first: Vec<Call>,
        second: &[Call],
    ) -> Result<Vec<Reply>, Fault> {
        match self {
            Self::One(server) => server.send(&[&first, second].concat()).await,
            Self::Cluster(cluster) => {
                let mut replies = cluster.each(&first).await?;
                replies.extend(cluster.each(second).await?);
                Ok(replies)
            }
        }
    }

    /// Makes the calls in any order, all at once.
    pub(super) async fn each(&self, calls: &[Call]) -> Result<Vec<Reply>, Fault> {
        match self {
            Self::One(server) => server.send(calls).await,
            Self::Cluster(cluster) => cluster.each(calls).await,
        }
    }

    /// The servers that together have every key.
    pub(super) async fn masters(&self) -> Result<Vec<Server>, Fault> {
        match self {
            Self::One(server) => Ok(vec![server.clone()]),
            Self::Cluster(cluster) => cluster.masters().await,
        }
    }
}
