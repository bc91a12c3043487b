//! Turns: what one connection said about one user reaches the peers one after the other.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::hash_map::Entry;
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
    chains: Arc<Chains>,
    /// Of the turn made last.
    number: u64,
}

/// Where a turn stands among those of its connection.
#[derive(Debug)]
struct Place {
    chains: Arc<Chains>,
    user: u64,
    number: u64,
}

/// The way to a turn from the one after it. Resolves when that turn is dropped, to what it had not
/// waited for.
type Link = oneshot::Receiver<Before>;

#[derive(Debug)]
struct Before(Option<Link>);

/// The turns of one user that are not over. Most stand alone, and cost no allocation.
#[derive(Debug)]
struct Chain {
    /// The turn made last.
    latest: u64,
    latest_is_over: bool,
    /// What that one had not waited for then.
    left: Option<Link>,
    /// Who is to be told of the end of which turn, the oldest first.
    followed: VecDeque<(u64, oneshot::Sender<Before>)>,
}

/// The chains of those users of whom a turn is not over, and of nobody else: what a connection keeps
/// here is bounded by its requests in flight and its room-outs in the queue.
#[derive(Debug, Default)]
struct Chains(Mutex<HashMap<u64, Chain>>);

impl Turn {
    /// A turn that follows nothing and that nothing follows.
    pub fn alone() -> Self {
        Self::default()
    }

    /// Waits until everything before it is done. May be cancelled and called again.
    pub async fn wait(&mut self, deadline: Instant) -> Result<(), Elapsed> {
        while let Some(link) = &mut self.before {
            self.before =
                timeout_at(deadline, &mut *link).await?.ok().and_then(|Before(link)| link);
        }
        Ok(())
    }

    /// Whether everything before it is done.
    pub fn has_come(&mut self) -> bool {
        follow_up(&mut self.before);
        self.before.is_none()
    }
}

/// Goes on to what those before had not waited for, as far as they are over.
fn follow_up(link: &mut Option<Link>) {
    while let Some(before) = link {
        match before.try_recv() {
            Ok(Before(earlier)) => *link = earlier,
            Err(oneshot::error::TryRecvError::Closed) => *link = None,
            Err(oneshot::error::TryRecvError::Empty) => return,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(Place { chains, user, number }) = self.place.take() else { return };
        let mut chains = chains.lock();
        // Under the lock, since a turn before that ends now would be told of to nobody else.
        self.has_come();
        let before = self.before.take();
        let Some(chain) = chains.get_mut(&user) else { return };
        let is_over = match chain.followed.binary_search_by_key(&number, |(turn, _)| *turn) {
            Ok(at) => {
                if let Some((_, follower)) = chain.followed.remove(at) {
                    // The next in line may be gone; then nobody has to be told.
                    drop(follower.send(Before(before)));
                }
                // Which may be what that was sent to: one in the other, thousands would go at once.
                follow_up(&mut chain.left);
                chain.latest_is_over && chain.followed.is_empty()
            }
            // Whoever comes next waits for what this one, the latest, did not wait for.
            Err(_) => {
                chain.latest_is_over = true;
                chain.left = before;
                chain.left.is_none()
            }
        };
        if is_over {
            chains.remove(&user);
            if chains.is_empty() && chains.capacity() > IDLE_USERS {
                chains.shrink_to(IDLE_USERS);
            }
        }
    }
}

impl Turns {
    /// The next turn of this user.
    pub fn next(&mut self, user: &UserId) -> Turn {
        self.number += 1;
        let (number, user) = (self.number, self.hasher.hash_one(user));
        let before = match self.chains.lock().entry(user) {
            Entry::Vacant(none) => {
                none.insert(Chain::of(number));
                None
            }
            Entry::Occupied(mut chain) => chain.get_mut().follow(number),
        };
        let place = Place { chains: Arc::clone(&self.chains), user, number };
        let mut turn = Turn { before, place: Some(place) };
        turn.has_come();
        turn
    }
}

impl Chain {
    fn of(first: u64) -> Self {
        Self { latest: first, latest_is_over: false, left: None, followed: VecDeque::new() }
    }

    /// This turn comes behind all others: what it waits for.
    fn follow(&mut self, number: u64) -> Option<Link> {
        let latest = std::mem::replace(&mut self.latest, number);
        if std::mem::take(&mut self.latest_is_over) {
            return self.left.take();
        }
        let (sender, link) = oneshot::channel();
        self.followed.push_back((latest, sender));
        Some(link)
    }
}

impl Chains {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Chain>> {
        // No operation on it panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

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
        assert!(turns.chains.lock().is_empty());
    }

    #[test]
    fn users_whose_turns_are_over_are_forgotten_though_no_other_comes() {
        let mut turns = Turns::default();
        let held = turns.next(&user("held"));
        let many: Vec<Turn> =
            (0..10_000).map(|number| turns.next(&user(&number.to_string()))).collect();
        assert_eq!(turns.chains.lock().len(), 10_001);
        drop(many);
        assert_eq!(turns.chains.lock().len(), 1);
        assert!(!turns.next(&user("held")).has_come());
        drop(held);
        let chains = turns.chains.lock();
        assert!(chains.is_empty() && chains.capacity() <= 2 * IDLE_USERS);
    }

    #[test]
    fn however_many_are_given_up_the_newest_first_what_is_left_is_forgotten_without_a_deep_stack() {
        let mut turns = Turns::default();
        let mut all: Vec<Turn> = (0..100_000).map(|_| turns.next(&user("u1"))).collect();
        while all.len() > 1 {
            all.pop();
        }
        drop(all);
        assert!(turns.chains.lock().is_empty());
    }

    proptest! {
        #[test]
        fn a_turn_has_come_when_all_before_it_are_over_and_no_sooner(
            steps in vec((0_u8..2, any::<prop::sample::Index>(), any::<bool>()), 1..60),
        ) {
            let mut turns = Turns::default();
            let mut held: Vec<(u8, Turn)> = Vec::new();
            for (whose, which, is_over) in steps {
                if is_over && !held.is_empty() {
                    drop(held.remove(which.index(held.len())));
                } else {
                    held.push((whose, turns.next(&user(&whose.to_string()))));
                }
                let mut seen = [false; 2];
                for (whose, turn) in &mut held {
                    let is_first = !std::mem::replace(&mut seen[usize::from(*whose)], true);
                    prop_assert_eq!(turn.has_come(), is_first);
                }
                prop_assert_eq!(turns.chains.lock().len(), seen.into_iter().filter(|one| *one).count());
            }
        }
    }
}
