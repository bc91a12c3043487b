//! File descriptors: as many as the system allows, and a few of them not for peers.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Peers leave so many to the store, the gateways and the admin server.
const RESERVED: u64 = 64;
/// Or, where there are few in all, this part of them.
const RESERVED_SHARE: u64 = 4;
/// What the daemon has open besides connections: the runtime's own, the log, the store's files or its
/// links to Redis, the admin server's clients.
const OWN: usize = 200;

/// How many there may be; `None` for any number.
pub type Most = Option<u64>;

/// Raises the soft limit to the hard one. What comes of it is what there may be from now on.
pub fn raise() -> Most {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Some systems allow less than their own hard limit says. Then it stays as it was.
        let _unchanged = setrlimit(Resource::Nofile, raised);
    }
    most()
}

/// How many there may be now: somebody may change it while the daemon runs.
pub fn most() -> Most {
    getrlimit(Resource::Nofile).current
}

/// Whether peers have all the descriptors that are for them. The system gives the lowest number that
/// is free, so the number of a new one tells; `any` is any open one.
pub fn are_short(any: &impl AsFd) -> bool {
    let Some(most) = most() else { return false };
    let left_for_peers = most - RESERVED.min(most / RESERVED_SHARE);
    match any.as_fd().try_clone_to_owned() {
        Ok(newest) => {
            u64::try_from(newest.as_raw_fd()).is_ok_and(|newest| newest >= left_for_peers)
        }
        Err(_) => true,
    }
}

/// What is to be said of a configuration that wants more than there may be.
pub fn doubt(config: &Config, most: Most) -> Option<String> {
    let gateways = &config.gateways;
    let pools = [&gateways.room, &gateways.signaling, &gateways.auth].map(|one| one.pool_size);
    let connections = config.limits.max_connections;
    let wanted = connections + pools.iter().sum::<usize>() + config.listen.len() + OWN;
    let most = most.filter(|most| *most < wanted as u64)?;
    Some(format!(
        "limits.max_connections is {connections}, for which the daemon would need {wanted} file \
         descriptors, and it may have {most}: raise LimitNOFILE, or the hard limit of ulimit -n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_wants_more_than_there_may_be_is_doubted() {
        let mut config = Config::default();
        config.limits.max_connections = 1000;
        assert_eq!(doubt(&config, None), None);
        // 30 of the gateways, a listener, and the daemon's own.
        assert_eq!(doubt(&config, Some(1231)), None);
        let expected = "limits.max_connections is 1000, for which the daemon would need 1231 file \
                        descriptors, and it may have 1230: raise LimitNOFILE, or the hard limit of \
                        ulimit -n";
        assert_eq!(doubt(&config, Some(1230)).as_deref(), Some(expected));
    }
}
