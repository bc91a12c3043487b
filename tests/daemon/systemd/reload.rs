//! A reload as the service manager sees it.

use std::fs;

use tokio::process::Child;

use super::{Manager, REPLY, ask, connect, exit, signal, terminate};
use crate::servers::redis::RedisServer;

/// A daemon with a file, whose store is at `url`.
struct Configured<'a> {
    manager: &'a Manager,
    url: String,
    daemon: Child,
}

impl<'a> Configured<'a> {
    fn start(manager: &'a Manager, url: &str) -> Self {
        write(manager, url, "");
        let file = manager.folder.path().join("stated.toml");
        let daemon = manager.start_with(&["--config", file.to_str().unwrap()]);
        Self { manager, url: url.to_owned(), daemon }
    }

    fn reload(&self, more: &str) {
        write(self.manager, &self.url, more);
        signal(&self.daemon, "-HUP");
    }

    async fn stop(self) -> String {
        terminate(&self.daemon);
        let (success, log) = exit(self.daemon).await;
        assert!(success, "{log}");
        log
    }
}

fn write(manager: &Manager, url: &str, more: &str) {
    let folder = manager.folder.path();
    let text = format!(
        "store.url = \"{url}\"\nadmin.address = \"\"\n{more}\n\
         [[listen]]\naddress = \"{}\"\n",
        manager.address
    );
    fs::write(folder.join("draft"), text).unwrap();
    fs::rename(folder.join("draft"), folder.join("stated.toml")).unwrap();
}

/// All that is said from the beginning of a reload to the `STATUS` after its end.
async fn hear_reload(manager: &Manager) -> (Vec<String>, String) {
    manager.hear_until("RELOADING=1").await;
    let mut said = manager.hear_until("READY=1").await;
    assert!(!said.iter().any(|word| word == "STOPPING=1"), "{said:?}");
    let status = said.pop().unwrap();
    (said, status)
}

/// All that is said until the status tells of a reload, wherever the daemon stands.
async fn hear_of_reload(manager: &Manager) -> Vec<String> {
    let mut all = Vec::new();
    while !all.iter().any(|word: &String| word.contains("; reloaded at ")) {
        all.extend(manager.hear().await);
    }
    all
}

#[tokio::test]
async fn the_manager_hears_of_a_reload_from_its_beginning_to_its_end() {
    let manager = Manager::new();
    let configured = Configured::start(&manager, "memory:");
    manager.hear_until("READY=1").await;
    let mut peer = connect(manager.address).await.unwrap();
    assert_eq!(ask(&mut peer).await.unwrap(), REPLY);
    configured.reload("rollover.batch_users = 7");
    let begun = loop {
        let said = manager.hear().await;
        if said.iter().any(|word| word == "RELOADING=1") {
            break said;
        }
    };
    // In one message, as the manager wants it.
    assert!(begun.iter().any(|word| word.starts_with("MONOTONIC_USEC=")), "{begun:?}");
    assert!(begun.contains(&"STATUS=reading the configuration again".to_owned()), "{begun:?}");
    let ended = manager.hear_until("READY=1").await;
    assert!(ended.last().unwrap().starts_with("STATUS=serving; reloaded at 2"), "{ended:?}");
    let status = manager.hear_until("STATUS=serving; connections: 1; in flight: 0;").await;
    let status = status.last().unwrap();
    assert!(status.contains("the store answers; day 1, all closed days delivered; reloaded at "));
    assert_eq!(ask(&mut peer).await.unwrap(), REPLY);
    manager.hear_until("WATCHDOG=1").await;
    configured.stop().await;
}

#[tokio::test]
async fn the_status_says_what_was_wrong_and_what_waits_for_a_restart_until_it_is_mended() {
    let manager = Manager::new();
    let configured = Configured::start(&manager, "memory:");
    manager.hear_until("READY=1").await;
    configured.reload("log.level = \"loud\"\nlimits.max_connections = 0");
    let (_, status) = hear_reload(&manager).await;
    assert!(status.starts_with("STATUS=serving; reload refused at "), "{status}");
    assert!(status.contains("log.level: found \"loud\"") && status.ends_with("(and 1 more)"));
    configured.reload("log.format = \"json\"\nstore.redis.command_timeout = \"3s\"");
    let (_, status) = hear_reload(&manager).await;
    let waits = "; a restart is needed for store.redis.command_timeout, log.format";
    assert!(status.contains("reloaded at") && status.ends_with(waits), "{status}");
    let status = manager.hear_until("STATUS=serving; connections").await;
    assert!(status.last().unwrap().ends_with(waits), "{status:?}");
    configured.reload("");
    let (_, status) = hear_reload(&manager).await;
    assert!(status.starts_with("STATUS=serving; reloaded at "), "{status}");
    assert!(!status.contains("restart"), "{status}");
    configured.stop().await;
}

#[tokio::test]
async fn a_reload_while_the_store_is_away_is_carried_out_and_makes_nobody_ready() {
    let mut redis = RedisServer::start().await;
    redis.stop();
    let manager = Manager::new();
    let configured = Configured::start(&manager, redis.url().expose());
    manager.hear_until("STATUS=waiting for the store").await;
    configured.reload("rollover.batch_users = 7");
    let said = hear_of_reload(&manager).await;
    let foreign = |word: &&String| ["READY=1", "RELOADING=1"].contains(&word.as_str());
    assert_eq!(said.iter().find(foreign), None, "{said:?}");
    assert!(said.last().unwrap().starts_with("STATUS=waiting for the store; "), "{said:?}");
    redis.start_again().await;
    manager.hear_until("READY=1").await;
    let log = configured.stop().await;
    assert!(log.contains("changed: rollover.batch_users: 25 -> 7"), "{log}");
}

/// From its first moments on, when nothing but the signals is set up.
#[tokio::test]
async fn a_reload_at_any_moment_of_a_start_ends_no_daemon() {
    for moment in 0..20 {
        let manager = Manager::new();
        let configured = Configured::start(&manager, "memory:");
        // The shell that becomes the daemon would be ended by the signal.
        let process = format!("/proc/{}/comm", configured.daemon.id().unwrap());
        let listens = format!("/proc/{}/status", configured.daemon.id().unwrap());
        while fs::read_to_string(&process).unwrap().trim() != "stated" || !catches_hangup(&listens)
        {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(std::time::Duration::from_micros(moment * 300)).await;
        signal(&configured.daemon, "-HUP");
        hear_of_reload(&manager).await;
        let log = configured.stop().await;
        assert!(log.contains("\"reloaded\""), "{log}");
    }
}

/// Whether the process handles SIGHUP, which is the lowest bit of what the system says it handles.
fn catches_hangup(status: &str) -> bool {
    let status = fs::read_to_string(status).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 1 == 1
}
