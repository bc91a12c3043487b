//! Reads from what was seen whether the promises were kept.

use std::collections::HashMap;
use std::time::Duration;

use super::history::{Asked, Heard, Seen};
use super::model::{self, Verdict};
use super::plan::{Fault, Kind, Plan, TICK, Theme};
use super::request::{GROUPS, Request, id};

/// All promises, one after the other; the first that was broken.
pub(crate) fn everything(plan: &Plan, seen: &mut Seen) -> Result<(), String> {
    if let Some(complaint) = seen.complaints.first() {
        return Err(complaint.clone());
    }
    stopped(plan, seen)?;
    forwarded(seen)?;
    told_at_most_once(seen)?;
    nothing_invented(seen)?;
    answered_in_time(plan, seen)?;
    if plan.theme == Theme::Deaths {
        return Ok(());
    }
    for group in 0..GROUPS {
        match model::order_of(seen, group, plan.config.rollover.keep_online) {
            Verdict::Found => {}
            Verdict::Undecided => seen.undecided += 1,
            Verdict::Impossible(nearly) => {
                return Err(format!(
                    "no order of what was asked about users {} and {} makes all answers, and what auth was told, right; {nearly}",
                    group * 2,
                    group * 2 + 1
                ));
            }
        }
    }
    Ok(())
}

/// The daemon stops in its time and leaves no task behind.
fn stopped(plan: &Plan, seen: &Seen) -> Result<(), String> {
    let Some((took, tasks)) = seen.stopped else {
        return Err("the daemon did not stop".to_owned());
    };
    let grace = plan.config.limits.shutdown_grace + Duration::from_secs(4);
    match tasks {
        0 if took <= grace => Ok(()),
        0 => Err(format!("the daemon took {took:?} to stop")),
        _ => Err(format!("{tasks} tasks are left after the stop")),
    }
}

/// What room says to signaling arrives once or not at all, in its order, and the answer is true.
fn forwarded(seen: &Seen) -> Result<(), String> {
    let mut last_of: HashMap<(usize, usize), (i64, usize)> = HashMap::new();
    let heard: Vec<(usize, &Heard)> =
        seen.heard.iter().enumerate().filter(|(_, heard)| heard.peer == "signaling").collect();
    for asked in &seen.asked {
        let Some((user, number)) = asked.request.forwarded() else { continue };
        let (kind, member) = match asked.request {
            Request::Alert { .. } => ("ALERT", "alert_count"),
            _ => ("KICK_OUT", "room_id"),
        };
        let mut arrivals = heard
            .iter()
            .filter(|(_, heard)| heard.message["type"] == kind && heard.message[member] == number);
        let (first, second) = (arrivals.next(), arrivals.next());
        if second.is_some() {
            return Err(format!("signaling is told twice: {:?}", asked.request));
        }
        let Some((_, reply)) = &asked.reply else { continue };
        let text = String::from_utf8_lossy(reply);
        match first {
            Some((_, heard)) if !heard.accepted && reply.is_empty() => {
                return Err(format!(
                    "{:?} was refused and is answered with success",
                    asked.request
                ));
            }
            None if reply.is_empty() => {
                return Err(format!("{:?} is answered and was never told", asked.request));
            }
            Some(_) if text.contains("CHAT-021") => {
                return Err(format!("{:?} was told, and answered with CHAT-021", asked.request));
            }
            Some((at, _)) if reply.is_empty() => {
                let before = last_of.insert((asked.connection, user), (number, *at));
                if let Some((earlier, arrived)) = before.filter(|(_, arrived)| arrived > at) {
                    return Err(format!("{number} overtook {earlier}: {at} before {arrived}"));
                }
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Room is told of no leave twice, and of none that was not.
fn told_at_most_once(seen: &Seen) -> Result<(), String> {
    let told = seen.heard.iter().filter(|heard| heard.peer == "room");
    let mut times: HashMap<(String, i64), usize> = HashMap::new();
    for heard in told {
        let user = heard.message["user_id"].as_str().unwrap_or_default().to_owned();
        let room = heard.message["room_id"].as_i64().unwrap_or_default();
        *times.entry((user, room)).or_default() += 1;
    }
    for ((user, room), times) in times {
        let leaves = leaves_that_can_have_been(seen, &user, room);
        if times > leaves {
            return Err(format!(
                "room is told {times} times that {user} left {room}, who left {leaves} times"
            ));
        }
    }
    Ok(())
}

/// Study times of the user that may have come while the user was in the room.
fn leaves_that_can_have_been(seen: &Seen, user: &str, room: i64) -> usize {
    let entries = |asked: &&Asked| matches!(&asked.request, Request::Subscribe { user: of, .. } if id(*of) == user);
    let Some(entry) =
        seen.asked.iter().filter(entries).find(
            |asked| matches!(&asked.request, Request::Subscribe { room: of, .. } if *of == room),
        )
    else {
        return 0;
    };
    let entered_by = answered_at(entry);
    let left_by = seen
        .asked
        .iter()
        .filter(entries)
        .filter(|other| other.at > entered_by.saturating_add(TICK))
        .map(answered_at)
        .min()
        .unwrap_or(Duration::MAX);
    let leaves = seen.asked.iter().filter(|asked| {
        matches!(&asked.request, Request::StudyTimeTo { user: of, .. } if id(*of) == user)
            && answered_at(asked).saturating_add(TICK) >= entry.at
            && asked.at <= left_by.saturating_add(TICK)
    });
    leaves.count()
}

fn answered_at(asked: &Asked) -> Duration {
    asked.reply.as_ref().map_or(Duration::MAX, |(at, _)| *at)
}

/// Auth is told no study time that nobody sent, and none as another's.
fn nothing_invented(seen: &Seen) -> Result<(), String> {
    let mut sent: HashMap<&str, Vec<String>> = HashMap::new();
    for asked in &seen.asked {
        match &asked.request {
            Request::StudyTimeTo { user, time } => sent.entry(time).or_default().push(id(*user)),
            Request::List { entries, .. } => {
                for (user, time) in entries {
                    if let Some(time) = time {
                        sent.entry(time).or_default().push(id(*user));
                    }
                }
            }
            _ => {}
        }
    }
    let told = seen.heard.iter().filter(|heard| heard.peer == "auth");
    for entry in told.filter_map(|heard| heard.message["users"].as_array()).flatten() {
        let (user, time) =
            (entry["user_id"].as_str().unwrap_or_default(), entry["study_time"].as_str());
        let known =
            time.is_none_or(|time| sent.get(time).is_some_and(|of| of.iter().any(|of| of == user)));
        if !known {
            return Err(format!("auth is told {entry}, which nobody sent"));
        }
    }
    Ok(())
}

/// A request that nothing came in the way of is answered in its time.
fn answered_in_time(plan: &Plan, seen: &Seen) -> Result<(), String> {
    let limits = &plan.config.limits;
    for asked in &seen.asked {
        let line = seen.lines_of_callers[asked.connection];
        // Whoever is not read any further waits for those before it.
        let turns = 1 + asked.ahead / limits.max_in_flight;
        let on_the_way = plan.latency_max * 4 + TICK * 4;
        let by = asked.at + limits.request_timeout * turns as u32 + on_the_way;
        let disturbed =
            plan.faults.iter().any(|fault| comes_between(fault, asked, line.opened_at, by));
        let ended = line.ended_at.filter(|_| !line.given_up).unwrap_or(Duration::MAX);
        let hung_up_first = line.given_up && line.ended_at.is_some_and(|at| at < by);
        if !disturbed && !hung_up_first && answered_at(asked).min(ended) > by {
            let at = asked.at;
            return Err(format!("asked at {at:?} and not answered by {by:?}: {:?}", asked.request));
        }
    }
    Ok(())
}

fn comes_between(fault: &Fault, asked: &Asked, opened_at: Duration, by: Duration) -> bool {
    // What is late arrives, and all that was said meanwhile.
    let late = Duration::from_secs(1);
    match fault.kind {
        // A byte that is lost stays lost: this network sends nothing again.
        Kind::Partition(host) | Kind::Deaf(host) | Kind::Mute(host) if host == asked.host => {
            fault.from <= by && fault.until + late >= opened_at
        }
        Kind::Hold(host) | Kind::Slow(host) if host == asked.host => {
            fault.from <= by && fault.until + late >= asked.at
        }
        Kind::Crash("daemon") => fault.from <= by && fault.until + late >= opened_at,
        Kind::Partition(_)
        | Kind::Deaf(_)
        | Kind::Mute(_)
        | Kind::Hold(_)
        | Kind::Slow(_)
        | Kind::Crash(_) => false,
    }
}
