//! Feeds any bytes, guided by coverage, to the target that the variable `FUZZ_TARGET` names.

#![no_main]

use std::sync::LazyLock;

use stated::fuzzing::{Target, named};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    named(&name).unwrap_or_else(|| panic!("FUZZ_TARGET={name} is no target"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
