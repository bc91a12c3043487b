//! Turns: what one connection said about one user reaches the peers one after the other.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};
use tokio::sync::oneshot;
use tokio::time::{Instant, error::Elapsed, timeout_at};

use crate::domain::UserId;

/// Below this many users nothing is pruned.
const PRUNE_FROM: usize = 64;

/// A place in the order. The next in line may go when this one is dropped *and* everything before
/// it is done: a turn that is given up early does not let its successor overtake.
#[derive(Debug, Default)]
pub struct Turn {
    before: Option<Link>,
    done: Option<oneshot::Sender<Before>>,
}

/// Resolves when the turn before is dropped, to what that one had not waited for.
type Link = oneshot::Receiver<Before>;

#[derive(Debug)]
struct Before(Option<Link>);

/// The latest turn of each user of one connection. It knows users by a hash: two that share one
/// wait for each other, which does no harm.
#[derive(Debug, Default)]
pub struct Turns {
    hasher: DefaultHashBuilder,
    latest: HashMap<u64, Link>,
    prune_at: usize,
}

impl Turn {
    /// A turn that follows nothing and that nothing follows.
    pub fn alone() -> Self {
        Self::default()
    }

    /// Waits until everything before it is done. May be cancelled and called again.
    pub async fn wait(&mut self, deadline: Instant) -> Result<(), Elapsed> {
        while let Some(link) = &mut self.before {
            self.before = timeout_at(deadline, link).await?.ok().and_then(|Before(link)| link);
        }
        Ok(())
    }

    /// Whether everything before it is done.
    pub fn has_come(&mut self) -> bool {
        while let Some(link) = &mut self.before {
            match link.try_recv() {
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
        if let Some(done) = self.done.take() {
            self.has_come();
            // Nobody may be next in line; then nobody has to be told.
            drop(done.send(Before(self.before.take())));
        }
    }
}

impl Turns {
    /// The next turn of this user.
    pub fn next(&mut self, user: &UserId) -> Turn {
        self.prune();
        let (done, link) = oneshot::channel();
        let before = self.latest.insert(self.hasher.hash_one(user), link);
        let mut turn = Turn { before, done: Some(done) };
        turn.has_come();
        turn
    }

    /// Forgets users whose turns are all over; seldom enough to cost nothing.
    fn prune(&mut self) {
        if self.latest.len() < self.prune_at.max(PRUNE_FROM) {
            return;
        }
        self.latest.retain(|_, link| match link.try_recv() {
            Ok(Before(None)) | Err(oneshot::error::TryRecvError::Closed) => false,
            Ok(Before(Some(earlier))) => {
                *link = earlier;
                true
            }
            Err(oneshot::error::TryRecvError::Empty) => true,
        });
        self.prune_at = self.latest.len() * 2;
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

    #[test]
    fn users_whose_turns_are_over_are_forgotten() {
        let mut turns = Turns::default();
        let held = turns.next(&user("held"));
        for number in 0..10_000 {
            drop(turns.next(&user(&number.to_string())));
        }
        assert!(turns.latest.len() <= PRUNE_FROM);
        assert!(!turns.next(&user("held")).has_come());
        drop(held);
    }
}
