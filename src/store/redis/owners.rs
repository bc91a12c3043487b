//! Whose the sessions are that were opened here of late: a guess, which saves asking.
//!
//! Whoever closes a session has to know whose it is. The index knows, and only it: what stands here is
//! never believed, the script that closes the session compares it. Where it is wrong, or nothing stands
//! here, the index is asked first.

use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};

use hashbrown::DefaultHashBuilder;

use crate::domain::{SessionId, UserId};

/// Sessions that are kept at the most. One whose place another takes is forgotten.
const PLACES: usize = 4096;

/// The latest sessions and their users.
#[derive(Default)]
pub(super) struct Owners {
    hasher: DefaultHashBuilder,
    /// Empty before the first.
    places: Mutex<Vec<Option<(SessionId, UserId)>>>,
}

impl Owners {
    /// The session is the user's.
    pub(super) fn note(&self, session: &SessionId, user: &UserId) {
        let at = self.place_of(session);
        let noted = Some((session.clone(), user.clone()));
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.is_empty() {
            places.resize(PLACES, None);
        }
        if let Some(place) = places.get_mut(at) {
            *place = noted;
        }
    }

    /// Whose the session was when it was opened, if that is known.
    pub(super) fn look(&self, session: &SessionId) -> Option<UserId> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let (noted, user) = places.get(self.place_of(session))?.as_ref()?;
        (noted == session).then(|| user.clone())
    }

    /// Whose the session was when it was opened; not known any more afterwards.
    pub(super) fn take(&self, session: &SessionId) -> Option<UserId> {
        let at = self.place_of(session);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, user) = places.get_mut(at)?.take_if(|(noted, _)| noted == session)?;
        Some(user)
    }

    fn place_of(&self, session: &SessionId) -> usize {
        usize::try_from(self.hasher.hash_one(session) % PLACES as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_once_and_others_take_its_place() {
        let owners = Owners::default();
        let session = |at: usize| SessionId::parse(&format!("s{at}")).unwrap();
        let user = UserId::parse("u1").unwrap();
        assert_eq!(owners.take(&session(0)), None);
        owners.note(&session(0), &user);
        assert_eq!(
            (owners.look(&session(0)), owners.look(&session(1))),
            (Some(user.clone()), None)
        );
        assert_eq!(owners.take(&session(1)), None);
        assert_eq!(owners.take(&session(0)), Some(user.clone()));
        assert_eq!(owners.take(&session(0)), None);
        (0..PLACES * 2).for_each(|at| owners.note(&session(at), &user));
        assert!(
            (0..PLACES * 2).filter(|at| owners.take(&session(*at)).is_some()).count() <= PLACES
        );
    }
}
