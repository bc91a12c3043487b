//! When and how fast a Redis is looked through, changed while that is off and while it goes on.

use crate::harness::{Setup, wait_until};
use crate::place::{Place, wait_for};
use crate::servers::redis::RedisServer;

pub(super) const KEYS: &[&str] =
    &["store.redis.scrub_interval", "store.redis.scrub_keys_per_second"];

const LOOKED_THROUGH: &str = "the store was looked through";

#[test]
fn scrub_interval() {
    let server = wait_for(RedisServer::start());
    wait_for(server.ask::<()>(&["SADD", "chat:room:7:sessions", "stale"]));
    let setup = Setup::new().keeps(&Place::at(server.url().expose()));
    let daemon = setup.clone().key("store.redis.scrub_interval", "\"0s\"").start();
    let mut peer = daemon.connect();
    peer.served(crate::requests::subscribe("u1", 8, "s1"));
    assert!(!daemon.log.has(LOOKED_THROUGH));
    daemon.reload(&setup.key("store.redis.scrub_interval", "\"1h\""));
    wait_until("it is looked through", || daemon.log.has(LOOKED_THROUGH));
    let stale: i64 = wait_for(server.ask(&["EXISTS", "chat:room:7:sessions"]));
    assert_eq!(stale, 0);
}

#[test]
fn scrub_keys_per_second() {
    let server = wait_for(RedisServer::start());
    for number in 0..1000 {
        wait_for(server.ask::<()>(&["SET", &format!("somebody's:{number}"), "1"]));
    }
    let setup = Setup::new().keeps(&Place::at(server.url().expose()));
    let daemon = setup.clone().key("store.redis.scrub_keys_per_second", "1").start();
    wait_until("a pass is under way", || {
        wait_for(server.ask::<i64>(&["EXISTS", "stated:scrub:lock"])) == 1
    });
    // At this pace it would take a quarter of an hour.
    daemon.reload(&setup.key("store.redis.scrub_keys_per_second", "1000000"));
    wait_until("it is looked through", || daemon.log.has(LOOKED_THROUGH));
}
