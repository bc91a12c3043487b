//! Turns: what one connection said about one user reaches the peers one after the other.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::{DefaultHashBuilder, HashMap};
use tokio::sync::oneshot;
use tokio::time::{Instant, error::Elapsed, timeout_at};

use crate::domain::UserId;

/// Room for so many users is kept while none of them has a turn.
const IDLE_USERS: usize = 64;

/// A place in the order. The next in line may go when this one is dropped *and* everything before
/// it is done: a turn that is given up early does not let its successor overtake.
#[derive(Debug, Default)]
pub struct Turn {
    before: Option<Link>,
    place: Option<Place>,
}

/// The turns of one connection. It knows users by a hash: two that share one wait for each other,
/// which does no harm.
#[derive(Debug, Default)]
pub struct Turns {
    hasher: DefaultHashBuilder,
    latest: Arc<Latest>,
    /// Of the turn made last.
    number: u64,
}

/// Where a turn stands among those of its connection.
#[derive(Debug)]
struct Place {
    latest: Arc<Latest>,
    user: u64,
    number: u64,
    done: oneshot::Sender<Before>,
}

/// The way to a turn from the one after it.
#[derive(Debug)]
struct Link {
    number: u64,
    /// Resolves when that turn is dropped, to what it had not waited for.
    done: oneshot::Receiver<Before>,
}

#[derive(Debug)]
struct Before(Option<Link>);

/// The latest turn of each user of whom one is not over, and of nobody else: what a connection keeps
/// here is bounded by its requests in flight and its room-outs in the queue.
#[derive(Debug, Default)]
struct Latest(Mutex<HashMap<u64, Link>>);

impl Turn {
    /// A turn that follows nothing and that nothing follows.
    pub fn alone() -> Self {
        Self::default()
    }

    /// Waits until everything before it is done. May be cancelled and called again.
    pub async fn wait(&mut self, deadline: Instant) -> Result<(), Elapsed> {
        while let Some(link) = &mut self.before {
            self.before =
                timeout_at(deadline, &mut link.done).await?.ok().and_then(|Before(link)| link);
        }
        Ok(())
    }

    /// Whether everything before it is done.
    pub fn has_come(&mut self) -> bool {
        while let Some(link) = &mut self.before {
            match link.done.try_recv() {
                Ok(Before(link)) => self.before = link,
                Err(oneshot::error::TryRecvError::Closed) => self.before = None,
                Err(oneshot::error::TryRecvError::Empty) => return false,
            }
        }
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(Place { latest, user, number, done }) = self.place.take() else { return };
        let mut latest = latest.lock();
        // Under the lock, since a turn before that ends now would be told of to nobody else.
        self.has_come();
        let before = self.before.take();
        let is_latest = latest.get(&user).is_some_and(|link| link.number == number);
        match before {
            // Whoever comes next waits for what this one did not wait for.
            Some(before) if is_latest => drop(latest.insert(user, before)),
            None if is_latest => {
                latest.remove(&user);
                if latest.is_empty() && latest.capacity() > IDLE_USERS {
                    latest.shrink_to(IDLE_USERS);
                }
            }
            // The next in line may be gone; then nobody has to be told.
            before @ (Some(_) | None) => drop(done.send(Before(before))),
        }
    }
}

impl Turns {
    /// The next turn of this user.
    pub fn next(&mut self, user: &UserId) -> Turn {
        self.number += 1;
        let (number, user) = (self.number, self.hasher.hash_one(user));
        let (sender, done) = oneshot::channel();
        let before = self.latest.lock().insert(user, Link { number, done });
        let place = Place { latest: Arc::clone(&self.latest), user, number, done: sender };
        let mut turn = Turn { before, place: Some(place) };
        turn.has_come();
        turn
    }
}

impl Latest {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Link>> {
        // No operation on it panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    #[tokio::test]
    async fn a_turn_comes_when_the_one_before_is_dropped() {
        let mut turns = Turns::default();
        let mut first = turns.next(&user("u1"));
        let mut second = turns.next(&user("u1"));
        let mut other = turns.next(&user("u2"));
        assert!(first.has_come());
        assert!(other.has_come());
        assert!(!second.has_come());
        drop(first);
        second.wait(Instant::now() + Duration::from_secs(60)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_given_up_early_lets_nobody_overtake() {
        let mut turns = Turns::default();
        let first = turns.next(&user("u1"));
        let second = turns.next(&user("u1"));
        let third = turns.next(&user("u1"));
        let mut fourth = turns.next(&user("u1"));
        drop(third);
        drop(second);
        assert!(!fourth.has_come());
        fourth.wait(Instant::now() + Duration::from_secs(1)).await.unwrap_err();
        drop(first);
        fourth.wait(Instant::now() + Duration::from_secs(1)).await.unwrap();
    }

    #[tokio::test]
    async fn after_a_turn_given_up_early_nobody_is_remembered_either() {
        let mut turns = Turns::default();
        let first = turns.next(&user("u1"));
        drop(turns.next(&user("u1")));
        let mut third = turns.next(&user("u1"));
        assert!(!third.has_come());
        drop(first);
        assert!(third.has_come());
        drop(third);
        assert!(turns.latest.lock().is_empty());
    }

    #[test]
    fn users_whose_turns_are_over_are_forgotten_though_no_other_comes() {
        let mut turns = Turns::default();
        let held = turns.next(&user("held"));
        let many: Vec<Turn> =
            (0..10_000).map(|number| turns.next(&user(&number.to_string()))).collect();
        assert_eq!(turns.latest.lock().len(), 10_001);
        drop(many);
        assert_eq!(turns.latest.lock().len(), 1);
        assert!(!turns.next(&user("held")).has_come());
        drop(held);
        let latest = turns.latest.lock();
        assert!(latest.is_empty() && latest.capacity() <= 2 * IDLE_USERS);
    }
}
