//! How many there are of everything.

use serde::Serialize;

use super::asking;
use crate::admin::Desk;
use crate::admin::answer::{Moment, Refusal};
use crate::store::StateStore;

#[derive(Debug, Serialize)]
pub(super) struct Population {
    users: u64,
    sessions_live: u64,
    rooms: u64,
    as_of: Moment,
}

/// `None` if nobody has counted yet.
pub(super) async fn ask(desk: &Desk) -> Result<Option<Population>, Refusal> {
    let counted = asking::ask(desk.context.store.population()).await?;
    Ok(counted.map(|counted| Population {
        users: counted.users,
        sessions_live: counted.sessions_live,
        rooms: counted.rooms,
        as_of: Moment(counted.as_of),
    }))
}
