//! Values that are each allowed but don't go together.

use std::time::Duration;

use super::{Config, Gateway, Listen, StoreUrl, StudyTimeReply, address};

/// After this time the fleet's clients give up and drop the connection.
const CLIENTS_GIVE_UP: Duration = Duration::from_secs(10);

/// A sentence for each doubt.
pub(super) fn of(config: &Config) -> Vec<String> {
    let gateways = &config.gateways;
    let mut doubts = Vec::new();
    doubts.extend(request_timeout(config));
    doubts.extend(listeners(config));
    doubts.extend(open(config));
    // Only these two are asked while a request waits.
    doubts.extend(reply_timeout(config, "signaling", &gateways.signaling));
    if config.signaling.study_time_reply == StudyTimeReply::WithOwner {
        doubts.extend(reply_timeout(config, "room", &gateways.room));
    }
    doubts.extend(command_timeout(config));
    let all =
        [("room", &gateways.room), ("signaling", &gateways.signaling), ("auth", &gateways.auth)];
    for (name, gateway) in all {
        doubts.extend(frame_bytes(name, gateway));
    }
    doubts.extend(admin_token(config));
    doubts
}

/// As with the admin server, only what is loopback by its text leaves no doubt.
fn listeners(config: &Config) -> Vec<String> {
    let in_the_clear = |(_, listen): &(usize, &Listen)| {
        !listen.tls.is_on() && !address::is_loopback(&listen.address)
    };
    let doubtful = config.listen.iter().enumerate().filter(in_the_clear);
    let doubt = |(index, listen): (usize, &Listen)| {
        format!(
            "listen[{index}].address is {}, which others may reach, and there is no TLS: whoever is \
             in between reads and changes what is said there",
            listen.address
        )
    };
    doubtful.map(doubt).collect()
}

fn open(config: &Config) -> Option<String> {
    (config.open && !config.peers.is_empty()).then(|| {
        "open is true and has no effect: there are [[peers]], and nobody else may speak".to_owned()
    })
}

fn request_timeout(config: &Config) -> Option<String> {
    let limit = config.limits.request_timeout;
    (limit >= CLIENTS_GIVE_UP).then(|| {
        format!("limits.request_timeout is {limit:?}: the fleet's clients give up after 10s")
    })
}

fn reply_timeout(config: &Config, name: &str, gateway: &Gateway) -> Option<String> {
    // A call that has to make its connection may take both.
    let inner = gateway.connect_timeout + gateway.reply_timeout;
    let outer = config.limits.request_timeout;
    (inner >= outer).then(|| {
        format!(
            "gateways.{name}.connect_timeout and reply_timeout are {inner:?} together, not below \
             limits.request_timeout, {outer:?}, which ends the request first"
        )
    })
}

fn command_timeout(config: &Config) -> Option<String> {
    let on_redis = match &config.store.url {
        StoreUrl::Memory | StoreUrl::Embedded(_) => false,
        StoreUrl::Redis(_) | StoreUrl::RedisCluster(_) | StoreUrl::RedisSentinel { .. } => true,
    };
    let (inner, outer) = (config.store.redis.command_timeout, config.limits.request_timeout);
    (on_redis && inner >= outer).then(|| {
        format!(
            "store.redis.command_timeout is {inner:?}, not below limits.request_timeout, \
             {outer:?}, which ends the request first"
        )
    })
}

fn frame_bytes(name: &str, gateway: &Gateway) -> Option<String> {
    let (wanted, possible) = (gateway.max_frame_bytes, gateway.framing.payload_bytes_max());
    (wanted > possible).then(|| {
        format!(
            "gateways.{name}.max_frame_bytes is {wanted}: {} carries at most {possible}",
            gateway.framing.name()
        )
    })
}

/// A name may be resolved to anything, so only what is loopback by its text leaves no doubt.
fn admin_token(config: &Config) -> Option<String> {
    let admin = &config.admin;
    let is_open = admin.token.is_none() && !admin.address.is_empty();
    (is_open && !address::is_loopback(&admin.address)).then(|| {
        format!(
            "admin.address is {}, which others may reach, and there is no admin.token: the admin \
             API will refuse every request that changes something",
            admin.address
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::connection::frame::Framing;

    fn check(change: fn(&mut Config), expected: &[&str]) {
        let mut config = Config::default();
        change(&mut config);
        assert_eq!(of(&config), expected);
    }

    #[test]
    fn the_defaults_leave_no_doubt() {
        check(|_| {}, &[]);
    }

    #[test]
    fn an_admin_server_that_others_reach_without_a_token_is_doubted() {
        let doubt = "admin.address is 0.0.0.0:8091, which others may reach, and there is no \
                     admin.token: the admin API will refuse every request that changes something";
        check(|config| config.admin.address = "0.0.0.0:8091".to_owned(), &[doubt]);
        check(|config| config.admin.address = String::new(), &[]);
        for loopback in ["127.0.0.2:1", "[::1]:1", "localhost:1"] {
            let mut config = Config::default();
            config.admin.address = loopback.to_owned();
            assert_eq!(of(&config), Vec::<String>::new());
        }
        check(
            |config| {
                config.admin.address = "0.0.0.0:8091".to_owned();
                config.admin.token = Some(Secret::new("0123456789abcdef"));
            },
            &[],
        );
    }

    #[test]
    fn a_listener_that_others_reach_in_the_clear_is_doubted() {
        let doubt = "listen[0].address is [::]:8099, which others may reach, and there is no TLS: \
                     whoever is in between reads and changes what is said there";
        check(|config| config.listen[0].address = "[::]:8099".to_owned(), &[doubt]);
        check(|config| config.listen[0].address = "127.0.0.9:8099".to_owned(), &[]);
    }

    #[test]
    fn a_daemon_that_is_open_to_all_and_to_some_is_doubted() {
        let peers = "[[peers]]\naddresses = \"::1\"\nservers = \"*\"";
        let doubts = |text: &str| of(&crate::config::check_text(text).unwrap());
        assert_eq!(doubts(peers), [""; 0]);
        assert_eq!(doubts("open = true"), [""; 0]);
        assert_eq!(
            doubts(&format!("open = true\n{peers}")),
            ["open is true and has no effect: there are [[peers]], and nobody else may speak"]
        );
    }

    #[test]
    fn a_limit_that_another_one_makes_useless_is_doubted() {
        check(
            |config| config.limits.request_timeout = Duration::from_secs(12),
            &["limits.request_timeout is 12s: the fleet's clients give up after 10s"],
        );
        check(
            |config| config.limits.request_timeout = Duration::from_secs(5),
            &["gateways.signaling.connect_timeout and reply_timeout are 7s together, not below \
               limits.request_timeout, 5s, which ends the request first"],
        );
        check(
            |config| {
                config.signaling.study_time_reply = StudyTimeReply::WithOwner;
                config.gateways.room.reply_timeout = Duration::from_secs(8);
            },
            &["gateways.room.connect_timeout and reply_timeout are 10s together, not below \
               limits.request_timeout, 8s, which ends the request first"],
        );
        check(
            |config| {
                config.store.url = StoreUrl::Redis(Secret::new("redis://h:1"));
                config.store.redis.command_timeout = Duration::from_secs(9);
            },
            &["store.redis.command_timeout is 9s, not below limits.request_timeout, 8s, which \
               ends the request first"],
        );
        check(
            |config| config.gateways.room.framing = Framing::Length1,
            &["gateways.room.max_frame_bytes is 2046: length1 carries at most 255"],
        );
    }
}
