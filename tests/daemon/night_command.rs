//! `stated night` against a real daemon: what an operator sees of the night, and does by hand.

use std::net::SocketAddr;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::{Fleet, assert_told_only, times_in};
use crate::harness::{Daemon, Setup};
use crate::http::{admin_address, get, observed};
use crate::played::Act;
use crate::requests::{enter, last, leave, study_time, subscribe};
use crate::status::{ask, complained, on_a_terminal, said};

/// More than a page of the plan holds.
const MANY: usize = 1_200;

fn night(address: SocketAddr, arguments: &[&str]) -> Output {
    ask(address, &[&["night"], arguments].concat()).output().unwrap()
}

/// A daemon with two users who have a time and one who has none.
fn with_three_users(fleet: &Fleet) -> Daemon {
    let daemon = observed(Setup::with(fleet)).start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "00:10:00"));
    peer.served(leave("u2", "00:20:00"));
    peer.served(subscribe("u3", 7, "s3"));
    daemon
}

fn running_day(daemon: &Daemon) -> u64 {
    get(daemon, "/api/v1/night")["day"].as_u64().unwrap()
}

#[test]
fn the_plan_shows_what_auth_would_be_told_and_changes_nothing() {
    let fleet = Fleet::new();
    let daemon = with_three_users(&fleet);
    let address = admin_address(&daemon);
    let output = night(address, &["plan"]);
    let plan = said(&output);
    assert_eq!(output.status.code(), Some(0), "{plan}{}", complained(&output));
    assert!(plan.starts_with("If day 1 were closed now, auth would be told:\n\n"), "{plan}");
    for (user, time) in [("u1", "00:10:00"), ("u2", "00:20:00"), ("u3", "no study time")] {
        assert!(plan.contains(&format!("  {user:<40} {time}\n")), "{plan}");
    }
    assert!(plan.ends_with("\n\nusers 3, 1 of them without a study time\n"), "{plan}");
    let first = night(address, &["plan", "--first", "1"]);
    assert!(said(&first).contains("  … and 2 more\n"), "{}", said(&first));
    assert_told_only(&fleet.auth, &[]);
    assert_eq!(running_day(&daemon), 1);
}

#[test]
fn a_plan_of_many_pages_is_shown_and_counted_wholly() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet)).start();
    let mut peer = daemon.connect();
    for user in 0..MANY {
        peer.send(leave(&format!("user-{user}"), "1"));
    }
    for user in 0..MANY {
        assert_eq!(peer.reply(), study_time(&format!("user-{user}"), Some("1")));
    }
    let address = admin_address(&daemon);
    let output = night(address, &["plan"]);
    assert!(said(&output).contains("  … and 1,180 more\n\nusers 1,200, 0 of them"));
    let output = night(address, &["plan", "--all"]);
    assert_eq!(said(&output).matches("\n  user-").count(), MANY);
    let output = night(address, &["plan", "--json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&plan["day"], plan["entries"].as_array().unwrap().len()), (&1.into(), MANY));
    let output = night(admin_address(&observed(Setup::new()).start()), &["plan", "--json"]);
    let nobody: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(nobody["entries"], serde_json::json!([]));
}

#[test]
fn a_day_is_closed_by_hand_and_followed_until_auth_has_it() {
    let fleet = Fleet::new();
    let daemon = with_three_users(&fleet);
    let address = admin_address(&daemon);
    let output = night(address, &["close", "--yes", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    assert_eq!(said(&output), "day 1 is closed\neverything is delivered\n");
    let mut told: Vec<_> = fleet.auth.told().iter().flat_map(|frame| times_in(frame)).collect();
    told.sort();
    let times = [("u1", Some("00:10:00")), ("u2", Some("00:20:00")), ("u3", None)];
    let times = times.map(|(user, time)| (user.to_owned(), time.map(str::to_owned)));
    assert_eq!(told, times);
    assert_eq!(daemon.connect().ask(enter("u1")), study_time("u1", None));
    let output = night(address, &["status"]);
    let status = said(&output);
    assert!(status.starts_with("  day 2 runs\n  all closed days are delivered\n\n"), "{status}");
    let past = status.lines().last().unwrap();
    assert!(
        past.starts_with("1    ") && past.contains("  operator        3         1  "),
        "{past}"
    );
    let output = night(address, &["status", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["night"]["day"], 2);
    assert_eq!(document["history"]["nights"][0]["closed_by"], "operator");
}

#[test]
fn where_nobody_can_be_asked_nothing_is_closed_without_yes() {
    let daemon = observed(Setup::new()).start();
    let output = night(admin_address(&daemon), &["close"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(complained(&output).contains("--yes"), "{}", complained(&output));
    assert_eq!(running_day(&daemon), 1);
}

#[test]
fn on_a_terminal_only_a_yes_closes_the_day() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet)).start();
    let address = admin_address(&daemon);
    for (typed, code, day) in [("n\n", 1, 1), ("\n", 1, 1), ("\u{4}", 1, 1), ("yes\n", 0, 2)] {
        let Some(output) = on_a_terminal(address, &["night", "close"], typed, &[]) else { return };
        let screen = said(&output);
        assert!(screen.contains("Close day 1 now? It can't be undone. [y/N] "), "{screen}");
        assert_eq!(output.status.code(), Some(code), "{typed:?}: {screen}");
        assert_eq!(screen.contains("day 1 is closed"), code == 0, "{screen}");
        assert_eq!(running_day(&daemon), day);
    }
}

#[test]
fn what_auth_does_not_take_in_time_is_told_and_delivered_later_by_hand() {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::HangUp);
    let daemon = with_three_users(&fleet);
    let address = admin_address(&daemon);
    let output = night(address, &["close", "--yes", "--wait", "1s"]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = "not delivered in time: day 1; the daemon goes on trying\n";
    assert_eq!(complained(&output), complaint);
    let output = night(address, &["status"]);
    let status = said(&output);
    assert!(status.contains("was closed") && status.contains("is not delivered yet"), "{status}");
    assert!(status.contains("\n  under way: day 1, users 3, attempt "), "{status}");
    fleet.auth.behave(Act::Say("SUCCESS".to_owned()));
    let output = night(address, &["deliver", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    assert_eq!(said(&output), "the daemon tries to deliver\neverything is delivered\n");
}

#[test]
fn a_daemon_with_a_token_is_changed_only_by_who_has_it() {
    const TOKEN: &str = "a-token-of-a-test";
    let daemon = observed(Setup::new()).key("admin.token", &format!("\"{TOKEN}\"")).start();
    let address = admin_address(&daemon);
    let refused = night(address, &["close", "--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complained(&refused).contains("admin.token") && complained(&refused).contains("(401)"));
    assert_eq!(night(address, &["plan"]).status.code(), Some(0), "reading needs none");
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let file = file.to_str().unwrap();
    let close = ["night", "close", "--yes", "--token-file"];
    let closed = ask(address, &[&close[..], &[file]].concat()).output().unwrap();
    assert_eq!(said(&closed), "day 1 is closed\n", "{}", complained(&closed));
    let mut by_variable = ask(address, &close[..3]);
    let closed = by_variable.env("STATED_ADMIN__TOKEN", TOKEN).output().unwrap();
    assert_eq!(said(&closed), "day 2 is closed\n", "{}", complained(&closed));
    let missing = ask(address, &[&close[..], &["nowhere"]].concat()).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(complained(&missing).contains("nowhere"), "{}", complained(&missing));
}

#[test]
fn a_day_that_scheduler_last_closed_is_in_the_history_too() {
    let fleet = Fleet::new();
    let daemon = observed(Setup::with(&fleet)).start();
    daemon.connect().served(last(&[("u1", "01:00:00")]));
    let output = night(admin_address(&daemon), &["deliver", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    let output = night(admin_address(&daemon), &["status"]);
    let past = said(&output).lines().last().unwrap();
    assert!(past.contains("  last            1         1  "), "{past}");
}
