//! What fuzzers and their corpus are run against: each target takes any bytes, and panics if what is
//! made of them is not as it should be.
//!
//! Only for tests and for `scripts/fuzz`, which sets the configuration option `fuzzing`.

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

/// The target of this name.
pub fn named(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::{Path, PathBuf};

    use super::*;

    /// Inputs made of those that are kept, for each target: some seconds in all.
    const MUTATIONS: usize = 2_000;

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

    /// What a fuzzer does, without its sense of what is new.
    fn mutated(data: &[u8], other: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
        let mut mutated = data.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..=mutated.len());
            let end = at + random.usize(..=(mutated.len() - at).min(8));
            match random.u8(..4) {
                0 => drop(mutated.splice(at..end, [])),
                1 => drop(mutated.splice(at..end, [random.u8(..)])),
                2 => mutated
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte ^= 1 << random.u8(..8)),
                _ => {
                    let from = random.usize(..=other.len());
                    let to = from + random.usize(..=(other.len() - from).min(32));
                    drop(mutated.splice(at..end, other[from..to].iter().copied()));
                }
            }
        }
        mutated
    }

    #[test]
    fn what_is_near_to_that_is_as_it_should_be_too() {
        let mut random = fastrand::Rng::new();
        for (name, target) in TARGETS {
            let inputs: Vec<_> = inputs(name).iter().map(|path| fs::read(path).unwrap()).collect();
            for _ in 0..MUTATIONS {
                let pick = |random: &mut fastrand::Rng| random.usize(..inputs.len());
                let (one, other) = (pick(&mut random), pick(&mut random));
                let data = mutated(&inputs[one], &inputs[other], &mut random);
                let outcome = catch_unwind(|| target(&data));
                assert!(outcome.is_ok(), "{name} fails on b\"{}\"", data.escape_ascii());
            }
        }
    }

    #[test]
    fn the_folders_of_the_corpus_are_the_targets() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let folders = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().file_name());
        let mut folders: Vec<_> = folders.map(|name| name.into_string().unwrap()).collect();
        folders.sort();
        assert!(folders.iter().all(|name| named(name).is_some()), "{folders:?}");
        assert_eq!(folders.len(), TARGETS.len(), "{folders:?}");
    }
}
