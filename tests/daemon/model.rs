//! Any sequence of operations from several clients: every store does what the model does.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stated::domain::{Day, Record, RoomId, SessionId, StudyTime, UserId, UserTime};
use stated::store::memory::MemoryStore;
use stated::store::state::State;
use stated::store::state::delivery::FormStep;
use stated::store::state::journal::NoJournal;
use stated::store::{Batch, BatchLimits, KeepOnline, Member, NextBatch, Page, StateStore};

use crate::battery::{at, session, time, told, user};
use crate::servers::redis::{RedisCluster, RedisServer};
use crate::stores::Opened;

/// A whole day fits into a frame, so that the order in which a store finds users doesn't count.
const LIMITS: BatchLimits =
    BatchLimits { users_max: 1000, entries_bytes_max: 100_000, ..crate::battery::LIMITS };
const LAST_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client asks for. Users, sessions and times are few, so that they meet.
#[derive(Debug, Clone)]
enum Operation {
    Open { user: u8, room: Option<i64>, session: u8 },
    Close { session: u8 },
    Study { user: u8, time: u8 },
    List { entries: Vec<(u8, Option<u8>)>, seconds: u64 },
    CloseDay { entries: Vec<(u8, Option<u8>)> },
    CloseOverdueDay,
    Send,
    Acknowledge { keep: KeepOnline },
}

/// What a client hears.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Record(Record),
    Nobody,
    Done,
    Day(Option<Day>),
    Frame(Vec<(u64, String, Option<String>)>),
    Nothing,
}

fn operation() -> impl Strategy<Value = Operation> {
    let entries = prop::collection::vec((0..4u8, prop::option::of(0..9u8)), 0..4);
    let keep = prop::bool::ANY.prop_map(|yes| if yes { KeepOnline::Yes } else { KeepOnline::No });
    let room = prop::option::of(prop_oneof![3 => 0..3i64, 1 => any::<i64>()]);
    prop_oneof![
        6 => (0..4u8, room, 0..4u8).prop_map(|(user, room, session)| Operation::Open { user, room, session }),
        4 => (0..4u8).prop_map(|session| Operation::Close { session }),
        6 => (0..4u8, 0..9u8).prop_map(|(user, time)| Operation::Study { user, time }),
        3 => (entries.clone(), 0..6u64).prop_map(|(entries, seconds)| Operation::List { entries, seconds }),
        1 => entries.prop_map(|entries| Operation::CloseDay { entries }),
        1 => Just(Operation::CloseOverdueDay),
        2 => Just(Operation::Send),
        2 => keep.prop_map(|keep| Operation::Acknowledge { keep }),
    ]
}

fn user_times(entries: &[(u8, Option<u8>)]) -> Vec<UserTime> {
    let entry = |(of, text): &(u8, Option<u8>)| UserTime {
        user: user(&format!("u{of}")),
        study_time: text.map(|text| time(&format!("0{text}:00"))),
    };
    entries.iter().map(entry).collect()
}

/// The model, its clock, and the frame that the client who delivers has in hand.
#[derive(Default)]
struct Model {
    state: State,
    seconds: u64,
    frame: Option<Batch>,
}

impl Model {
    fn answer(&mut self, operation: &Operation) -> Answer {
        let (state, journal) = (&mut self.state, &mut NoJournal);
        match operation {
            Operation::Open { user: of, room, session: with } => {
                let (of, with) = (user(&format!("u{of}")), session(&format!("s{with}")));
                let room = room.map(RoomId);
                Answer::Record(state.open_session(journal, &of, room, &with).value)
            }
            Operation::Close { session: with } => {
                let closed = state.close_session(journal, &session(&format!("s{with}"))).value;
                closed.map_or(Answer::Nobody, Answer::Record)
            }
            Operation::Study { user: of, time: text } => {
                let (of, text) = (user(&format!("u{of}")), time(&format!("0{text}:00")));
                Answer::Record(state.record_study_time(journal, &of, &text).value)
            }
            Operation::List { entries, seconds } => {
                self.seconds += seconds;
                let entries = user_times(entries);
                state.list_study_times(journal, &entries, at(self.seconds), LAST_TIMEOUT);
                Answer::Done
            }
            Operation::CloseDay { entries } => {
                let entries = user_times(entries);
                let closed = state.close_day(journal, &entries, at(self.seconds), LAST_TIMEOUT);
                Answer::Day(Some(closed.value))
            }
            Operation::CloseOverdueDay => {
                self.seconds += 5;
                let closed = state.close_overdue_day(journal, at(self.seconds), LAST_TIMEOUT);
                Answer::Day(closed.value)
            }
            Operation::Send => {
                let next = loop {
                    if let FormStep::Done(next) = state.next_batch(journal, LIMITS) {
                        break next.value;
                    }
                };
                heard(&mut self.frame, next)
            }
            Operation::Acknowledge { keep } => {
                if let Some(frame) = self.frame.take() {
                    state.acknowledge_batch(journal, &frame, *keep);
                }
                Answer::Done
            }
        }
    }
}

fn members(page: Page<Member>) -> Vec<(UserId, SessionId)> {
    let members = page.items.into_iter();
    let mut members: Vec<_> = members.map(|member| (member.user, member.session)).collect();
    members.sort();
    members.dedup();
    members
}

fn heard(frame: &mut Option<Batch>, next: NextBatch) -> Answer {
    match next {
        NextBatch::Send(batch) => {
            let told = told(&batch);
            *frame = Some(batch);
            Answer::Frame(told)
        }
        NextBatch::Nothing => Answer::Nothing,
        NextBatch::Elsewhere | NextBatch::TooLong { .. } => panic!("{next:?}"),
    }
}

/// Puts the operation to a store, at the model's time.
async fn ask(
    store: &impl StateStore,
    operation: &Operation,
    seconds: u64,
    frame: &mut Option<Batch>,
) -> Answer {
    match operation {
        Operation::Open { user: of, room, session: with } => {
            let (of, with) = (user(&format!("u{of}")), session(&format!("s{with}")));
            Answer::Record(store.open_session(&of, room.map(RoomId), &with).await.unwrap())
        }
        Operation::Close { session: with } => {
            let closed = store.close_session(&session(&format!("s{with}"))).await.unwrap();
            closed.map_or(Answer::Nobody, Answer::Record)
        }
        Operation::Study { user: of, time: text } => {
            let (of, text) = (user(&format!("u{of}")), time(&format!("0{text}:00")));
            Answer::Record(store.record_study_time(&of, &text).await.unwrap())
        }
        Operation::List { entries, .. } => {
            let entries = user_times(entries);
            store.list_study_times(&entries, at(seconds), LAST_TIMEOUT).await.unwrap();
            Answer::Done
        }
        Operation::CloseDay { entries } => {
            let entries = user_times(entries);
            Answer::Day(Some(store.close_day(&entries, at(seconds), LAST_TIMEOUT).await.unwrap()))
        }
        Operation::CloseOverdueDay => {
            Answer::Day(store.close_overdue_day(at(seconds), LAST_TIMEOUT).await.unwrap())
        }
        Operation::Send => heard(frame, store.next_batch(LIMITS).await.unwrap()),
        Operation::Acknowledge { keep } => {
            if let Some(frame) = frame.take() {
                store.acknowledge_batch(&frame, *keep).await.unwrap();
            }
            Answer::Done
        }
    }
}

/// Each operation goes to one of the stores, which share what they store; deliveries to the first.
async fn check<S: StateStore>(stores: &[&S], operations: &[(Operation, usize)]) {
    let (mut model, mut frame) = (Model::default(), None);
    for (step, (operation, client)) in operations.iter().enumerate() {
        let is_delivery = matches!(operation, Operation::Send | Operation::Acknowledge { .. });
        let store = stores[if is_delivery { 0 } else { client % stores.len() }];
        let expected = model.answer(operation);
        let found = ask(store, operation, model.seconds, &mut frame).await;
        assert_eq!(found, expected, "step {step}: {operation:?}");
        for of in 0..4 {
            let of = user(&format!("u{of}"));
            let expected: Option<StudyTime> = model.state.study_time(&of).value;
            assert_eq!(store.study_time(&of).await.unwrap(), expected, "step {step}: {of}");
            let expected = model.state.user(&of).value;
            assert_eq!(store.user(&of).await.unwrap(), expected, "step {step}: {of}");
        }
        for with in 0..4 {
            let with = session(&format!("s{with}"));
            let expected = model.state.session(&with).value;
            assert_eq!(store.session(&with).await.unwrap(), expected, "step {step}: {with}");
        }
        for room in (0..3).map(RoomId) {
            let expected = members(model.state.room_members(room, None, 100));
            let found = members(store.room_members(room, None, 100).await.unwrap());
            assert_eq!(found, expected, "step {step}: {room:?}");
        }
        let (night, expected) = (store.night().await.unwrap(), model.state.night());
        assert_eq!((night.day, night.listed_at), (expected.day, expected.listed_at));
    }
}

fn for_any_operations(cases: u32, check: impl Fn(Vec<(Operation, usize)>)) {
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let operations = prop::collection::vec((operation(), 0..2usize), 1..40);
    TestRunner::new(config)
        .run(&operations, |operations| {
            check(operations);
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_memory_store_does_what_the_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for_any_operations(128, |operations| {
        runtime.block_on(check(&[&MemoryStore::default()], &operations));
    });
}

#[test]
fn two_daemons_on_one_redis_do_what_the_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(RedisServer::start());
    for_any_operations(24, |operations| {
        runtime.block_on(async {
            server.ask::<()>(&["FLUSHALL"]).await;
            let opened = [Opened::open(&server.store()), Opened::open(&server.store())];
            check(&[&opened[0].store, &opened[1].store], &operations).await;
            for opened in opened {
                opened.close().await;
            }
        });
    });
}

#[test]
fn two_daemons_on_a_redis_cluster_do_what_the_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cluster = runtime.block_on(RedisCluster::start(0));
    for_any_operations(8, |operations| {
        runtime.block_on(async {
            cluster.clear().await;
            let opened = [Opened::open(&cluster.store()), Opened::open(&cluster.store())];
            check(&[&opened[0].store, &opened[1].store], &operations).await;
            for opened in opened {
                opened.close().await;
            }
        });
    });
}
