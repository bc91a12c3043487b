//! Feeds the target `records`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stated::fuzzing::run("records", data));
