//! What the daemon takes up, round by round, and whether that stays as it was.

use std::fmt::Write as _;
use std::time::Instant;

use super::load::Figures;
use crate::admin::{metrics, sample};
use crate::harness::Daemon;

/// Lines of the table at the most.
const LINES_MAX: usize = 13;
/// How much more memory there may be at the end than after the first rounds, in MiB. Allocators
/// return what they please, so less says nothing.
const GROWTH_MIB_MAX: f64 = 8.0;
/// The same for descriptors, threads and tasks: pooled connections and threads that wait for
/// something to do come and go.
const GROWTH_COUNT_MAX: f64 = 16.0;

/// All samples of a run.
pub(super) struct Samples {
    store: String,
    began: Instant,
    taken: Vec<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    minutes: f64,
    figures: Figures,
    resident_mib: f64,
    descriptors: f64,
    threads: f64,
    tasks: f64,
    cpu_seconds: f64,
}

impl Samples {
    pub(super) fn of(store: &str, daemon: &Daemon) -> Self {
        println!("soak of the {store} store, process {}", daemon.id());
        Self { store: store.to_owned(), began: Instant::now(), taken: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    pub(super) fn take(&mut self, daemon: &Daemon, figures: Figures) {
        let page = metrics(daemon);
        let value = |name: &str| sample(&page, name).unwrap_or_else(|| panic!("{name}:\n{page}"));
        let taken = Sample {
            minutes: self.began.elapsed().as_secs_f64() / 60.0,
            figures,
            resident_mib: value("process_resident_memory_bytes") / f64::from(1 << 20),
            descriptors: value("process_open_fds"),
            threads: value("process_threads"),
            tasks: value("stated_runtime_tasks"),
            cpu_seconds: value("process_cpu_seconds_total"),
        };
        println!("{}: {}", self.store, taken.line());
        self.taken.push(taken);
    }

    /// As Markdown; of many samples a few, the first and the last among them.
    pub(super) fn table(&self) -> String {
        let mut table = format!(
            "The {} store, {} rounds:\n\n| minute | requests | refused | unanswered | memory, MiB | \
             descriptors | threads | tasks | CPU, s |\n|---|---|---|---|---|---|---|---|---|\n",
            self.store,
            self.taken.len()
        );
        let last = self.taken.len().saturating_sub(1);
        let lines = last.min(LINES_MAX - 1);
        for line in 0..=lines {
            let at = line * last / lines.max(1);
            writeln!(table, "{}", self.taken[at].line()).unwrap();
        }
        table
    }

    /// The last quarter is as the first one was, once the daemon has warmed up.
    pub(super) fn assert_flat(&self) {
        let warm = &self.taken[self.taken.len().div_ceil(5)..];
        assert!(warm.len() >= 2, "too short a run to tell anything");
        let quarter = warm.len().div_ceil(4);
        let (first, last) = (&warm[..quarter], &warm[warm.len() - quarter..]);
        let mut grown = Vec::new();
        let mut check = |what: &str, allowed: f64, of: fn(&Sample) -> f64| {
            let (before, after) = (median(first, of), median(last, of));
            if after > before + allowed {
                grown.push(format!("{what}: {before:.1} -> {after:.1}, {allowed} more is allowed"));
            }
        };
        check("MiB of memory", GROWTH_MIB_MAX, |sample| sample.resident_mib);
        check("descriptors", GROWTH_COUNT_MAX, |sample| sample.descriptors);
        check("threads", GROWTH_COUNT_MAX, |sample| sample.threads);
        check("tasks", GROWTH_COUNT_MAX, |sample| sample.tasks);
        assert!(grown.is_empty(), "{} is not flat: {grown:?}", self.store);
    }
}

impl Sample {
    fn line(&self) -> String {
        let Self { minutes, figures, resident_mib, descriptors, threads, tasks, cpu_seconds } =
            self;
        let Figures { answered, refused, unanswered } = figures;
        format!(
            "| {minutes:.1} | {answered} | {refused} | {unanswered} | {resident_mib:.1} | \
             {descriptors} | {threads} | {tasks} | {cpu_seconds:.1} |"
        )
    }
}

fn median(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<_> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
