//! The calls of a list, sorted by the server of a cluster that gets them.

use super::call::Call;
use super::cluster::Cluster;
use super::server::{Fault, Server};
use super::slots::slot_of;

/// The calls of a list that one server gets, and where in the list they stood.
pub(super) struct Share {
    pub(super) server: Server,
    pub(super) places: Vec<usize>,
    pub(super) calls: Vec<Call>,
}

/// Every server's share.
pub(super) async fn shares(cluster: &Cluster, calls: &[Call]) -> Result<Vec<Share>, Fault> {
    let mut shares: Vec<Share> = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        let server = cluster.master_of(slot_of(call.key().as_bytes())).await?;
        let share = shares.iter_mut().find(|share| share.server.is_same(&server));
        match share {
            Some(share) => share.take(place, call),
            None => shares.push(Share { server, places: vec![place], calls: vec![call.clone()] }),
        }
    }
    Ok(shares)
}

impl Share {
    fn take(&mut self, place: usize, call: &Call) {
        self.places.push(place);
        self.calls.push(call.clone());
    }
}
