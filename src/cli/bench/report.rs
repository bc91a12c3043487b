//! The figures of several rounds, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::Error;
use super::load::{self, Load, Pace, Target};
use super::tally::{PERCENTILES, Round, Spread, Tally};

/// Rounds of one load on one server.
#[derive(Debug)]
pub(super) struct Report {
    name: &'static str,
    target: Target,
    load: Load,
    rounds: Vec<Round>,
}

impl Report {
    pub(super) fn new(name: &'static str, target: Target, load: Load) -> Self {
        Self { name, target, load, rounds: Vec::new() }
    }

    pub(super) fn measure_round(&mut self) -> Result<(), Error> {
        self.rounds.push(load::round(self.target, &self.load)?);
        Ok(())
    }

    /// Whether every request was answered, and none with an error.
    pub(super) fn is_clean(&self) -> bool {
        self.rounds.iter().all(|round| round.tally.errors().is_empty())
    }

    /// Counts of all rounds.
    fn total(&self) -> Tally {
        let mut total = Tally::new();
        self.rounds.iter().for_each(|round| total.add(&round.tally));
        total
    }

    fn spread(&self, figure: fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(figure))
    }

    /// How often `figure` of a round of this one goes into the other's, round by round.
    fn ratio(&self, other: &Self, figure: impl Fn(&Round) -> f64) -> Spread {
        let rounds = self.rounds.iter().zip(&other.rounds);
        Spread::of(rounds.map(|(round, other)| figure(round) / figure(other)))
    }

    fn json(&self) -> Value {
        let load = &self.load;
        let (in_flight, rate) = match load.pace {
            Pace::Closed { in_flight } => (Some(in_flight), None),
            Pace::Open { rate } => (None, Some(rate)),
        };
        let total = self.total();
        json!({
            "name": self.name,
            "address": self.target.address.to_string(),
            "mix": load.mix.name(),
            "framing": load.framing.name(),
            "connections": load.connections,
            "in_flight": in_flight,
            "rate": rate,
            "users": load.users,
            "threads": load.threads,
            "requests_per_second": self.spread(Round::throughput).json(),
            "offered_per_second": rate.map(|_| self.spread(Round::offered).json()),
            "answered_per_second": rate.map(|_| self.spread(Round::answered).json()),
            "latency_us": total.latency_json(),
            "errors": total.errors(),
            "rounds": self.rounds.iter().map(Round::json).collect::<Vec<_>>(),
        })
    }
}

/// p99 in microseconds.
pub(super) fn p99(round: &Round) -> f64 {
    round.tally.percentile(99.0).as_secs_f64() * 1e6
}

/// The daemon's figures, and the reference's under its name.
pub(super) fn json(daemon: &Report, reference: Option<&Report>) -> Value {
    let mut report = json!({"daemon": daemon.json()});
    if let Some(reference) = reference {
        report[reference.name] = reference.json();
        report["ratio"] = json!({
            "requests_per_second": daemon.ratio(reference, Round::throughput).json(),
            "p99": daemon.ratio(reference, p99).json(),
        });
    }
    report
}

pub(super) fn text(daemon: &Report, reference: Option<&Report>) -> String {
    let Some(reference) = reference else { return daemon.to_string() };
    let mut text = format!("{reference}\n{daemon}\n");
    let name_of_reference = reference.name;
    let ratios = [
        ("requests/s", daemon.ratio(reference, Round::throughput)),
        ("p99", daemon.ratio(reference, p99)),
    ];
    for (name, ratio) in ratios {
        let Spread { min, median, max } = ratio;
        let line = format!(
            "daemon / {name_of_reference}, {name}: median {median:.2}, from {min:.2} to {max:.2}\n"
        );
        text.push_str(&line);
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = &self.load;
        write!(f, "{} at {}: {}, ", self.name, self.target.address, load.mix.name())?;
        match load.pace {
            Pace::Closed { in_flight } => {
                write!(f, "{} connections x {in_flight} in flight", load.connections)?;
            }
            Pace::Open { rate } => {
                write!(f, "open loop at {rate}/s over {} connections", load.connections)?;
            }
        }
        writeln!(f, ", {} users, {}", load.users, load.framing.name())?;
        write!(f, "{:>6} {:>11}", "round", "requests/s")?;
        for (name, _) in PERCENTILES {
            write!(f, " {name:>9}")?;
        }
        writeln!(f, " {:>9} {:>8} {:>8} {:>11}", "max", "errors", "CPU", "resident")?;
        for (round, number) in self.rounds.iter().zip(1..) {
            write!(f, "{number:>6} {:>11.0}", round.throughput())?;
            put_latency(f, &round.tally)?;
            let errors: u64 = round.tally.errors().values().sum();
            let cpu = round.times.map(|times| format!("{:.2} s", times.cpu.as_secs_f64()));
            let resident = round.resident_bytes.map(mebibytes);
            writeln!(f, " {errors:>8} {:>8} {:>11}", or_dash(cpu), or_dash(resident))?;
        }
        let Spread { min, median, max } = self.spread(Round::throughput);
        let total = self.total();
        write!(f, "{:>6} {median:>11.0}", "all")?;
        put_latency(f, &total)?;
        writeln!(f)?;
        writeln!(f, "requests/s: median {median:.0}, from {min:.0} to {max:.0}")?;
        if let Pace::Open { .. } = load.pace {
            let (offered, answered) = (self.spread(Round::offered), self.spread(Round::answered));
            let (offered, answered) = (offered.median, answered.median);
            writeln!(f, "offered a second: {offered:.0}; answered meanwhile: {answered:.0}")?;
        }
        writeln!(f, "errors: {}", listed(&total.errors()))
    }
}

fn put_latency(f: &mut fmt::Formatter<'_>, tally: &Tally) -> fmt::Result {
    for (_, percentile) in PERCENTILES {
        write!(f, " {:>9}", readable(tally.percentile(percentile)))?;
    }
    write!(f, " {:>9}", readable(tally.max()))
}

fn listed(errors: &BTreeMap<&str, u64>) -> String {
    if errors.is_empty() {
        return "none".to_owned();
    }
    let each = |(code, count): (&&str, &u64)| format!("{code} {count}");
    errors.iter().map(each).collect::<Vec<_>>().join(", ")
}

/// Three digits and a unit, in ASCII so that columns stay columns.
fn readable(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} us"),
        ..1e6 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn or_dash(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| "-".to_owned())
}
