//! The keys of `[rollover]`.

use super::super::form::{count, duration, flag, text};
use super::super::key::{Key, key};
use super::super::{Rollover, TimeZone};
use super::{HOUR, MILLI};

/// All of them.
pub(super) fn keys() -> Vec<Key<Rollover>> {
    vec![
        key(
            "batch_users",
            "25",
            count(1..=10_000, |rollover: &mut Rollover| &mut rollover.batch_users),
            "Users in one message to the auth service at the most.",
        ),
        key(
            "keep_online",
            "true",
            flag(|rollover| &mut rollover.keep_online),
            "Whether users who are online at night keep their room and session.",
        ),
        key(
            "last_timeout",
            "10m",
            duration(MILLI..=24 * HOUR, |rollover| &mut rollover.last_timeout),
            "How long after its latest SCHEDULER a night without SCHEDULER_LAST closes by itself.",
        ),
        key(
            "retry_max",
            "10s",
            duration(MILLI..=HOUR, |rollover| &mut rollover.retry_max),
            "The longest pause before a frame that auth did not acknowledge is sent again; the first \
             is a quarter of a second, and each is twice the one before.",
        ),
        key(
            "stamp",
            "false",
            flag(|rollover| &mut rollover.stamp),
            "Whether messages to the auth service carry `day` and `batch`, by which it can \
             recognise one it already has.",
        ),
        key(
            "time_zone",
            "Asia/Seoul",
            text("the IANA name of a time zone", TimeZone::named, |rollover| {
                &mut rollover.time_zone
            }),
            "The time zone in which days are dated.",
        ),
    ]
}
