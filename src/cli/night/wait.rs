//! Following a delivery to its end.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::NIGHT;
use crate::cli::api::{Daemon, Error};
use crate::cli::output;
use crate::log::chain;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How a delivery stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Auth has acknowledged everything.
    Complete,
    /// These days are not wholly delivered.
    Owed(Vec<u64>),
}

/// Looks until nothing is owed, or until the time is over. A daemon that can't be asked may be on its
/// way back, since a delivery survives a restart; only when the time is over is that an error.
pub(super) async fn until_delivered(daemon: &Daemon, within: Duration) -> Result<Delivery, Error> {
    let deadline = Instant::now() + within;
    let mut told = String::new();
    loop {
        let looked = look(daemon).await;
        let is_over = Instant::now() + LOOK_EVERY > deadline;
        match looked {
            Ok(Delivery::Complete) => return Ok(Delivery::Complete),
            Err(error) if is_over || error.is_refusal() => return Err(error),
            Ok(owed) if is_over => return Ok(owed),
            Ok(Delivery::Owed(_)) => {}
            Err(error) => tell(&mut told, chain(&error).to_string()),
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The same trouble is told once.
fn tell(told: &mut String, trouble: String) {
    if *told != trouble {
        output::complain(&trouble);
        *told = trouble;
    }
}

async fn look(daemon: &Daemon) -> Result<Delivery, Error> {
    let night = daemon.get(NIGHT).await?;
    let undelivered = night.part().get("undelivered");
    if !undelivered.is_there() {
        return Err(Error::Unsaid("what is undelivered"));
    }
    let days: Vec<_> = undelivered.items().filter_map(|day| day.get("day").number()).collect();
    Ok(if days.is_empty() { Delivery::Complete } else { Delivery::Owed(days) })
}
