//! How the tails of two servers stand to each other over many pairs of rounds, and how sure that is.

use fastrand::Rng;

use super::table::Figures;
use super::tally::{Round, Spread, Tally};

/// The percentile that is compared.
const PERCENTILE: f64 = 99.0;
/// How often as many pairs are drawn from those measured.
const RESAMPLES: usize = 200;
/// Of what the draws say, so much is left out at each end.
const LEFT_OUT: f64 = 0.05;

/// A round of the server and one of its reference, right after each other.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) ours: Round,
    pub(super) reference: Round,
}

/// One percentile of each, and their ratio.
#[derive(Debug, Clone, Copy)]
struct Tails {
    ours: f64,
    reference: f64,
}

/// The p99 of all rounds' latencies together against the reference's. A stall of the machine lies in the
/// tail of one round, and in one of a hundred requests or more it decides; so the bounds are not those of
/// the rounds but those within which nine tenths of the figures lie that other draws of the same pairs
/// would have brought.
pub(super) fn p99(pairs: &[Pair]) -> Figures {
    let all = Tails::of(pairs);
    // The same draws for the same rounds, always.
    let mut rng = Rng::with_seed(0);
    let drawn: Vec<Tails> = (0..RESAMPLES)
        .map(|_| Tails::of((0..pairs.len()).filter_map(|_| pairs.get(rng.usize(..pairs.len())))))
        .collect();
    let spread = |figure: fn(&Tails) -> f64| Spread {
        median: figure(&all),
        ..Spread::within(drawn.iter().map(figure), LEFT_OUT)
    };
    Figures::of(
        spread(|tails| tails.ours),
        spread(|tails| tails.reference),
        spread(|tails| tails.ours / tails.reference),
        "us",
    )
}

impl Tails {
    fn of<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Self {
        let (mut ours, mut reference) = (Tally::new(), Tally::new());
        for pair in pairs {
            ours.add(&pair.ours.tally);
            reference.add(&pair.reference.tally);
        }
        let micros = |tally: Tally| tally.percentile(PERCENTILE).as_secs_f64() * 1e6;
        Self { ours: micros(ours), reference: micros(reference) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A round of a hundred requests, of which so many take a hundred times as long.
    fn round(micros: u64, stalled: usize) -> Round {
        let mut tally = Tally::new();
        for request in 0..100 {
            let times = if request < stalled { 100 } else { 1 };
            tally.record(Duration::from_micros(micros * times), Instant::now());
        }
        let counted = Duration::from_secs(1);
        Round { tally, elapsed: counted, counted, times: None, resident_bytes: None }
    }

    fn pairs(stalled: impl Fn(usize) -> usize) -> Vec<Pair> {
        let pair = |at| Pair { ours: round(200, stalled(at)), reference: round(100, 0) };
        (0..30).map(pair).collect()
    }

    #[test]
    fn rounds_that_are_all_alike_leave_nothing_unsure() {
        let Spread { min, median, max } = p99(&pairs(|_| 0)).compared;
        for ratio in [min, median, max] {
            assert!((ratio - 2.0).abs() < 0.01, "{ratio}");
        }
    }

    #[test]
    fn a_stall_of_less_than_a_hundredth_of_all_does_not_decide_but_is_told() {
        let stalled = |at| if at == 7 { 25 } else { 0 };
        let Spread { min, median, max } = p99(&pairs(stalled)).compared;
        assert!((median - 2.0).abs() < 0.01, "{median}");
        assert!((min - 2.0).abs() < 0.01 && max > 100.0, "{min} to {max}");
    }
}
