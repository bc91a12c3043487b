//! A reload, by a real signal: what is right takes effect without a connection being closed, what is
//! wrong changes nothing.

mod live;
mod moves;

use crate::fleet::Fleet;
use crate::harness::{Setup, wait_until};
use crate::played::Act;
use crate::requests::{enter, heartbeat, kick_out, study_time};

#[test]
fn a_wrong_file_changes_nothing_and_each_mistake_is_told() {
    let setup = Setup::new();
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.served(heartbeat());
    let wrong = setup
        .clone()
        .key("limits.max_frame_bytes", "20")
        .key("limits.max_in_flight", "0")
        .key("rollover.time_zone", "\"Asia/Soul\"");
    daemon.reload_text(&wrong.toml(), "reload refused, nothing is changed: ");
    wait_until("both mistakes are told", || daemon.log.count("reload refused") == 2);
    daemon.log.tells("limits.max_in_flight: found 0, expected");
    daemon.log.tells("did you mean \\\"Asia/Seoul\\\"?");
    // More than 20 bytes, on the connection and on a new one.
    assert_eq!(peer.ask(enter("u1")), study_time("u1", None));
    assert_eq!(daemon.connect().ask(enter("u1")), study_time("u1", None));
    daemon.reload_text("limits.max_frame_bytes = ", "not TOML");
    assert_eq!(peer.ask(enter("u1")), study_time("u1", None));
    // And the next right one is taken.
    daemon.reload(&setup.key("rollover.batch_users", "3"));
    daemon.log.tells("changed: rollover.batch_users: 25 -> 3");
    assert_eq!(peer.ask(enter("u1")), study_time("u1", None));
}

#[test]
fn a_file_that_became_a_pipe_is_not_read_and_holds_up_nobody() {
    let setup = Setup::new();
    let daemon = setup.start();
    daemon.replace_config_by_a_pipe();
    daemon.signal("-HUP");
    let refused = "reload refused, nothing is changed: ";
    wait_until("it is refused", || daemon.log.has(refused));
    daemon.log.tells("is no regular file, so it can't be read again");
    assert_eq!(daemon.connect().ask(enter("u1")), study_time("u1", None));
    daemon.reload(&setup.key("rollover.batch_users", "3"));
}

#[test]
fn what_is_changed_is_told_key_by_key_and_what_waits_for_a_restart_is_named() {
    let setup = Setup::new();
    let daemon = setup.start();
    let changed = setup
        .clone()
        .key("limits.max_in_flight", "5")
        .key("store.redis.command_timeout", "\"3s\"")
        .key("log.format", "\"text\"");
    daemon.reload(&changed);
    daemon.log.tells("changed: limits.max_in_flight: 64 -> 5");
    daemon.log.tells("needs a restart: store.redis.command_timeout: 2s -> 3s");
    daemon.log.tells("needs a restart: log.format: json -> text");
    // It is told again with each reload until the restart, or until it is put back.
    daemon.reload(&changed);
    assert_eq!(daemon.log.count("needs a restart: log.format"), 2);
    assert_eq!(daemon.log.count("changed: limits.max_in_flight"), 1);
    daemon.reload(&setup);
    assert_eq!(daemon.log.count("needs a restart: log.format"), 2);
}

#[test]
fn of_many_reloads_at_once_the_last_file_is_in_force() {
    let fleet = Fleet::new();
    let setup = Setup::with(&fleet);
    let daemon = setup.start();
    for round in 1..=50 {
        let file = setup.clone().key("rollover.batch_users", &round.to_string());
        daemon.write(&file);
        daemon.signal("-HUP");
    }
    wait_until("the last one is in force", || daemon.log.has("-> 50\""));
    // None is carried out twice at once, or out of order: each begins where the one before ended.
    let lines = daemon.log.lines();
    let changes = lines.iter().filter_map(|line| line.split("batch_users: ").nth(1));
    let mut before = "25".to_owned();
    for change in changes {
        let (old, new) = change.split_once(" -> ").unwrap();
        assert_eq!(old, before);
        before = new.split('"').next().unwrap().to_owned();
    }
    assert_eq!(before, "50");
}

#[test]
fn a_daemon_that_stops_reloads_nothing_and_stops_all_the_same() {
    let fleet = Fleet::new();
    fleet.signaling.behave(Act::Wait);
    let daemon = Setup::with(&fleet).start();
    let mut peer = daemon.connect();
    peer.send(kick_out("u1", 1));
    fleet.signaling.wait_told(1);
    daemon.signal("-TERM");
    wait_until("it is stopping", || daemon.log.has("SIGTERM: stopping"));
    daemon.signal("-HUP");
    wait_until("the reload is put off", || daemon.log.has("no reload: the daemon stops"));
    fleet.signaling.behave(Act::Say("SUCCESS".to_owned()));
    assert_eq!(peer.reply(), "");
    let (status, log) = daemon.ended();
    assert!(status.success());
    assert!(!log.has("reloaded"));
}
