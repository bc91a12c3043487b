//! Runs seeds on all cores, each on a thread of its own: nothing of one reaches the next.

use std::cell::Cell;
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use super::history::Seen;
use super::plan::Theme;
use super::world;

/// Seeds of each theme, unless `SEEDS` says how many.
const SEEDS_USUAL: u64 = 300;
/// A failure is told with so many of the last lines of its history, unless one seed is run alone.
const LINES_TOLD: usize = 12;

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Tasks that panicked on this thread so far: the runtime would keep that to itself.
pub(crate) fn panics() -> u64 {
    PANICS.get()
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            PANICS.set(PANICS.get() + 1);
            usual(panicked);
        }));
    });
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} has to be a number, not {text:?}")))
}

/// So many seeds, or the one that `SEED` names.
pub(crate) fn some(usual: u64) -> std::ops::Range<u64> {
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..usual,
    }
}

/// One simulation, and what is wrong with what was seen.
pub(crate) fn alone(theme: Theme, seed: u64) -> (Result<(), String>, Seen) {
    count_panics();
    thread::spawn(move || world::run(theme, seed))
        .join()
        .unwrap_or_else(|_| (Err("the simulation itself panicked".to_owned()), Seen::default()))
}

/// Runs all seeds; the first that fails ends the test with the command that repeats it.
pub(crate) fn check(theme: Theme) {
    let all = some(number("SEEDS").unwrap_or(SEEDS_USUAL));
    let (begun, next, undecided) = (Instant::now(), AtomicU64::new(all.start), AtomicU64::new(0));
    let threads = thread::available_parallelism().map_or(2, std::num::NonZero::get).min(4);
    let failure = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Relaxed);
                        if seed >= all.end {
                            return None;
                        }
                        let (verdict, seen) = alone(theme, seed);
                        undecided.fetch_add(seen.undecided, Relaxed);
                        if let Err(complaint) = verdict {
                            next.store(all.end, Relaxed);
                            return Some((seed, complaint, seen));
                        }
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().unwrap())
            .min_by_key(|(seed, ..)| *seed)
    });
    if let Some((seed, complaint, seen)) = failure {
        let told = if number("SEED").is_some() { seen.lines.len() } else { LINES_TOLD };
        for line in &seen.lines[seen.lines.len().saturating_sub(told)..] {
            eprintln!("{line}");
        }
        let name = theme.test();
        panic!("{complaint}\nrepeat it with: SEED={seed} ./scripts/simulate {name}");
    }
    let seeds = all.end - all.start;
    let per_second = seeds as f64 / begun.elapsed().as_secs_f64();
    let undecided = undecided.into_inner();
    eprintln!("{theme:?}: {seeds} seeds, {per_second:.0} a second, {undecided} groups undecided");
}
