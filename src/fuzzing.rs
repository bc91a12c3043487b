//! What fuzzers and their corpus are run against: each target takes any bytes, and panics if what is
//! made of them is not as it should be.
//!
//! Only for tests and for `cargo fuzz`, which sets the configuration option `fuzzing`.

/// Does something with any bytes whatever.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 9] = [
    ("frames", crate::connection::fuzzed::frames),
    ("message", crate::connection::fuzzed::message),
    ("answer", crate::connection::fuzzed::answer),
    ("configuration", crate::config::fuzzed::configuration),
    ("secrets", crate::config::fuzzed::secrets),
    ("records", crate::store::embedded::fuzzed::records),
    ("stored", crate::store::redis::fuzzed::stored),
    ("admin", crate::admin::fuzzed::admin),
    ("peer_reply", crate::upstream::fuzzed::peer_reply),
];

/// Runs the target of this name; nothing happens if there is none.
pub fn run(name: &str, data: &[u8]) {
    if let Some((_, target)) = TARGETS.iter().find(|(known, _)| *known == name) {
        target(data);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::{Path, PathBuf};

    use super::*;

    /// Inputs of a target: what fuzzers found worth keeping, and what once went wrong.
    fn inputs(name: &str) -> Vec<PathBuf> {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let files = |kind: &str| {
            let listed = fs::read_dir(fuzz.join(kind).join(name)).into_iter().flatten();
            listed.map(|entry| entry.unwrap().path())
        };
        files("corpus").chain(files("regressions")).collect()
    }

    #[test]
    fn whatever_was_found_worth_keeping_is_as_it_should_be() {
        for (name, target) in TARGETS {
            let inputs = inputs(name);
            assert!(!inputs.is_empty(), "nothing in fuzz/corpus/{name}");
            for input in inputs {
                let data = fs::read(&input).unwrap();
                let outcome = catch_unwind(|| target(&data));
                assert!(outcome.is_ok(), "{name} fails on {}", input.display());
            }
        }
    }

    #[test]
    fn every_target_has_a_program_that_fuzzes_it() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        for (name, _) in TARGETS {
            let program = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
            assert!(program.contains(&format!("run(\"{name}\", data)")), "{name}");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }
}
