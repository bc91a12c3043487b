//! Feeds the target `secrets`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stated::fuzzing::run("secrets", data));
