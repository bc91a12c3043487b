//! The daemon's core on simulated hosts: one seed decides the network, the faults, the peers and what
//! they say, and a checker reads from what was seen whether the promises were kept.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "what a test did not expect is to end it, here and now"
)]

mod caller;
mod check;
mod history;
mod model;
mod peer;
mod plan;
mod request;
mod seeds;
mod world;

use plan::Theme;

#[test]
fn whatever_the_network_does_every_promise_is_kept() {
    seeds::check(Theme::Network);
}

#[test]
fn whatever_peers_answer_every_promise_is_kept() {
    seeds::check(Theme::Peers);
}

#[test]
fn a_daemon_that_dies_leaves_no_wrong_answer_and_tells_nothing_twice() {
    seeds::check(Theme::Deaths);
}

#[test]
fn one_seed_gives_one_history() {
    // Not of deaths: in which order a runtime that is cut off drops its tasks, and with them their
    // connections, no seed decides.
    for theme in [Theme::Network, Theme::Peers] {
        for seed in seeds::some(10) {
            let [first, second] = [(); 2].map(|()| seeds::alone(theme, seed).1.hash);
            assert_eq!(first, second, "SEED={seed} of {theme:?} gives two histories");
        }
    }
}
