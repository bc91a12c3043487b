//! Feeds the target `message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stated::fuzzing::run("message", data));
