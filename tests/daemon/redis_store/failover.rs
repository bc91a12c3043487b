//! The whole daemon under load while a master is lost or a slot moves: every request is answered, no
//! answer is another's, and nothing that was acknowledged is gone.

use super::load::Load;
use crate::fleet::{Fleet, times_in};
use crate::harness::{Daemon, Setup, wait_until};
use crate::place::{Place, wait_for};
use crate::played::Act;
use crate::requests::{enter, last, leave, study_time};
use crate::servers::redis::{RedisCluster, RedisSentinel, RedisServer};

/// A daemon on this, and a room service that hears who leaves.
fn on(place: &Place) -> (Fleet, Daemon) {
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet).keeps(place).start();
    (fleet, daemon)
}

/// From now on the server holds back every write, so that none of those that were acknowledged is
/// missing at its replica. Those that come remain on their way.
fn hold_writes_until_replicated(master: &RedisServer) {
    wait_for(master.ask::<()>(&["CLIENT", "PAUSE", "60000", "WRITE"]));
    wait_for(master.replicated());
}

#[test]
fn under_load_a_killed_master_is_replaced_by_its_sentinels_and_nothing_acknowledged_is_lost() {
    let mut sentinel = wait_for(RedisSentinel::start());
    let (_fleet, daemon) = on(&Place::on_sentinel(&sentinel));
    let load = Load::begin(&daemon, &["a", "b"]);
    hold_writes_until_replicated(&sentinel.master);
    sentinel.master.stop();
    load.goes_on();
    assert!(load.refused(|_| true) > 0, "there was no master for a while");
    load.end(&daemon);
}

#[test]
fn under_load_a_master_that_hangs_is_replaced_and_not_heard_when_it_goes_on() {
    let sentinel = wait_for(RedisSentinel::start());
    let (_fleet, daemon) = on(&Place::on_sentinel(&sentinel));
    let load = Load::begin(&daemon, &["a", "b"]);
    hold_writes_until_replicated(&sentinel.master);
    sentinel.master.pause();
    load.goes_on();
    assert!(load.refused(|_| true) > 0, "there was no master for a while");
    sentinel.master.resume();
    load.goes_on();
    load.end(&daemon);
}

#[test]
fn under_load_a_slot_that_moves_with_its_keys_goes_unnoticed() {
    let cluster = wait_for(RedisCluster::start(0));
    let (_fleet, daemon) = on(&Place::on_cluster(&cluster));
    let load = Load::begin(&daemon, &["moved", "stays"]);
    let key = "realTimeData:{moved}0-u0";
    for _ in 0..4 {
        wait_for(async {
            let from = cluster.master_of(key).await;
            let to = cluster.nodes.iter().find(|node| node.port != from.port).unwrap();
            let moving = cluster.begin_move(key, to).await;
            // Half-way it stays for a while.
            load.goes_on();
            cluster.move_keys(&moving, from, to).await;
            load.goes_on();
            cluster.end_move(moving).await;
        });
        load.goes_on();
    }
    assert_eq!(load.refused(|_| true), 0);
    load.end(&daemon);
}

#[test]
fn under_load_a_lost_master_of_a_cluster_is_replaced_and_others_are_served_meanwhile() {
    let mut cluster = wait_for(RedisCluster::start(1));
    set(&cluster, "cluster-require-full-coverage", "no");
    // However long it was without its master, a replica may take over; but not before it is told.
    set(&cluster, "cluster-replica-validity-factor", "0");
    set(&cluster, "cluster-replica-no-failover", "yes");
    let (_fleet, daemon) = on(&Place::on_cluster(&cluster));
    // A tag of each master: the first is not the one that has the night.
    let mut tags: Vec<(u16, &'static str)> = Vec::new();
    let night = wait_for(cluster.master_of("stated:night")).port;
    for tag in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"] {
        let port = wait_for(cluster.master_of(&format!("realTimeData:{{{tag}}}"))).port;
        if tags.iter().all(|(known, _)| *known != port) {
            tags.push((port, tag));
        }
    }
    assert_eq!(tags.len(), 3, "one of each master");
    tags.sort_by_key(|(port, _)| *port == night);
    let all = tags.iter().map(|(_, tag)| *tag).collect::<Vec<_>>();
    let load = Load::begin(&daemon, &all);
    lose(&mut cluster, tags[0].0);
    let is_lost = |tag: &str| tag == all[0];
    wait_until("its slots have no master", || load.refused(is_lost) > 0);
    load.goes_on_for(|tag| !is_lost(tag));
    set(&cluster, "cluster-replica-no-failover", "no");
    load.goes_on();
    // The night's: without it nobody is served until its replica has taken over.
    lose(&mut cluster, night);
    load.goes_on();
    load.end(&daemon);
}

/// Closes a day of 60 users, loses the master when auth has the first frame, and has auth answer only
/// then. Each time is told once.
fn deliver_while(place: &Place, lose_master: impl FnOnce()) {
    let fleet = Fleet::new();
    fleet.auth.behave(Act::Wait);
    let daemon =
        Setup::with(&fleet).keeps(place).key("gateways.auth.reply_timeout", "\"60s\"").start();
    let mut peer = daemon.connect();
    let users: Vec<_> = (0..60).map(|number| format!("u{number:02}")).collect();
    for user in &users {
        peer.served(leave(user, "00:10:00"));
    }
    peer.served(last(&[]));
    fleet.auth.wait_told(1);
    lose_master();
    fleet.auth.behave(Act::Echo);
    let is_told = |told: &[String]| told.iter().flat_map(|frame| times_in(frame)).count() >= 60;
    let told = fleet.auth.wait_told_that("everybody", is_told);
    let mut of_each: Vec<_> = told.iter().flat_map(|frame| times_in(frame)).collect();
    of_each.sort();
    let expected = users.iter().map(|user| (user.clone(), Some("00:10:00".to_owned())));
    assert_eq!(of_each, expected.collect::<Vec<_>>(), "each time once");
    wait_until("the new day is served", || {
        users.iter().all(|user| peer.ask(enter(user)) == study_time(user, None))
    });
    drop(peer);
    daemon.stop();
    assert_eq!(fleet.auth.told(), told, "what auth has is told again");
}

#[test]
fn a_night_goes_on_over_a_fail_over_and_repeats_no_frame_that_auth_has() {
    let mut sentinel = wait_for(RedisSentinel::start());
    let place = Place::on_sentinel(&sentinel);
    deliver_while(&place, || {
        hold_writes_until_replicated(&sentinel.master);
        sentinel.master.stop();
    });
}

#[test]
fn a_night_goes_on_when_the_master_that_has_it_is_lost_and_repeats_no_frame_that_auth_has() {
    let mut cluster = wait_for(RedisCluster::start(1));
    let place = Place::on_cluster(&cluster);
    let night = wait_for(cluster.master_of("stated:night")).port;
    deliver_while(&place, || lose(&mut cluster, night));
}

/// Of every node that runs.
fn set(cluster: &RedisCluster, option: &str, value: &str) {
    for node in cluster.nodes.iter().filter(|node| node.is_running()) {
        wait_for(node.ask::<()>(&["CONFIG", "SET", option, value]));
    }
}

fn lose(cluster: &mut RedisCluster, port: u16) {
    let master = cluster.nodes.iter_mut().find(|node| node.port == port).unwrap();
    hold_writes_until_replicated(master);
    master.stop();
}
