//! What came back: latencies, errors, and what a round of them amounts to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The name under which requests are counted that got no reply.
const NO_REPLY: &str = "no reply";
/// The greatest latency that is told apart from greater ones: far more than a round waits.
const LATENCY_NANOS_MAX: u64 = 3_600_000_000_000;
/// Digits of a latency that are kept.
const DIGITS: u8 = 3;
/// The percentiles that are told, and their names.
pub(super) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

/// Counts of one round, or of one thread's part in it.
#[derive(Debug)]
pub(super) struct Tally {
    /// In nanoseconds, of what counts for the round.
    latency: Histogram<u64>,
    /// By code.
    errors: BTreeMap<String, u64>,
    sent: u64,
    replies: u64,
    /// In an open loop: requests due while it counted that TCP was given by then, or refused.
    offered: u64,
    /// In an open loop: replies that came while it counted, to whichever requests.
    answered: u64,
    /// When the last reply came that counts.
    last: Option<Instant>,
}

/// One round, done.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) tally: Tally,
    /// How long it took, until the last reply that counts.
    pub(super) elapsed: Duration,
    /// How long it counted.
    pub(super) counted: Duration,
    /// What the server's processors did, if it can be seen.
    pub(super) times: Option<Times>,
    /// The server's resident memory at its end.
    pub(super) resident_bytes: Option<u64>,
}

/// What a server's processors did while a round counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// For the server.
    pub(super) cpu: Duration,
    /// For other programs, while the server was ready to run.
    pub(super) lost: Duration,
}

/// The middle of several figures, and how far they lie apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Tally {
    #[expect(clippy::expect_used, reason = "the bounds are constants that a histogram can have")]
    pub(super) fn new() -> Self {
        Self {
            latency: Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, DIGITS)
                .expect("a histogram of these bounds"),
            errors: BTreeMap::new(),
            sent: 0,
            replies: 0,
            offered: 0,
            answered: 0,
            last: None,
        }
    }

    pub(super) fn count_sent(&mut self, requests: u64) {
        self.sent += requests;
    }

    pub(super) fn count_offered(&mut self, requests: u64) {
        self.offered += requests;
    }

    pub(super) fn count_answered(&mut self) {
        self.answered += 1;
    }

    /// Counts a reply; an error counts whenever it comes.
    pub(super) fn count_reply(&mut self, reply: &[u8]) {
        self.replies += 1;
        if let Some(code) = error_code(reply) {
            *self.errors.entry(code).or_default() += 1;
        }
    }

    /// Counts a reply that is an error of this code.
    #[cfg(feature = "grpc-bench")]
    pub(super) fn count_refusal(&mut self, code: &str) {
        self.replies += 1;
        *self.errors.entry(code.to_owned()).or_default() += 1;
    }

    /// A reply that counts for the round's figures.
    pub(super) fn record(&mut self, latency: Duration, now: Instant) {
        self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        self.last = Some(now);
    }

    pub(super) fn last(&self) -> Option<Instant> {
        self.last
    }

    /// Adds another's counts to these.
    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same digits and grow as they need.
        self.latency.add(&other.latency).ok();
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        self.sent += other.sent;
        self.replies += other.replies;
        self.offered += other.offered;
        self.answered += other.answered;
        self.last = self.last.max(other.last);
    }

    /// Requests that count.
    pub(super) fn requests(&self) -> u64 {
        self.latency.len()
    }

    /// Errors by code, requests without a reply among them.
    pub(super) fn errors(&self) -> BTreeMap<&str, u64> {
        let mut errors: BTreeMap<&str, u64> =
            self.errors.iter().map(|(code, count)| (code.as_str(), *count)).collect();
        if self.sent > self.replies {
            errors.insert(NO_REPLY, self.sent - self.replies);
        }
        errors
    }

    pub(super) fn percentile(&self, percentile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_percentile(percentile))
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_nanos(self.latency.max())
    }

    /// Latencies in microseconds.
    pub(super) fn latency_json(&self) -> Value {
        let mut latency = serde_json::Map::new();
        for (name, percentile) in PERCENTILES {
            latency.insert(name.to_owned(), micros(self.percentile(percentile)).into());
        }
        latency.insert("max".to_owned(), micros(self.max()).into());
        latency.into()
    }
}

/// The code of an error object, which is all that an error reply begins with.
fn error_code(reply: &[u8]) -> Option<String> {
    if !reply.starts_with(b"{\"error\"") {
        return None;
    }
    let reply: Option<Value> = serde_json::from_slice(reply).ok();
    let code = reply.as_ref().and_then(|reply| reply.get("error")?.get("code")?.as_str());
    Some(code.unwrap_or("unreadable").to_owned())
}

impl Round {
    pub(super) fn throughput(&self) -> f64 {
        self.tally.requests() as f64 / self.elapsed.as_secs_f64()
    }

    /// In an open loop: requests a second that were sent, or would have been if the server had taken
    /// them.
    pub(super) fn offered(&self) -> f64 {
        self.tally.offered as f64 / self.counted.as_secs_f64()
    }

    /// In an open loop: replies a second while load was offered, late ones too.
    pub(super) fn answered(&self) -> f64 {
        self.tally.answered as f64 / self.counted.as_secs_f64()
    }

    pub(super) fn json(&self) -> Value {
        let is_open = self.tally.offered > 0;
        json!({
            "requests": self.tally.requests(),
            "seconds": self.elapsed.as_secs_f64(),
            "requests_per_second": self.throughput(),
            "offered_per_second": is_open.then(|| self.offered()),
            "answered_per_second": is_open.then(|| self.answered()),
            "latency_us": self.tally.latency_json(),
            "errors": self.tally.errors(),
            "cpu_seconds": self.times.map(|times| times.cpu.as_secs_f64()),
            "lost_seconds": self.times.map(|times| times.lost.as_secs_f64()),
            "resident_bytes": self.resident_bytes,
        })
    }
}

impl Spread {
    /// Of at least one figure; of none it is zero.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |position: usize| figures.get(position).copied().unwrap_or_default();
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        } else {
            at(middle)
        };
        Self { min: at(0), median, max: at(figures.len().saturating_sub(1)) }
    }

    /// As above, but so much of the figures lies below the least and as much above the greatest.
    pub(super) fn within(figures: impl IntoIterator<Item = f64>, left_out: f64) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let left_out = (figures.len() as f64 * left_out) as usize;
        let kept = figures.len().saturating_sub(2 * left_out);
        Self::of(figures.into_iter().skip(left_out).take(kept))
    }

    pub(super) fn json(self) -> Value {
        json!({"min": self.min, "median": self.median, "max": self.max})
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let spread = Spread::of([4.0, 1.0, 2.0, 3.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 4.0));
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(Spread::of([]).median, 0.0);
        let within = Spread::within((0..20).rev().map(f64::from), 0.05);
        assert_eq!((within.min, within.median, within.max), (1.0, 9.5, 18.0));
    }

    #[test]
    fn latencies_keep_three_digits_from_nanoseconds_to_minutes() {
        let mut tally = Tally::new();
        for latency in [Duration::from_nanos(999), Duration::from_secs(599)] {
            tally.record(latency, Instant::now());
        }
        assert_eq!(tally.percentile(50.0), Duration::from_nanos(999));
        assert_eq!(tally.max().as_millis() / 1000, 599);
    }

    #[test]
    fn errors_are_counted_by_code_and_so_is_silence() {
        let mut tally = Tally::new();
        tally.count_sent(4);
        tally.count_reply(br#"{"error":{"code":"CHAT-001"}}"#);
        tally.count_reply(br#"{"error":"?"}"#);
        tally.count_reply(b"{}");
        let mut sum = Tally::new();
        sum.add(&tally);
        let expected = BTreeMap::from([("CHAT-001", 1), ("no reply", 1), ("unreadable", 1)]);
        assert_eq!(sum.errors(), expected);
    }
}
