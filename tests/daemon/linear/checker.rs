//! Whether a history of concurrent operations could have happened one after the other: the search of
//! Wing and Gong, with Lowe's memory of where it has been.

use std::collections::HashSet;

use super::{Answer, Asked, Operation, USERS};

/// Operations in a history at the most: each is a bit.
pub(super) const OPERATIONS_MAX: usize = u64::BITS as usize;

/// Room, session and study time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) room: Option<u8>,
    pub(super) session: Option<u8>,
    pub(super) time: Option<u16>,
}

/// What users and sessions are, in words of the contract: each user's record, and whether its session
/// leads to it. No session leads to two users, and none to a user whose record names another.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Model {
    users: [(Record, bool); USERS as usize],
}

impl Model {
    /// Does the operation; says what is answered.
    fn answer(&mut self, operation: Operation) -> Answer {
        match operation {
            Operation::Open { user, room, session } => {
                self.close(session);
                let (record, is_live) = &mut self.users[usize::from(user)];
                (record.room, record.session, *is_live) = (Some(room), Some(session), true);
                Answer::Record(*record)
            }
            Operation::Close { session } => {
                self.close(session).map_or(Answer::Nobody, Answer::Record)
            }
            Operation::Write { user, time } => {
                self.users[usize::from(user)].0.time = Some(time);
                Answer::Done
            }
            Operation::Read { user } => Answer::Time(self.users[usize::from(user)].0.time),
        }
    }

    /// The session leads to nobody any more; the record to which it led.
    fn close(&mut self, session: u8) -> Option<Record> {
        let mut users = self.users.iter_mut();
        let led_to = users.find(|(record, is_live)| *is_live && record.session == Some(session));
        led_to.map(|(record, is_live)| {
            *is_live = false;
            *record
        })
    }
}

/// Where a search stands: which operations were done, and what that came to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Stand {
    done: u64,
    model: Model,
}

impl Stand {
    fn has(&self, at: usize) -> bool {
        self.done >> at & 1 == 1
    }

    /// After this operation too, if it could be answered so.
    fn after(mut self, at: usize, asked: &Asked) -> Option<Self> {
        self.done |= 1 << at;
        let answer = self.model.answer(asked.operation);
        asked.answered.is_none_or(|(_, told)| told == answer).then_some(self)
    }
}

/// Whether some order of the operations explains all answers, in which nobody is done before it was
/// asked for or after it was answered. What has no answer may have been done at any time since, or
/// never.
pub(super) fn is_linearizable(history: &[Asked]) -> bool {
    assert!(history.len() <= OPERATIONS_MAX);
    let mut history: Vec<_> = history.iter().collect();
    history.sort_by_key(|asked| asked.at);
    let (mut seen, mut open) = (HashSet::new(), vec![Stand::default()]);
    while let Some(stand) = open.pop() {
        let left = || history.iter().enumerate().filter(|(at, _)| !stand.has(*at));
        let ends = left().filter_map(|(_, asked)| asked.answered.map(|(at, _)| at));
        let Some(first_end) = ends.min() else { return true };
        for (at, asked) in left().take_while(|(_, asked)| asked.at <= first_end) {
            open.extend(stand.after(at, asked).filter(|next| seen.insert(*next)));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Operations with when they were asked for and answered, and how.
    fn check(history: &[(u64, u64, Operation, Option<Answer>)]) -> bool {
        let zero = Instant::now();
        let at = |moment: u64| zero + Duration::from_secs(moment);
        let history = history.iter().map(|(asked, answered, operation, answer)| Asked {
            operation: *operation,
            at: at(*asked),
            answered: answer.map(|answer| (at(*answered), answer)),
        });
        is_linearizable(&history.collect::<Vec<_>>())
    }

    fn write(time: u16) -> Operation {
        Operation::Write { user: 0, time }
    }

    const READ: Operation = Operation::Read { user: 0 };

    fn time(time: u16) -> Option<Answer> {
        Some(Answer::Time(Some(time)))
    }

    #[test]
    fn operations_at_once_may_be_done_in_either_order() {
        let (one, two) =
            ((1, 4, write(1), Some(Answer::Done)), (2, 5, write(2), Some(Answer::Done)));
        for last in [1, 2] {
            assert!(check(&[one, two, (6, 7, READ, time(last))]));
        }
        // Not in both.
        assert!(!check(&[one, two, (6, 7, READ, time(1)), (8, 9, READ, time(2))]));
        // And not before they were asked for.
        assert!(!check(&[(0, 1, READ, time(1)), (2, 3, write(1), Some(Answer::Done))]));
    }

    #[test]
    fn what_was_read_is_not_unread() {
        let done = Some(Answer::Done);
        let history = [(0, 1, write(1), done), (2, 9, write(2), done)];
        let reads = |first, second| [(3, 4, READ, time(first)), (5, 6, READ, time(second))];
        assert!(check(&[&history[..], &reads(1, 2)].concat()));
        assert!(!check(&[&history[..], &reads(2, 1)].concat()));
        // Nor is it lost.
        assert!(!check(&[&history[..], &[(10, 11, READ, Some(Answer::Time(None)))]].concat()));
    }

    #[test]
    fn what_was_not_answered_may_be_done_once_at_any_time_later() {
        let unknown = (0, 0, write(1), None);
        let known = (1, 2, write(2), Some(Answer::Done));
        let read = |at, last| (at, at, READ, time(last));
        assert!(check(&[unknown, known, read(3, 2)]));
        assert!(check(&[unknown, known, read(3, 2), read(4, 1)]));
        assert!(!check(&[unknown, known, read(3, 1), read(4, 2)]));
    }

    #[test]
    fn a_session_is_open_from_its_opening_to_its_close() {
        let record = Record { room: Some(7), session: Some(3), time: None };
        let record = || Answer::Record(record);
        let open =
            |at, user| (at, at + 1, Operation::Open { user, room: 7, session: 3 }, Some(record()));
        let close = |at, answer| (at, at + 1, Operation::Close { session: 3 }, Some(answer));
        assert!(check(&[open(0, 0), close(2, record()), close(4, Answer::Nobody)]));
        assert!(!check(&[open(0, 0), close(2, Answer::Nobody)]));
        assert!(!check(&[open(0, 0), close(2, record()), close(4, record())]));
        assert!(!check(&[open(0, 0), close(2, record()), open(4, 1), close(6, Answer::Nobody)]));
    }
}
