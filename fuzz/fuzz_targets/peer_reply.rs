//! Feeds the target `peer_reply`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stated::fuzzing::run("peer_reply", data));
