//! Calls of many operations as one pipeline, in which operations of a kind share a script.
//!
//! An operation's own calls take effect in their order; those of different operations in any. So the
//! pipeline is a row of stages: all plain calls, or all parts of one script. Each call goes to the first
//! stage that suits it and is not before that of the operation's previous call. Operations that need two
//! scripts are laid out before others, which then share the second one.

use redis::{Pipeline, Value};

use super::call::{self, Call, Reply, Whole};
use super::script::{Known, ScriptAs};

/// Operations in one script at the most: nobody else is served by Redis meanwhile.
pub(super) const PARTS_MAX: usize = 64;

/// Where the reply to each call of a flight will be.
pub(super) struct Flight {
    parts_max: usize,
    stages: Vec<Stage>,
    /// Of each operation, of each of its calls.
    places: Vec<Vec<Place>>,
}

struct Stage {
    /// None for plain calls.
    whole: Option<Whole>,
    /// Calls in it: the operation's number, and that of its call.
    calls: Vec<(usize, usize)>,
}

#[derive(Clone, Copy)]
struct Place {
    stage: usize,
    at: usize,
}

impl Flight {
    /// Lays out the calls of each operation.
    pub(super) fn of(operations: &[&[Call]], parts_max: usize) -> Self {
        let mut flight =
            Self { parts_max, stages: Vec::new(), places: vec![Vec::new(); operations.len()] };
        for is_first in [true, false] {
            for (number, calls) in operations.iter().enumerate() {
                if needs_two_scripts(calls) == is_first {
                    let places = flight.lay_out(number, calls);
                    if let Some(of_operation) = flight.places.get_mut(number) {
                        *of_operation = places;
                    }
                }
            }
        }
        flight
    }

    fn lay_out(&mut self, number: usize, calls: &[Call]) -> Vec<Place> {
        let mut from = 0;
        let place = |(of_call, call)| {
            from = self.stage_for(call, from);
            let stage = self.stages.get_mut(from);
            let at = stage.map_or(0, |stage| {
                stage.calls.push((number, of_call));
                stage.calls.len() - 1
            });
            Place { stage: from, at }
        };
        calls.iter().enumerate().map(place).collect()
    }

    /// The first stage from there that takes the call.
    fn stage_for(&mut self, call: &Call, from: usize) -> usize {
        let whole = call.whole();
        let found =
            self.stages.iter().skip(from).position(|stage| stage.takes(whole, self.parts_max));
        found.map_or_else(
            || {
                self.stages.push(Stage { whole, calls: Vec::new() });
                self.stages.len() - 1
            },
            |found| from + found,
        )
    }

    /// As one write.
    pub(super) fn pipeline(&self, operations: &[&[Call]], sent: ScriptAs) -> Pipeline {
        let mut known = Known::new(sent);
        let mut pipeline = Pipeline::with_capacity(self.commands());
        for stage in &self.stages {
            let calls = stage.calls.iter();
            let mut calls = calls.filter_map(|(number, at)| operations.get(*number)?.get(*at));
            match stage.whole {
                Some(whole) => {
                    let parts: Vec<_> = calls.collect();
                    pipeline.add_command(whole.cmd(&parts, &mut known));
                }
                None => calls.by_ref().for_each(|call| {
                    pipeline.add_command(call.cmd(&mut known));
                }),
            }
        }
        pipeline
    }

    /// How many commands it is.
    fn commands(&self) -> usize {
        let of_stage = |stage: &Stage| if stage.whole.is_some() { 1 } else { stage.calls.len() };
        self.stages.iter().map(of_stage).sum()
    }

    /// Takes apart what came back: the replies of each operation, none if it makes no sense.
    pub(super) fn replies(self, values: Vec<Value>) -> Option<Vec<Vec<Reply>>> {
        let mut values = values.into_iter();
        let mut of_stages = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            of_stages.push(stage.replies(&mut values)?);
        }
        let mut take = |place: &Place| of_stages.get_mut(place.stage)?.get_mut(place.at)?.take();
        self.places.iter().map(|places| places.iter().map(&mut take).collect()).collect()
    }
}

fn needs_two_scripts(calls: &[Call]) -> bool {
    let mut wholes = calls.iter().map(Call::whole);
    matches!((wholes.next(), wholes.next()), (Some(Some(first)), Some(Some(second))) if first != second)
}

impl Stage {
    fn takes(&self, whole: Option<Whole>, parts_max: usize) -> bool {
        self.whole == whole && (whole.is_none() || self.calls.len() < parts_max)
    }

    /// The replies to its calls.
    fn replies(&self, values: &mut impl Iterator<Item = Value>) -> Option<Vec<Option<Reply>>> {
        if self.whole.is_none() {
            let replies = values.by_ref().take(self.calls.len());
            return Some(replies.map(|value| Some(call::reply(value))).collect());
        }
        match call::reply(values.next()?) {
            Ok(Value::Array(parts)) if parts.len() == self.calls.len() => {
                Some(parts.into_iter().map(|value| Some(call::reply(value))).collect())
            }
            Ok(_) => None,
            // The script as a whole was refused.
            Err(error) => Some(self.calls.iter().map(|_| Some(Err(error.clone()))).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::{Arg, Cmd};

    use super::*;
    use crate::store::redis::script::{CLOSE_INDEXES, RECORDS};
    use crate::store::redis::words::Words;

    fn on_record(user: &str) -> Call {
        Call::part(&RECORDS, None, user.to_owned(), Words::of(user))
    }

    fn on_index(session: &str) -> Call {
        Call::part(&CLOSE_INDEXES, None, session.to_owned(), Words::of(session))
    }

    fn plain(key: &str) -> Call {
        Call::command("GET", key)
    }

    /// Keys of each command of the flight, in its order.
    fn sent(operations: &[&[Call]]) -> Vec<String> {
        let flight = Flight::of(operations, PARTS_MAX);
        let words = |cmd: &Cmd| {
            let word = |arg| if let Arg::Simple(word) = arg { word } else { &b""[..] };
            let all: Vec<_> = cmd.args_iter().map(word).map(String::from_utf8_lossy).collect();
            match all.first().map(AsRef::as_ref) {
                Some("EVALSHA") => all[3..3 + all[2].parse::<usize>().unwrap()].join(" "),
                _ => all[1].to_string(),
            }
        };
        flight.pipeline(operations, ScriptAs::Hash).cmd_iter().map(words).collect()
    }

    #[test]
    fn operations_of_a_kind_share_a_script_and_each_keeps_its_order() {
        let open = |user: &str| [on_record(user), plain(&format!("{user}'s"))];
        let close = |user: &str| [on_index(&format!("{user}'s")), on_record(user)];
        let (a, b, c, d) = (open("a"), close("b"), open("c"), close("d"));
        assert_eq!(sent(&[&a, &b, &c, &d]), ["b's d's", "b d a c", "a's", "c's"]);
        let back_and_forth = [plain("x"), on_record("a"), plain("y"), on_record("a")];
        assert_eq!(sent(&[&back_and_forth, &c]), ["x", "a c", "y", "c's", "a"]);
    }

    #[test]
    fn a_script_takes_so_many_operations_and_no_more() {
        let records: Vec<_> = (0..=PARTS_MAX).map(|_| on_record("a")).collect();
        let lengths: Vec<_> =
            sent(&[&records]).iter().map(|keys| keys.split(' ').count()).collect();
        assert_eq!(lengths, [PARTS_MAX, 1]);
    }

    #[test]
    fn each_operation_gets_its_own_replies_and_nobody_those_of_a_script_that_was_refused() {
        let (open, close) = ([on_record("a"), plain("s")], [on_index("t"), on_record("b")]);
        let error = |text: &str| {
            Value::ServerError(
                redis::parse_redis_value(text.as_bytes())
                    .and_then(|value| {
                        if let Value::ServerError(error) = value { Ok(error) } else { panic!() }
                    })
                    .unwrap(),
            )
        };
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let flight = Flight::of(&[&open, &close], PARTS_MAX);
        let values = vec![
            error("-NOSCRIPT No matching script.\r\n"),
            Value::Array(vec![error("-WRONGTYPE of b\r\n"), text("a")]),
            text("s"),
        ];
        let replies = flight.replies(values).unwrap();
        assert_eq!(replies[0], [Ok(text("a")), Ok(text("s"))]);
        assert!(call::is_unknown_script(&replies[1][0]), "{replies:?}");
        assert_eq!(replies[1][1].as_ref().unwrap_err().code(), "WRONGTYPE");
        let flight = Flight::of(&[&open], PARTS_MAX);
        assert!(flight.replies(vec![Value::Array(Vec::new()), text("s")]).is_none());
    }
}
