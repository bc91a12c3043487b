//! Feeds the target `configuration`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stated::fuzzing::run("configuration", data));
