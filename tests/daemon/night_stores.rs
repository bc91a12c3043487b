//! Which night is lived on which store.

use crate::place::{Place, wait_for};
use crate::servers::redis::{RedisCluster, RedisSentinel};
use crate::{night, night_kills};

/// Each of these nights on one more store.
macro_rules! nights {
    ($store:ident, $of:ident: $($night:ident)+) => {
        mod $store {
            $(#[test]
            fn $night() {
                crate::$of::$night(&crate::place::Place::$store());
            })+
        }
    };
}

/// These take seconds to start: one of them sees all the nights.
macro_rules! nights_in_a_row {
    ($of:ident: $($night:ident)+) => {
        #[test]
        fn a_redis_cluster_has_the_same_nights() {
            let cluster = wait_for(RedisCluster::start(0));
            let place = Place::on_cluster(&cluster);
            $(
                println!("{}", stringify!($night));
                wait_for(cluster.clear());
                $of::$night(&place);
            )+
        }

        #[test]
        fn a_redis_under_sentinel_has_the_same_nights() {
            let sentinel = wait_for(RedisSentinel::start());
            let place = Place::on_sentinel(&sentinel);
            $(
                println!("{}", stringify!($night));
                wait_for(sentinel.master.ask::<()>(&["FLUSHALL"]));
                $of::$night(&place);
            )+
        }
    };
}

macro_rules! on_every_store {
    ($($night:ident)+) => {
        nights!(memory, night: $($night)+);
        nights!(embedded, night: $($night)+);
        nights!(redis, night: $($night)+);
        nights_in_a_row!(night: $($night)+);
    };
}

on_every_store! {
    what_is_closed_reads_as_null_from_the_reply_on
    frames_are_as_small_as_auth_reads_them
    a_frame_is_sent_again_until_auth_acknowledges_it
    a_time_after_the_listing_belongs_to_the_new_day
    a_listing_counts_even_if_a_time_came_after_it
    a_night_without_a_last_frame_closes_by_itself
    who_is_online_keeps_room_and_session
    without_keep_online_everybody_goes_but_who_was_written_to
    a_second_close_during_a_delivery_joins_it
    two_undelivered_days_go_out_the_older_first
    a_stamped_frame_is_the_same_when_it_is_sent_again
    who_has_no_time_is_told_and_a_day_without_anybody_is_not
    a_user_who_fits_no_frame_holds_nobody_else_up
    as_many_users_as_a_frame_holds_are_listed_at_once
    a_refused_listing_changes_nothing_and_closes_nothing
}

/// Nights that the daemon itself does not live to see the end of.
mod killed {
    use super::{Place, RedisCluster, RedisSentinel, night_kills, wait_for};

    macro_rules! on_every_lasting_store {
        ($($night:ident)+) => {
            nights!(embedded, night_kills: $($night)+);
            nights!(redis, night_kills: $($night)+);
            nights_in_a_row!(night_kills: $($night)+);
        };
    }

    on_every_lasting_store! {
        no_acknowledged_study_time_is_lost_however_often_the_daemon_is_killed
        a_delivery_goes_on_with_the_same_frame_after_a_crash
        a_stop_in_the_middle_of_a_delivery_repeats_no_frame
        a_night_that_was_cut_off_before_its_last_frame_still_closes_by_itself
        a_day_of_many_users_is_closed_at_once_and_delivered_in_flat_memory
    }

    #[test]
    fn a_day_of_many_users_is_closed_at_once_and_delivered_in_flat_memory_by_the_memory_store() {
        let place = Place::memory();
        night_kills::a_day_of_many_users_is_closed_at_once_and_delivered_in_flat_memory(&place);
    }
}
