//! Whatever is done, and whenever the store is closed or dies meanwhile, it answers as the plain
//! state does that lives on.

use proptest::prelude::*;

use super::*;
use crate::store::state::entry::Entry;
use crate::store::state::journal::NoJournal;

const LAST_TIMEOUT: Duration = Duration::from_secs(600);
const EVERYTHING: BatchLimits =
    BatchLimits { users_max: 10_000, entries_bytes_max: 1 << 20, call_max: Duration::ZERO };
const NAMES: usize = 6;

#[derive(Debug, Clone)]
enum Step {
    OpenSession(usize, Option<i64>, usize),
    CloseSession(usize),
    Record(usize, usize),
    List(Vec<(usize, Option<usize>)>),
    CloseDay(Vec<(usize, Option<usize>)>),
    CloseOverdueDay,
    CloseByHand,
    Form,
    Acknowledge(bool),
    Prove,
    Reopen,
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    let listed =
        || proptest::collection::vec((0..NAMES, proptest::option::of(0..100_usize)), 0..NAMES);
    prop_oneof![
        4 => (0..NAMES, proptest::option::of(0..3_i64), 0..NAMES)
            .prop_map(|(user, room, session)| Step::OpenSession(user, room, session)),
        2 => (0..NAMES).prop_map(Step::CloseSession),
        4 => (0..NAMES, 0..100_usize).prop_map(|(user, time)| Step::Record(user, time)),
        2 => listed().prop_map(Step::List),
        1 => listed().prop_map(Step::CloseDay),
        1 => Just(Step::CloseOverdueDay),
        1 => Just(Step::CloseByHand),
        2 => Just(Step::Form),
        2 => any::<bool>().prop_map(Step::Acknowledge),
        1 => Just(Step::Prove),
        1 => Just(Step::Reopen),
        1 => Just(Step::Die),
    ]
}

fn session(number: usize) -> SessionId {
    SessionId::parse(&format!("session-{number}")).unwrap()
}

fn entries(listed: &[(usize, Option<usize>)]) -> Vec<UserTime> {
    let entry = |(number, at): &(usize, Option<usize>)| UserTime {
        user: user(*number),
        study_time: at.map(time),
    };
    listed.iter().map(entry).collect()
}

/// The store and the state it must agree with.
struct Pair {
    dir: TempDir,
    store: Option<EmbeddedStore>,
    model: State,
    /// The same frame as each of them formed it.
    outstanding: Option<(Batch, Batch)>,
    clock: u64,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(Self::open(dir.path()));
        Self { dir, store, model: State::default(), outstanding: None, clock: 0 }
    }

    fn open(dir: &Path) -> EmbeddedStore {
        EmbeddedStore::open_on(dir, Disk::new(), eager()).unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Self::open(self.dir.path()));
    }

    fn die(&mut self) {
        let copy = copy_of(self.dir.path());
        self.store = Some(Self::open(copy.path()));
        self.dir = copy;
    }

    async fn play(&mut self, step: &Step) {
        self.clock += 200_000;
        let at = UnixMillis(self.clock);
        let (Some(store), model) = (&self.store, &mut self.model) else { return };
        let journal = &mut NoJournal;
        match step {
            Step::OpenSession(number, room, other) => {
                let (user, room, session) = (user(*number), room.map(RoomId), session(*other));
                let told = store.open_session(&user, room, &session).await.unwrap();
                assert_eq!(told, model.open_session(journal, &user, room, &session).value);
            }
            Step::CloseSession(number) => {
                let told = store.close_session(&session(*number)).await.unwrap();
                assert_eq!(told, model.close_session(journal, &session(*number)).value);
            }
            Step::Record(number, at) => {
                let (user, time) = (user(*number), time(*at));
                let told = store.record_study_time(&user, &time).await.unwrap();
                assert_eq!(told, model.record_study_time(journal, &user, &time).value);
            }
            Step::List(listed) => {
                let entries = entries(listed);
                store.list_study_times(&entries, at, LAST_TIMEOUT).await.unwrap();
                model.list_study_times(journal, &entries, at, LAST_TIMEOUT);
            }
            Step::CloseDay(listed) => {
                let entries = entries(listed);
                let told = store.close_day(&entries, at, LAST_TIMEOUT).await.unwrap();
                assert_eq!(told, model.close_day(journal, &entries, at, LAST_TIMEOUT).value);
            }
            Step::CloseOverdueDay => {
                let told = store.close_overdue_day(at, LAST_TIMEOUT).await.unwrap();
                assert_eq!(told, model.close_overdue_day(journal, at, LAST_TIMEOUT).value);
            }
            Step::CloseByHand => {
                let told = store.close_day_by_hand(at).await.unwrap();
                assert_eq!(told, model.close_day_by_hand(journal, at).value);
            }
            Step::Form => drop(self.form().await),
            Step::Acknowledge(keep) => {
                let keep = if *keep { KeepOnline::Yes } else { KeepOnline::No };
                if let Some((told, modelled)) = self.outstanding.take() {
                    store.acknowledge_batch(&told, keep).await.unwrap();
                    model.acknowledge_batch(journal, &modelled, keep);
                }
            }
            Step::Prove => store.prove_writable().await.unwrap(),
            Step::Reopen => self.reopen(),
            Step::Die => self.die(),
        }
    }

    /// Asks both for the next frame; the slots of the two may differ, so its order may too.
    async fn form(&mut self) -> Option<Batch> {
        let Some(store) = &self.store else { return None };
        let told = store.next_batch(EVERYTHING).await.unwrap();
        let modelled = loop {
            if let FormStep::Done(seen) = self.model.next_batch(&mut NoJournal, EVERYTHING) {
                break seen.value;
            }
        };
        let (NextBatch::Send(told), NextBatch::Send(modelled)) = (&told, &modelled) else {
            assert_eq!(told, modelled);
            return None;
        };
        if let Some((before, _)) = &self.outstanding {
            assert_eq!(told, before);
        }
        assert_eq!(told.closed, modelled.closed);
        assert_eq!(sorted(&told.users), sorted(&modelled.users));
        self.outstanding = Some((told.clone(), modelled.clone()));
        Some(told.clone())
    }

    async fn compare(&mut self) {
        if let Some(store) = &self.store {
            assert_eq!(store.night().await.unwrap(), self.model.night());
            let told = store.night_history(9).await.unwrap();
            assert_eq!(undated(told), undated(self.model.night_history(9)));
            let told = store.night_plan(None, 2 * NAMES).await.unwrap();
            let modelled = self.model.night_plan(None, 2 * NAMES).value;
            assert_eq!(told.day, modelled.day);
            assert_eq!(sorted(&told.users.items), sorted(&modelled.users.items));
            for number in 0..NAMES {
                let told = store.study_time(&user(number)).await.unwrap();
                assert_eq!(told, self.model.study_time(&user(number)).value);
                let known = store.user(&user(number)).await.unwrap();
                assert_eq!(known, self.model.user(&user(number)).value);
                let live = store.session(&session(number)).await.unwrap();
                assert_eq!(live, self.model.session(&session(number)).value);
                // Nothing of the rooms is in the log: they must come out of it all the same.
                if let Some(room) = live.and_then(|record| record.room) {
                    let told = members(store.room_members(room, None, 100).await.unwrap());
                    assert_eq!(told, members(self.model.room_members(room, None, 100)));
                }
            }
        }
    }

    /// Ends everything: two days are closed and delivered, so that whatever one of them still
    /// holds of anybody comes out.
    async fn drain(&mut self) {
        for number in 0..NAMES {
            self.play(&Step::CloseSession(number)).await;
        }
        for _ in 0..2 {
            self.play(&Step::CloseDay(Vec::new())).await;
            while self.form().await.is_some() {
                self.play(&Step::Acknowledge(true)).await;
            }
        }
        self.compare().await;
        if let Some(store) = &self.store {
            assert_eq!(store.user_count(), self.model.user_count());
        }
    }
}

fn members(page: Page<Member>) -> Vec<(UserId, SessionId)> {
    let members = page.items.into_iter();
    let mut members: Vec<_> = members.map(|member| (member.user, member.session)).collect();
    members.sort();
    members
}

fn sorted(users: &[UserTime]) -> Vec<(&UserId, &Option<StudyTime>)> {
    let mut users: Vec<_> = users.iter().map(|entry| (&entry.user, &entry.study_time)).collect();
    users.sort();
    users
}

/// Nights, but for the clock by which they were delivered.
fn undated(nights: Vec<PastNight>) -> Vec<PastNight> {
    let undated = |night: PastNight| PastNight {
        delivered_at: night.delivered_at.map(|_| UnixMillis(0)),
        ..night
    };
    nights.into_iter().map(undated).collect()
}

/// All that a store holds, but for what depends on where in memory it is.
pub(super) fn everything(store: &EmbeddedStore) -> (Vec<Entry>, Night, Vec<Batch>, Vec<PastNight>) {
    let core = store.shared.core();
    let slots = 0..core.state.slot_count();
    let entries = slots.filter_map(|slot| core.state.entry_at(slot));
    let mut entries: Vec<_> = entries.map(|entry| Entry { stamp: 0, ..entry.clone() }).collect();
    entries.sort_by(|one, other| one.user.cmp(&other.user));
    let (night, history) = (core.state.night(), core.state.night_history(usize::MAX));
    (entries, night, core.state.outstanding_batches().cloned().collect::<Vec<_>>(), history)
}

async fn play_at_random(store: &EmbeddedStore, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for at in 0..300 {
        let (number, other) = (random.usize(..40), random.usize(..40));
        match random.u8(..20) {
            0 => {
                let listed = entries(&[(number, Some(at)), (other, None)]);
                let at = UnixMillis(at as u64);
                store.list_study_times(&listed, at, LAST_TIMEOUT).await.unwrap();
            }
            1 => drop(store.close_day(&[], UnixMillis(0), LAST_TIMEOUT).await.unwrap()),
            2..=6 => drop(store.close_session(&session(other)).await.unwrap()),
            7..=12 => drop(store.record_study_time(&user(number), &time(at)).await.unwrap()),
            _ => drop(store.open_session(&user(number), None, &session(other)).await.unwrap()),
        }
    }
}

#[test]
fn many_at_once_leave_on_disk_what_they_leave_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = Pair::open(dir.path());
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let store = &store;
            scope.spawn(move || run(play_at_random(store, seed)));
        }
    });
    let copy = copy_of(dir.path());
    let died = Pair::open(copy.path());
    assert_eq!(everything(&died), everything(&store));
    for number in 0..40 {
        let told = run(died.close_session(&session(number))).unwrap();
        assert_eq!(told, run(store.close_session(&session(number))).unwrap());
    }
    drop(store);
    assert_eq!(everything(&open(dir.path())), everything(&died));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn it_agrees_with_the_plain_state_through_every_death(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        run(async {
            let mut pair = Pair::new();
            for step in &steps {
                pair.play(step).await;
                pair.compare().await;
            }
            pair.die();
            pair.drain().await;
        });
    }
}
