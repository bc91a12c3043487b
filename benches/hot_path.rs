//! How long each piece of a message's way takes: `cargo bench --bench hot_path`.
#![expect(clippy::unwrap_used, reason = "a benchmark, not a library")]

mod cases;

use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn hot_path(criterion: &mut Criterion) {
    for mut case in cases::all() {
        let mut group = criterion.benchmark_group(case.name);
        group.throughput(Throughput::Elements(case.at_once as u64));
        group.bench_function("", |bencher| {
            bencher.iter_custom(|times| {
                let begun_at = Instant::now();
                (case.run)(times);
                begun_at.elapsed()
            });
        });
    }
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
