//! What every store must do: one function a sentence of the contract, run against all of them.

use std::time::Duration;

use stated::domain::{Day, Record, RoomId, SessionId, StudyTime, UnixMillis, UserId, UserTime};
use stated::store::night::{ClosedBy, ClosedDay, NIGHTS_KEPT, entry_bytes};
use stated::store::{Batch, BatchLimits, KeepOnline, KnownUser, NextBatch, PastNight, StateStore};

/// Hands every sentence of the battery to the macro `$apply`.
macro_rules! for_every_sentence {
    ($apply:ident) => {
        $apply! {
            a_session_resolves_to_its_user_until_it_is_closed
            a_record_keeps_room_and_session_after_the_session_is_gone
            a_second_session_replaces_the_first
            a_late_close_of_a_replaced_session_touches_nothing
            a_session_may_be_opened_again
            a_session_of_two_users_belongs_to_the_last_one
            the_first_user_of_a_shared_session_moves_on_without_taking_it_away
            a_room_keeps_all_64_bits
            ids_may_hold_any_text
            a_study_time_is_kept_across_sessions
            a_study_time_of_nobody_is_none
            a_study_time_makes_the_record
            a_listing_makes_records_and_null_keeps_a_time
            of_a_user_listed_twice_the_last_entry_counts
            an_empty_listing_begins_a_night
            what_belongs_to_a_closed_day_reads_as_null
            a_closed_day_is_delivered_and_then_forgotten
            a_record_without_a_study_time_is_told_as_null
            a_day_without_records_sends_nothing
            a_time_after_the_listing_belongs_to_the_next_day
            a_time_after_the_close_belongs_to_the_next_day
            a_frame_stays_the_same_until_it_is_acknowledged
            a_frame_that_became_too_long_is_formed_anew
            only_the_outstanding_frame_is_acknowledged
            a_frame_holds_at_most_so_many_users_and_bytes
            an_entry_that_fits_no_frame_stays_and_stops_nobody
            a_user_who_is_gone_loses_the_record_when_auth_has_it
            a_user_who_is_online_keeps_the_record
            without_keep_online_records_and_sessions_go
            without_keep_online_what_the_new_day_wrote_to_stays
            two_closed_days_go_out_the_older_first_and_never_in_one_frame
            an_idle_user_has_nothing_new_to_tell
            a_second_close_during_a_delivery_joins_it
            an_open_night_closes_when_it_is_overdue
            no_night_overwrites_the_listing_of_another
            a_late_listing_amends_what_was_set_aside
            a_user_may_be_listed_night_after_night
            a_close_tells_what_was_planned
            a_plan_follows_a_frame_at_every_step
            nights_are_remembered_with_who_closed_them_and_what_was_told
            as_many_nights_are_remembered_as_are_named
            a_day_is_delivered_though_a_later_one_is_not
            a_close_by_hand_ends_the_night_that_was_listing
            a_user_is_known_with_the_record_and_whether_the_session_is_live
            looking_a_session_up_leaves_it_as_it_is
            what_is_looked_up_reads_as_of_the_running_day
            proving_that_changes_are_taken_leaves_no_record
            a_room_holds_the_live_sessions_that_were_opened_in_it
            a_session_that_moves_is_in_its_new_room_alone
            a_session_without_a_room_is_live_and_in_none
            a_replaced_session_is_in_no_room
            a_closed_session_is_in_no_room_until_it_is_opened_again
            of_two_users_of_a_session_the_last_one_is_in_the_room
            who_is_forgotten_is_in_no_room
            rooms_and_members_come_in_pages
        }
    };
}
pub(crate) use for_every_sentence;

/// Frames as the daemon's defaults have them.
pub(crate) const LIMITS: BatchLimits =
    BatchLimits { users_max: 25, entries_bytes_max: 2000, call_max: Duration::from_secs(7) };
/// After this a night is overdue.
pub(crate) const LAST_TIMEOUT: Duration = Duration::from_secs(600);

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub(crate) fn session(id: &str) -> SessionId {
    SessionId::parse(id).unwrap()
}

pub(crate) fn time(text: &str) -> StudyTime {
    StudyTime::parse(text).unwrap()
}

pub(crate) fn at(seconds: u64) -> UnixMillis {
    UnixMillis(1_800_000_000_000 + seconds * 1000)
}

pub(crate) fn listed(id: &str, study_time: Option<&str>) -> UserTime {
    UserTime { user: user(id), study_time: study_time.map(time) }
}

pub(crate) fn record(
    id: &str,
    room: Option<i64>,
    session_id: Option<&str>,
    study_time: Option<&str>,
) -> Record {
    Record {
        user: user(id),
        room: room.map(RoomId),
        session: session_id.map(session),
        study_time: study_time.map(time),
    }
}

async fn open(store: &impl StateStore, id: &str, room: i64, session_id: &str) -> Record {
    store.open_session(&user(id), Some(RoomId(room)), &session(session_id)).await.unwrap()
}

async fn close(store: &impl StateStore, session_id: &str) -> Option<Record> {
    store.close_session(&session(session_id)).await.unwrap()
}

async fn study(store: &impl StateStore, id: &str, text: &str) -> Record {
    store.record_study_time(&user(id), &time(text)).await.unwrap()
}

async fn studied(store: &impl StateStore, id: &str) -> Option<String> {
    store.study_time(&user(id)).await.unwrap().map(|time| time.as_str().to_owned())
}

async fn list(store: &impl StateStore, entries: &[UserTime], seconds: u64) {
    store.list_study_times(entries, at(seconds), LAST_TIMEOUT).await.unwrap();
}

async fn close_day(store: &impl StateStore, entries: &[UserTime], seconds: u64) -> Day {
    store.close_day(entries, at(seconds), LAST_TIMEOUT).await.unwrap()
}

async fn next(store: &impl StateStore) -> NextBatch {
    store.next_batch(LIMITS).await.unwrap()
}

async fn expect_batch(store: &impl StateStore) -> Batch {
    match next(store).await {
        NextBatch::Send(batch) => batch,
        other @ (NextBatch::Nothing | NextBatch::Elsewhere | NextBatch::TooLong { .. }) => {
            panic!("a frame was expected: {other:?}")
        }
    }
}

async fn acknowledge(store: &impl StateStore, batch: &Batch, keep: KeepOnline) {
    store.acknowledge_batch(batch, keep).await.unwrap();
}

/// What a frame says, in an order that does not depend on the store.
pub(crate) fn told(batch: &Batch) -> Vec<(u64, String, Option<String>)> {
    let day = batch.closed.day.0;
    let mut told: Vec<_> = batch
        .users
        .iter()
        .map(|entry| {
            let time = entry.study_time.as_ref().map(|time| time.as_str().to_owned());
            (day, entry.user.as_str().to_owned(), time)
        })
        .collect();
    told.sort();
    told
}

/// Delivers until nothing is left; what auth heard, frame by frame.
pub(crate) async fn deliver_all(
    store: &impl StateStore,
    keep: KeepOnline,
) -> Vec<Vec<(u64, String, Option<String>)>> {
    let mut heard = Vec::new();
    while let NextBatch::Send(batch) = next(store).await {
        heard.push(told(&batch));
        acknowledge(store, &batch, keep).await;
    }
    heard
}

fn entry(day: u64, id: &str, study_time: Option<&str>) -> (u64, String, Option<String>) {
    (day, id.to_owned(), study_time.map(str::to_owned))
}

pub(crate) async fn a_session_resolves_to_its_user_until_it_is_closed(store: &impl StateStore) {
    let opened = open(store, "u1", 7, "s1").await;
    assert_eq!(opened, record("u1", Some(7), Some("s1"), None));
    assert_eq!(close(store, "s1").await, Some(opened));
    assert_eq!(close(store, "s1").await, None);
    assert_eq!(close(store, "never").await, None);
}

pub(crate) async fn a_record_keeps_room_and_session_after_the_session_is_gone(
    store: &impl StateStore,
) {
    open(store, "u1", 7, "s1").await;
    close(store, "s1").await;
    assert_eq!(study(store, "u1", "01:00").await, record("u1", Some(7), Some("s1"), Some("01:00")));
}

pub(crate) async fn a_second_session_replaces_the_first(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    let second = store.open_session(&user("u1"), None, &session("s2")).await.unwrap();
    assert_eq!(second, record("u1", None, Some("s2"), None));
    assert_eq!(close(store, "s1").await, None);
    assert_eq!(close(store, "s2").await, Some(second));
}

pub(crate) async fn a_late_close_of_a_replaced_session_touches_nothing(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    open(store, "u1", 8, "s2").await;
    assert_eq!(close(store, "s1").await, None);
    assert_eq!(close(store, "s1").await, None);
    assert_eq!(close(store, "s2").await, Some(record("u1", Some(8), Some("s2"), None)));
}

pub(crate) async fn a_session_may_be_opened_again(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    open(store, "u1", 8, "s1").await;
    assert_eq!(close(store, "s1").await, Some(record("u1", Some(8), Some("s1"), None)));
    open(store, "u1", 9, "s1").await;
    open(store, "u1", 9, "s2").await;
    open(store, "u1", 10, "s1").await;
    assert_eq!(close(store, "s2").await, None);
    assert_eq!(close(store, "s1").await, Some(record("u1", Some(10), Some("s1"), None)));
}

pub(crate) async fn a_session_of_two_users_belongs_to_the_last_one(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    let last = open(store, "u2", 8, "s1").await;
    assert_eq!(close(store, "s1").await, Some(last));
    assert_eq!(close(store, "s1").await, None);
}

pub(crate) async fn the_first_user_of_a_shared_session_moves_on_without_taking_it_away(
    store: &impl StateStore,
) {
    open(store, "u1", 7, "s1").await;
    let last = open(store, "u2", 8, "s1").await;
    open(store, "u1", 9, "s2").await;
    assert_eq!(close(store, "s1").await, Some(last));
    assert_eq!(close(store, "s2").await, Some(record("u1", Some(9), Some("s2"), None)));
}

pub(crate) async fn a_room_keeps_all_64_bits(store: &impl StateStore) {
    for room in [i64::MAX, i64::MIN, (1 << 53) + 1, -1, 0] {
        open(store, "u1", room, "s1").await;
        let expected = record("u1", Some(room), Some("s1"), Some("01:00"));
        assert_eq!(study(store, "u1", "01:00").await, expected);
        assert_eq!(close(store, "s1").await, Some(expected));
    }
}

pub(crate) async fn ids_may_hold_any_text(store: &impl StateStore) {
    let long = "가".repeat(85);
    for id in
        ["가나다", "😀", "a\"b", "a\\b", "a\n\t\u{1}\u{7f}", "{u}:*?[", "null", "\u{2028}", &long]
    {
        let opened = open(store, id, 7, id).await;
        assert_eq!(opened, record(id, Some(7), Some(id), None));
        let expected = record(id, Some(7), Some(id), Some("\"\\\n가"));
        assert_eq!(study(store, id, "\"\\\n가").await, expected);
        assert_eq!(open(store, id, 8, id).await.study_time, expected.study_time);
        assert_eq!(studied(store, id).await.as_deref(), Some("\"\\\n가"));
        assert_eq!(close(store, id).await.unwrap().room, Some(RoomId(8)));
    }
    close_day(store, &[], 0).await;
    let heard = deliver_all(store, KeepOnline::Yes).await;
    assert_eq!(heard.iter().map(Vec::len).sum::<usize>(), 9);
}

pub(crate) async fn a_study_time_is_kept_across_sessions(store: &impl StateStore) {
    study(store, "u1", "01:00:00").await;
    assert_eq!(open(store, "u1", 7, "s1").await.study_time, Some(time("01:00:00")));
    close(store, "s1").await;
    assert_eq!(open(store, "u1", 7, "s2").await.study_time, Some(time("01:00:00")));
    study(store, "u1", "01:30:00").await;
    assert_eq!(close(store, "s2").await.unwrap().study_time, Some(time("01:30:00")));
}

pub(crate) async fn a_study_time_of_nobody_is_none(store: &impl StateStore) {
    assert_eq!(studied(store, "u1").await, None);
    open(store, "u1", 7, "s1").await;
    assert_eq!(studied(store, "u1").await, None);
}

pub(crate) async fn a_study_time_makes_the_record(store: &impl StateStore) {
    assert_eq!(study(store, "u1", "00:10").await, record("u1", None, None, Some("00:10")));
    assert_eq!(studied(store, "u1").await.as_deref(), Some("00:10"));
}

pub(crate) async fn a_listing_makes_records_and_null_keeps_a_time(store: &impl StateStore) {
    study(store, "u1", "01:00").await;
    study(store, "u2", "02:00").await;
    let entries = [
        listed("u1", None),
        listed("u2", Some("02:30")),
        listed("u3", Some("03:00")),
        listed("u4", None),
    ];
    list(store, &entries, 0).await;
    assert_eq!(studied(store, "u1").await.as_deref(), Some("01:00"));
    assert_eq!(studied(store, "u2").await.as_deref(), Some("02:30"));
    assert_eq!(studied(store, "u3").await.as_deref(), Some("03:00"));
    assert_eq!(studied(store, "u4").await, None);
    close_day(store, &[], 1).await;
    let expected = vec![vec![
        entry(1, "u1", Some("01:00")),
        entry(1, "u2", Some("02:30")),
        entry(1, "u3", Some("03:00")),
        entry(1, "u4", None),
    ]];
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, expected);
}

pub(crate) async fn of_a_user_listed_twice_the_last_entry_counts(store: &impl StateStore) {
    study(store, "u1", "00:01").await;
    list(store, &[listed("u1", Some("00:02")), listed("u1", Some("00:03"))], 0).await;
    assert_eq!(studied(store, "u1").await.as_deref(), Some("00:03"));
    list(store, &[listed("u1", Some("00:04")), listed("u1", None)], 1).await;
    assert_eq!(studied(store, "u1").await.as_deref(), Some("00:03"));
}

pub(crate) async fn an_empty_listing_begins_a_night(store: &impl StateStore) {
    assert_eq!(store.night().await.unwrap().listed_at, None);
    list(store, &[], 5).await;
    assert_eq!(store.night().await.unwrap().listed_at, Some(at(5)));
    close_day(store, &[], 6).await;
    assert_eq!(store.night().await.unwrap().listed_at, None);
}

pub(crate) async fn what_belongs_to_a_closed_day_reads_as_null(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    study(store, "u1", "01:00").await;
    study(store, "u2", "02:00").await;
    assert_eq!(close_day(store, &[listed("u3", Some("03:00"))], 0).await, Day(1));
    for id in ["u1", "u2", "u3"] {
        assert_eq!(studied(store, id).await, None, "{id}");
    }
    assert_eq!(close(store, "s1").await, Some(record("u1", Some(7), Some("s1"), None)));
    assert_eq!(open(store, "u2", 7, "s2").await.study_time, None);
    let night = store.night().await.unwrap();
    assert_eq!((night.day, night.undelivered.len()), (Day(2), 1));
    assert_eq!((night.undelivered[0].day, night.undelivered[0].closed_at), (Day(1), at(0)));
}

pub(crate) async fn a_closed_day_is_delivered_and_then_forgotten(store: &impl StateStore) {
    study(store, "u1", "01:00").await;
    close_day(store, &[listed("u2", Some("02:00"))], 0).await;
    let batch = expect_batch(store).await;
    assert_eq!(told(&batch), [entry(1, "u1", Some("01:00")), entry(1, "u2", Some("02:00"))]);
    assert_eq!((batch.closed.closed_at, batch.id.len()), (at(0), 16));
    acknowledge(store, &batch, KeepOnline::Yes).await;
    assert_eq!(next(store).await, NextBatch::Nothing);
    assert_eq!(store.night().await.unwrap().undelivered, []);
}

pub(crate) async fn a_record_without_a_study_time_is_told_as_null(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    close_day(store, &[], 0).await;
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(1, "u1", None)]]);
}

pub(crate) async fn a_day_without_records_sends_nothing(store: &impl StateStore) {
    close_day(store, &[], 0).await;
    assert_eq!(next(store).await, NextBatch::Nothing);
    assert_eq!(store.night().await.unwrap().undelivered, []);
}

pub(crate) async fn a_time_after_the_listing_belongs_to_the_next_day(store: &impl StateStore) {
    list(store, &[listed("u1", Some("05:00"))], 0).await;
    assert_eq!(study(store, "u1", "00:01").await.study_time, Some(time("00:01")));
    study(store, "u1", "00:02").await;
    assert_eq!(studied(store, "u1").await.as_deref(), Some("00:02"));
    close_day(store, &[], 1).await;
    assert_eq!(studied(store, "u1").await.as_deref(), Some("00:02"));
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(1, "u1", Some("05:00"))]]);
    assert_eq!(studied(store, "u1").await.as_deref(), Some("00:02"));
    close_day(store, &[], 2).await;
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(2, "u1", Some("00:02"))]]);
}

pub(crate) async fn a_time_after_the_close_belongs_to_the_next_day(store: &impl StateStore) {
    study(store, "u1", "05:00").await;
    close_day(store, &[], 0).await;
    assert_eq!(study(store, "u1", "00:01").await.study_time, Some(time("00:01")));
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(1, "u1", Some("05:00"))]]);
    assert_eq!(studied(store, "u1").await.as_deref(), Some("00:01"));
}

pub(crate) async fn a_frame_stays_the_same_until_it_is_acknowledged(store: &impl StateStore) {
    study(store, "u1", "01:00").await;
    close_day(store, &[], 0).await;
    let batch = expect_batch(store).await;
    study(store, "u1", "00:01").await;
    study(store, "u2", "00:02").await;
    close_day(store, &[], 1).await;
    assert_eq!(expect_batch(store).await, batch);
    assert_eq!(expect_batch(store).await, batch);
}

pub(crate) async fn a_frame_that_became_too_long_is_formed_anew(store: &impl StateStore) {
    for id in ["u1", "u2", "u3"] {
        study(store, id, "01:00").await;
    }
    close_day(store, &[], 0).await;
    let long = expect_batch(store).await;
    assert_eq!(long.users.len(), 3);
    let limits = BatchLimits { users_max: 2, entries_bytes_max: 1_000, ..LIMITS };
    let NextBatch::Send(first) = store.next_batch(limits).await.unwrap() else {
        panic!("there is something to send")
    };
    assert_eq!(first.users.len(), 2);
    assert_ne!(first.id, long.id);
    acknowledge(store, &long, KeepOnline::Yes).await;
    assert_eq!(store.next_batch(limits).await.unwrap(), NextBatch::Send(first.clone()));
    acknowledge(store, &first, KeepOnline::Yes).await;
    let mut delivered = told(&first);
    delivered.extend(deliver_all(store, KeepOnline::Yes).await.into_iter().flatten());
    delivered.sort();
    assert_eq!(delivered, ["u1", "u2", "u3"].map(|id| entry(1, id, Some("01:00"))));
}

pub(crate) async fn only_the_outstanding_frame_is_acknowledged(store: &impl StateStore) {
    study(store, "u1", "01:00").await;
    close_day(store, &[], 0).await;
    let batch = expect_batch(store).await;
    let other = Batch { id: "0000000000000000".to_owned(), ..batch.clone() };
    acknowledge(store, &other, KeepOnline::No).await;
    assert_eq!(expect_batch(store).await, batch);
    acknowledge(store, &batch, KeepOnline::Yes).await;
    study(store, "u1", "02:00").await;
    close_day(store, &[], 1).await;
    acknowledge(store, &batch, KeepOnline::Yes).await;
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(2, "u1", Some("02:00"))]]);
}

pub(crate) async fn a_frame_holds_at_most_so_many_users_and_bytes(store: &impl StateStore) {
    let ids: Vec<_> = (0..60).map(|at| format!("user-{at:03}")).collect();
    for id in &ids {
        study(store, id, "01:00:00").await;
    }
    close_day(store, &[], 0).await;
    let limits = BatchLimits { users_max: 7, entries_bytes_max: 300, ..LIMITS };
    let mut heard = Vec::new();
    while let NextBatch::Send(batch) = store.next_batch(limits).await.unwrap() {
        let bytes: usize = batch.users.iter().map(|entry| entry_bytes(entry) + 1).sum();
        assert!(batch.users.len() <= 7 && bytes - 1 <= 300, "{batch:?}");
        heard.extend(told(&batch).into_iter().map(|(_, id, _)| id));
        acknowledge(store, &batch, KeepOnline::Yes).await;
    }
    heard.sort();
    assert_eq!(heard, ids);
}

pub(crate) async fn an_entry_that_fits_no_frame_stays_and_stops_nobody(store: &impl StateStore) {
    let long = "x".repeat(200);
    study(store, &long, "01:00").await;
    study(store, "u1", "02:00").await;
    close_day(store, &[], 0).await;
    let limits = BatchLimits { entries_bytes_max: 100, ..LIMITS };
    let NextBatch::Send(batch) = store.next_batch(limits).await.unwrap() else { panic!() };
    assert_eq!(told(&batch), [entry(1, "u1", Some("02:00"))]);
    acknowledge(store, &batch, KeepOnline::Yes).await;
    for _ in 0..2 {
        let next = store.next_batch(limits).await.unwrap();
        assert_eq!(next, NextBatch::TooLong { users: 1 });
    }
    assert_eq!(store.night().await.unwrap().undelivered.len(), 1);
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(1, &long, Some("01:00"))]]);
}

pub(crate) async fn a_user_who_is_gone_loses_the_record_when_auth_has_it(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    close(store, "s1").await;
    close_day(store, &[], 0).await;
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(1, "u1", None)]]);
    assert_eq!(study(store, "u1", "00:01").await, record("u1", None, None, Some("00:01")));
}

pub(crate) async fn a_user_who_is_online_keeps_the_record(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    study(store, "u1", "01:00").await;
    close_day(store, &[], 0).await;
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(1, "u1", Some("01:00"))]]);
    assert_eq!(study(store, "u1", "00:01").await, record("u1", Some(7), Some("s1"), Some("00:01")));
    assert!(close(store, "s1").await.is_some());
}

pub(crate) async fn without_keep_online_records_and_sessions_go(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    study(store, "u1", "01:00").await;
    close_day(store, &[], 0).await;
    assert_eq!(deliver_all(store, KeepOnline::No).await, [[entry(1, "u1", Some("01:00"))]]);
    assert_eq!(close(store, "s1").await, None);
    assert_eq!(study(store, "u1", "00:01").await, record("u1", None, None, Some("00:01")));
}

pub(crate) async fn without_keep_online_what_the_new_day_wrote_to_stays(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    open(store, "u2", 7, "s2").await;
    close_day(store, &[], 0).await;
    study(store, "u1", "00:01").await;
    open(store, "u2", 8, "s3").await;
    deliver_all(store, KeepOnline::No).await;
    let expected = record("u1", Some(7), Some("s1"), Some("00:01"));
    assert_eq!(close(store, "s1").await, Some(expected));
    assert_eq!(close(store, "s3").await, Some(record("u2", Some(8), Some("s3"), None)));
}

pub(crate) async fn two_closed_days_go_out_the_older_first_and_never_in_one_frame(
    store: &impl StateStore,
) {
    study(store, "u1", "01:00").await;
    study(store, "u2", "02:00").await;
    close_day(store, &[], 0).await;
    study(store, "u1", "01:01").await;
    study(store, "u3", "03:01").await;
    close_day(store, &[], 1).await;
    let expected = [
        vec![entry(1, "u1", Some("01:00")), entry(1, "u2", Some("02:00"))],
        vec![entry(2, "u1", Some("01:01")), entry(2, "u3", Some("03:01"))],
    ];
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, expected);
}

pub(crate) async fn an_idle_user_has_nothing_new_to_tell(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    study(store, "u2", "02:00").await;
    close_day(store, &[], 0).await;
    close_day(store, &[], 1).await;
    let expected = [[entry(1, "u1", None), entry(1, "u2", Some("02:00"))]];
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, expected);
    close_day(store, &[], 2).await;
    // Online all day: attended.
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(3, "u1", None)]]);
}

pub(crate) async fn a_second_close_during_a_delivery_joins_it(store: &impl StateStore) {
    study(store, "u1", "01:00").await;
    close_day(store, &[], 0).await;
    let first = expect_batch(store).await;
    close_day(store, &[listed("u2", Some("02:00"))], 1).await;
    acknowledge(store, &first, KeepOnline::Yes).await;
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(2, "u2", Some("02:00"))]]);
}

pub(crate) async fn an_open_night_closes_when_it_is_overdue(store: &impl StateStore) {
    assert_eq!(store.close_overdue_day(at(0), LAST_TIMEOUT).await.unwrap(), None);
    list(store, &[listed("u1", Some("01:00"))], 0).await;
    assert_eq!(store.close_overdue_day(at(599), LAST_TIMEOUT).await.unwrap(), None);
    list(store, &[], 300).await;
    assert_eq!(store.close_overdue_day(at(899), LAST_TIMEOUT).await.unwrap(), None);
    assert_eq!(store.close_overdue_day(at(900), LAST_TIMEOUT).await.unwrap(), Some(Day(1)));
    assert_eq!(store.close_overdue_day(at(901), LAST_TIMEOUT).await.unwrap(), None);
    assert_eq!(studied(store, "u1").await, None);
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(1, "u1", Some("01:00"))]]);
}

pub(crate) async fn no_night_overwrites_the_listing_of_another(store: &impl StateStore) {
    list(store, &[listed("u1", Some("01:00"))], 0).await;
    list(store, &[listed("u1", Some("02:00"))], 700).await;
    assert_eq!(close_day(store, &[listed("u2", Some("03:00"))], 1400).await, Day(3));
    let expected = [
        [entry(1, "u1", Some("01:00"))],
        [entry(2, "u1", Some("02:00"))],
        [entry(3, "u2", Some("03:00"))],
    ];
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, expected);
}

pub(crate) async fn a_late_listing_amends_what_was_set_aside(store: &impl StateStore) {
    list(store, &[listed("u1", Some("01:00"))], 0).await;
    study(store, "u1", "00:01").await;
    list(store, &[listed("u1", Some("01:10"))], 1).await;
    assert_eq!(studied(store, "u1").await.as_deref(), Some("00:01"));
    list(store, &[listed("u1", None)], 2).await;
    close_day(store, &[], 3).await;
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, [[entry(1, "u1", Some("01:10"))]]);
    assert_eq!(studied(store, "u1").await.as_deref(), Some("00:01"));
}

pub(crate) async fn a_user_may_be_listed_night_after_night(store: &impl StateStore) {
    for night in 1..4 {
        list(store, &[listed("u1", None)], night).await;
        study(store, "u1", "00:01").await;
        close_day(store, &[], night).await;
        assert_eq!(studied(store, "u1").await.as_deref(), Some("00:01"), "{night}");
    }
    let expected =
        [[entry(1, "u1", None)], [entry(2, "u1", Some("00:01"))], [entry(3, "u1", Some("00:01"))]];
    assert_eq!(deliver_all(store, KeepOnline::Yes).await, expected);
}

/// Everything that a close would tell, over pages of two users.
async fn planned(store: &impl StateStore) -> (Day, Vec<(String, Option<String>)>) {
    let (mut users, mut from) = (std::collections::BTreeMap::new(), None);
    loop {
        let plan = store.night_plan(from, 2).await.unwrap();
        for entry in plan.users.items {
            let time = entry.study_time.map(|time| time.as_str().to_owned());
            users.insert(entry.user.as_str().to_owned(), time);
        }
        from = plan.users.next;
        if from.is_none() {
            return (plan.day, users.into_iter().collect());
        }
    }
}

/// Closes the running day, which tells exactly what was planned; delivers all that is left.
async fn close_as_planned(store: &impl StateStore, keep: KeepOnline) {
    let (day, expected) = planned(store).await;
    assert_eq!(close_day(store, &[], 0).await, day);
    let heard = deliver_all(store, keep).await.into_iter().flatten();
    let mut heard: Vec<_> =
        heard.filter(|(of_day, _, _)| *of_day == day.0).map(|(_, id, time)| (id, time)).collect();
    heard.sort();
    assert_eq!(heard, expected);
}

pub(crate) async fn a_close_tells_what_was_planned(store: &impl StateStore) {
    assert_eq!(planned(store).await, (Day(1), Vec::new()));
    for number in 0..7 {
        open(store, &format!("online {number}"), 1, &format!("s{number}")).await;
    }
    study(store, "online 1", "01:00").await;
    study(store, "offline", "02:00").await;
    study(store, "listed", "03:00").await;
    list(store, &[listed("listed", Some("03:30")), listed("listed only", None)], 0).await;
    study(store, "listed", "00:05").await;
    let (day, plan) = planned(store).await;
    assert_eq!((day, plan.len()), (Day(1), 10));
    assert!(plan.contains(&("listed".to_owned(), Some("03:30".to_owned()))));
    assert!(plan.contains(&("listed only".to_owned(), None)));
    assert_eq!(studied(store, "listed").await.as_deref(), Some("00:05"), "nothing was changed");
    // Day 1 stays undelivered while day 2 is planned.
    close_day(store, &[], 1).await;
    study(store, "online 1", "01:10").await;
    study(store, "online 2", "01:20").await;
    let batch = expect_batch(store).await;
    study(store, "online 3", "01:30").await;
    close(store, "s5").await;
    close_as_planned(store, KeepOnline::Yes).await;
    drop(batch);
    // Who is online and did nothing is told again, without a time.
    study(store, "offline", "04:00").await;
    close_as_planned(store, KeepOnline::Yes).await;
    close_as_planned(store, KeepOnline::No).await;
    assert_eq!(planned(store).await.1, []);
}

pub(crate) async fn a_plan_follows_a_frame_at_every_step(store: &impl StateStore) {
    for number in 0..5 {
        open(store, &format!("u{number}"), 1, &format!("s{number}")).await;
        study(store, &format!("u{number}"), "01:00").await;
    }
    close_day(store, &[], 0).await;
    assert_eq!(planned(store).await, (Day(2), Vec::new()), "all of them still wait for auth");
    let batch = expect_batch(store).await;
    assert_eq!(planned(store).await, (Day(2), Vec::new()));
    study(store, "u1", "02:00").await;
    assert_eq!(planned(store).await.1, [("u1".to_owned(), Some("02:00".to_owned()))]);
    acknowledge(store, &batch, KeepOnline::Yes).await;
    assert_eq!(planned(store).await.1.len(), 5);
    close_as_planned(store, KeepOnline::Yes).await;
}

pub(crate) async fn nights_are_remembered_with_who_closed_them_and_what_was_told(
    store: &impl StateStore,
) {
    assert_eq!(store.night_history(9).await.unwrap(), []);
    study(store, "u1", "01:00").await;
    study(store, "u2", "01:00").await;
    close_day(store, &[], 5).await;
    study(store, "u1", "02:00").await;
    list(store, &[], 10).await;
    assert_eq!(store.close_overdue_day(at(800), LAST_TIMEOUT).await.unwrap(), Some(Day(2)));
    assert_eq!(store.close_day_by_hand(at(900)).await.unwrap(), Day(3));
    let undelivered =
        |day, seconds, by| PastNight::new(ClosedDay { day: Day(day), closed_at: at(seconds) }, by);
    let expected = [
        undelivered(3, 900, ClosedBy::Operator),
        undelivered(2, 800, ClosedBy::Timeout),
        undelivered(1, 5, ClosedBy::Last),
    ];
    assert_eq!(store.night_history(9).await.unwrap(), expected);
    assert_eq!(store.night_history(1).await.unwrap(), expected[..1]);
    let before = UnixMillis::now();
    let limits = BatchLimits { users_max: 1, ..LIMITS };
    while let NextBatch::Send(batch) = store.next_batch(limits).await.unwrap() {
        // As after an acknowledgement whose answer was lost.
        acknowledge(store, &batch, KeepOnline::Yes).await;
        acknowledge(store, &batch, KeepOnline::Yes).await;
    }
    let nights = store.night_history(9).await.unwrap();
    let told: Vec<_> =
        nights.iter().map(|night| (night.closed.day.0, night.users, night.frames)).collect();
    assert_eq!(told, [(3, 0, 0), (2, 1, 1), (1, 2, 2)]);
    let in_time = |night: &PastNight| {
        night.delivered_at.is_some_and(|at| (before..=UnixMillis::now()).contains(&at))
    };
    assert!(nights.iter().all(in_time), "{nights:?}");
}

pub(crate) async fn as_many_nights_are_remembered_as_are_named(store: &impl StateStore) {
    let closes = NIGHTS_KEPT as u64 + 3;
    for _ in 0..closes {
        store.close_day_by_hand(at(0)).await.unwrap();
    }
    let nights = store.night_history(usize::MAX).await.unwrap();
    let days: Vec<_> = nights.iter().map(|night| night.closed.day.0).collect();
    assert_eq!(days, (4..=closes).rev().collect::<Vec<_>>());
}

pub(crate) async fn a_day_is_delivered_though_a_later_one_is_not(store: &impl StateStore) {
    for day in 1..=3 {
        study(store, "u1", "01:00").await;
        study(store, "u2", "01:00").await;
        assert_eq!(close_day(store, &[], day).await, Day(day));
    }
    let limits = BatchLimits { users_max: 1, ..LIMITS };
    let first = loop {
        let NextBatch::Send(batch) = store.next_batch(limits).await.unwrap() else {
            panic!("three days are closed");
        };
        if batch.closed.day != Day(1) {
            break batch;
        }
        let (night, nights) = (store.night().await.unwrap(), store.night_history(9).await.unwrap());
        assert_eq!((night.undelivered.len(), nights[2].delivered_at), (3, None));
        acknowledge(store, &batch, KeepOnline::Yes).await;
    };
    assert_eq!(first.closed.day, Day(2));
    let (night, nights) = (store.night().await.unwrap(), store.night_history(9).await.unwrap());
    let days: Vec<_> = night.undelivered.iter().map(|closed| closed.day.0).collect();
    assert_eq!(days, [2, 3]);
    assert!(nights[2].delivered_at.is_some() && nights[1].delivered_at.is_none(), "{nights:?}");
}

pub(crate) async fn a_close_by_hand_ends_the_night_that_was_listing(store: &impl StateStore) {
    list(store, &[listed("u1", Some("01:00"))], 0).await;
    study(store, "u1", "00:05").await;
    assert_eq!(store.close_day_by_hand(at(9)).await.unwrap(), Day(1));
    assert_eq!(store.night().await.unwrap().listed_at, None);
    let heard = deliver_all(store, KeepOnline::Yes).await;
    assert_eq!(heard, [[entry(1, "u1", Some("01:00"))]]);
    assert_eq!(studied(store, "u1").await.as_deref(), Some("00:05"));
}

async fn known(store: &impl StateStore, id: &str) -> Option<KnownUser> {
    store.user(&user(id)).await.unwrap()
}

async fn found(store: &impl StateStore, session_id: &str) -> Option<Record> {
    store.session(&session(session_id)).await.unwrap()
}

pub(crate) async fn a_user_is_known_with_the_record_and_whether_the_session_is_live(
    store: &impl StateStore,
) {
    assert_eq!(known(store, "u1").await, None);
    study(store, "u1", "00:10").await;
    let never_in = KnownUser { record: record("u1", None, None, Some("00:10")), is_live: false };
    assert_eq!(known(store, "u1").await, Some(never_in));
    let here = open(store, "u1", 7, "s1").await;
    assert_eq!(known(store, "u1").await, Some(KnownUser { record: here.clone(), is_live: true }));
    close(store, "s1").await;
    assert_eq!(known(store, "u1").await, Some(KnownUser { record: here, is_live: false }));
    // Another user takes the session over.
    open(store, "u1", 7, "s2").await;
    open(store, "u2", 8, "s2").await;
    assert!(!known(store, "u1").await.unwrap().is_live);
    assert!(known(store, "u2").await.unwrap().is_live);
}

pub(crate) async fn looking_a_session_up_leaves_it_as_it_is(store: &impl StateStore) {
    assert_eq!(found(store, "s1").await, None);
    let first = open(store, "u1", 7, "s1").await;
    assert_eq!(found(store, "s1").await, Some(first.clone()));
    assert_eq!(found(store, "s1").await, Some(first));
    let second = open(store, "u1", 8, "s2").await;
    assert_eq!((found(store, "s1").await, found(store, "s2").await), (None, Some(second.clone())));
    assert_eq!(close(store, "s2").await, Some(second));
    assert_eq!(found(store, "s2").await, None);
    assert_eq!(known(store, "s1").await, None);
}

pub(crate) async fn what_is_looked_up_reads_as_of_the_running_day(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    study(store, "u1", "01:00").await;
    assert_eq!(found(store, "s1").await, Some(record("u1", Some(7), Some("s1"), Some("01:00"))));
    close_day(store, &[], 0).await;
    let today = record("u1", Some(7), Some("s1"), None);
    assert_eq!(found(store, "s1").await, Some(today.clone()));
    assert_eq!(known(store, "u1").await.unwrap().record, today);
    list(store, &[listed("u1", Some("02:00"))], 1).await;
    study(store, "u1", "00:05").await;
    assert_eq!(found(store, "s1").await.unwrap().study_time, Some(time("00:05")));
}

pub(crate) async fn proving_that_changes_are_taken_leaves_no_record(store: &impl StateStore) {
    store.prove_writable().await.unwrap();
    store.prove_writable().await.unwrap();
    close_day(store, &[], 0).await;
    assert_eq!(next(store).await, NextBatch::Nothing);
    assert_eq!(store.night().await.unwrap().undelivered, []);
}

/// The rooms and how many are in each, turned page by page.
async fn rooms(store: &impl StateStore) -> Vec<(i64, u64)> {
    let (mut rooms, mut from) = (Vec::new(), None);
    loop {
        let page = store.rooms(from, 1).await.unwrap();
        rooms.extend(page.items.iter().map(|found| (found.room.0, found.sessions)));
        from = page.next;
        if from.is_none() {
            rooms.sort();
            rooms.dedup();
            return rooms;
        }
    }
}

/// Who is in the room with which session, turned page by page.
async fn members(store: &impl StateStore, room: i64) -> Vec<(String, String)> {
    let (mut members, mut from) = (Vec::new(), None);
    loop {
        let page = store.room_members(RoomId(room), from, 2).await.unwrap();
        members.extend(
            page.items.into_iter().map(|member| {
                (member.user.as_str().to_owned(), member.session.as_str().to_owned())
            }),
        );
        from = page.next;
        if from.is_none() {
            members.sort();
            members.dedup();
            return members;
        }
    }
}

fn member(id: &str, session_id: &str) -> (String, String) {
    (id.to_owned(), session_id.to_owned())
}

pub(crate) async fn a_room_holds_the_live_sessions_that_were_opened_in_it(store: &impl StateStore) {
    assert_eq!((rooms(store).await, members(store, 7).await), (vec![], vec![]));
    open(store, "u1", 7, "s1").await;
    open(store, "u2", 7, "s2").await;
    open(store, "가", i64::MIN, "세션 \"1\"\n").await;
    open(store, "u1", 7, "s1").await;
    assert_eq!(rooms(store).await, [(i64::MIN, 1), (7, 2)]);
    assert_eq!(members(store, 7).await, [member("u1", "s1"), member("u2", "s2")]);
    assert_eq!(members(store, i64::MIN).await, [member("가", "세션 \"1\"\n")]);
    assert_eq!(store.room(RoomId(7)).await.unwrap().sessions, 2);
    assert_eq!(store.room(RoomId(8)).await.unwrap().sessions, 0);
}

pub(crate) async fn a_session_that_moves_is_in_its_new_room_alone(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    open(store, "u1", 8, "s1").await;
    assert_eq!(rooms(store).await, [(8, 1)]);
    assert_eq!(members(store, 8).await, [member("u1", "s1")]);
    for room in [7, 8, 7, 8, 7] {
        open(store, "u1", room, "s1").await;
    }
    assert_eq!(rooms(store).await, [(7, 1)]);
    assert_eq!((members(store, 8).await, members(store, 7).await.len()), (vec![], 1));
}

pub(crate) async fn a_session_without_a_room_is_live_and_in_none(store: &impl StateStore) {
    store.open_session(&user("u1"), None, &session("s1")).await.unwrap();
    assert_eq!(rooms(store).await, []);
    assert!(known(store, "u1").await.unwrap().is_live);
    open(store, "u1", 7, "s1").await;
    assert_eq!(rooms(store).await, [(7, 1)]);
    store.open_session(&user("u1"), None, &session("s1")).await.unwrap();
    assert_eq!(rooms(store).await, []);
}

pub(crate) async fn a_replaced_session_is_in_no_room(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    open(store, "u1", 7, "s2").await;
    assert_eq!(
        (rooms(store).await, members(store, 7).await),
        (vec![(7, 1)], vec![member("u1", "s2")])
    );
    open(store, "u1", 8, "s3").await;
    assert_eq!(
        (rooms(store).await, members(store, 8).await),
        (vec![(8, 1)], vec![member("u1", "s3")])
    );
    store.open_session(&user("u1"), None, &session("s4")).await.unwrap();
    assert_eq!(rooms(store).await, []);
}

pub(crate) async fn a_closed_session_is_in_no_room_until_it_is_opened_again(
    store: &impl StateStore,
) {
    for _ in 0..3 {
        open(store, "u1", 7, "s1").await;
        open(store, "u2", 7, "s2").await;
        assert_eq!(rooms(store).await, [(7, 2)]);
        close(store, "s1").await;
        assert_eq!(members(store, 7).await, [member("u2", "s2")]);
        close(store, "s2").await;
        assert_eq!((rooms(store).await, members(store, 7).await), (vec![], vec![]));
    }
}

pub(crate) async fn of_two_users_of_a_session_the_last_one_is_in_the_room(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    open(store, "u2", 8, "s1").await;
    assert_eq!(
        (members(store, 7).await, members(store, 8).await),
        (vec![], vec![member("u2", "s1")])
    );
    open(store, "u1", 7, "s3").await;
    assert_eq!(members(store, 7).await, [member("u1", "s3")]);
    assert_eq!(members(store, 8).await, [member("u2", "s1")]);
}

pub(crate) async fn who_is_forgotten_is_in_no_room(store: &impl StateStore) {
    open(store, "u1", 7, "s1").await;
    open(store, "u2", 7, "s2").await;
    close_day(store, &[], 0).await;
    study(store, "u2", "00:01").await;
    deliver_all(store, KeepOnline::No).await;
    assert_eq!(
        (rooms(store).await, members(store, 7).await),
        (vec![(7, 1)], vec![member("u2", "s2")])
    );
}

pub(crate) async fn rooms_and_members_come_in_pages(store: &impl StateStore) {
    let many = 300;
    for number in 0..many {
        open(store, &format!("u{number}"), number % 3, &format!("s{number}")).await;
        open(store, &format!("v{number}"), 1000 + number, &format!("t{number}")).await;
    }
    assert_eq!(rooms(store).await.len(), many as usize + 3);
    assert_eq!(members(store, 1).await.len(), many as usize / 3);
    let page = store.rooms(None, usize::MAX).await.unwrap();
    assert!(!page.items.is_empty());
}
