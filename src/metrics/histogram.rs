//! A histogram of durations: two additions for each, no lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::spread::Here;

/// Upper bounds in seconds, from what memory needs to what no request may take. One set for all, so
/// that a request can be compared with what it waited for. No bound is more than two and a half
/// times the one before, but for the first: a quantile read from them is off by less than that.
pub const BOUNDS: [f64; 18] = [
    0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The same in whole numbers, by which durations are sorted in.
const BOUNDS_NANOS: [u64; BOUNDS.len()] = {
    let mut nanos = [0; BOUNDS.len()];
    let mut at = 0;
    while at < BOUNDS.len() {
        // Half a nanosecond more, as a bound may have no exact number.
        nanos[at] = (BOUNDS[at] * 1e9 + 0.5) as u64;
        at += 1;
    }
    nanos
};

/// Durations by size.
#[derive(Debug, Default)]
pub struct Histogram {
    /// How many are in each bucket and not in the one before; the last one is beyond all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

/// One or several histograms at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// How many were at most as long as the bound of the same index; the last are all.
    pub up_to: [u64; BOUNDS.len() + 1],
    /// All together, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        self.record_with(duration, |figure, more| {
            figure.fetch_add(more, Relaxed);
        });
    }

    /// Counts one in the part on which the thread counts.
    pub fn record_here<T>(&self, here: &Here<'_, T>, duration: Duration) {
        self.record_with(duration, |figure, more| here.add(figure, more));
    }

    fn record_with(&self, duration: Duration, add: impl Fn(&AtomicU64, u64)) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        if let Some(bucket) = self.buckets.get(at) {
            add(bucket, 1);
        }
        add(&self.sum_nanos, nanos);
    }

    /// How it stands.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of([self])
    }
}

impl Snapshot {
    /// All together. One that is being recorded may be in the buckets and not in the sum yet.
    pub fn of<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Self {
        let (mut counts, mut sum_nanos) = ([0; BOUNDS.len() + 1], 0_u64);
        for histogram in histograms {
            for (count, bucket) in counts.iter_mut().zip(&histogram.buckets) {
                *count += bucket.load(Relaxed);
            }
            sum_nanos = sum_nanos.wrapping_add(histogram.sum_nanos.load(Relaxed));
        }
        let mut all = 0;
        let up_to = counts.map(|count| {
            all += count;
            all
        });
        Self { up_to, sum: Duration::from_nanos(sum_nanos).as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_its_bucket_and_in_all_larger_ones() {
        let histogram = Histogram::default();
        for micros in [10, 11, 1_000, 20_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let Snapshot { up_to, sum } = histogram.snapshot();
        assert_eq!(up_to[..7], [1, 2, 2, 2, 2, 3, 3]);
        assert_eq!(up_to[17..], [3, 4]);
        assert!((sum - 20.001_021).abs() < 1e-9, "{sum}");
    }
}
