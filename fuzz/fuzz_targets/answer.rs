//! Feeds the target `answer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stated::fuzzing::run("answer", data));
