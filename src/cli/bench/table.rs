//! A line of the suite's table: what was measured, what was promised, and how they stand.

use serde_json::{Value, json};

use super::Error;
use super::load::{self, Load, Target};
use super::tally::{Round, Spread};

/// A line of the table.
#[derive(Debug)]
pub(super) struct Row {
    what: &'static str,
    compared_with: &'static str,
    goal: Goal,
    pub(super) outcome: Result<Figures, String>,
    pub(super) errors: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    Reach(f64),
    /// With its unit.
    AtMost(f64, &'static str),
}

/// Ours, the reference's if there is one, and how they stand to each other, round by round.
#[derive(Debug)]
pub(super) struct Figures {
    ours: Spread,
    reference: Option<Spread>,
    pub(super) compared: Spread,
    unit: &'static str,
}

impl Row {
    pub(super) fn new(what: &'static str, compared_with: &'static str, goal: Goal) -> Self {
        Self { what, compared_with, goal, outcome: Err(String::new()), errors: 0 }
    }

    /// The figure of one round, whose errors are counted.
    pub(super) fn measure(
        &mut self,
        target: Target,
        load: &Load,
        figure: fn(&Round) -> f64,
    ) -> Result<f64, Error> {
        Ok(figure(&self.round(target, load)?))
    }

    /// One round, whose errors are counted.
    pub(super) fn round(&mut self, target: Target, load: &Load) -> Result<Round, Error> {
        let round = load::round(target, load)?;
        self.errors += round.tally.errors().values().sum::<u64>();
        Ok(round)
    }

    pub(super) fn line(&self) -> String {
        let (what, compared_with, goal) = (self.what, self.compared_with, self.goal.text());
        match &self.outcome {
            Ok(figures) => {
                let Figures { ours, reference, compared, unit } = figures;
                let Spread { min, median, max } = compared;
                let reached = if self.goal.is_reached(*median) { "yes" } else { "no" };
                let figure = |spread: &Spread| format!("{} {unit}", figure(spread.median));
                let reference = reference.as_ref().map(figure).unwrap_or_default();
                format!(
                    "| {what} | {compared_with} | {} | {reference} | \
                     {} ({} to {}) | {goal} | {reached} | {} |",
                    figure(ours),
                    self::figure(*median),
                    self::figure(*min),
                    self::figure(*max),
                    self.errors,
                )
            }
            Err(reason) => {
                format!("| {what} | {compared_with} | not measured: {reason} | | | {goal} | | |")
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut row = json!({
            "what": self.what,
            "compared_with": self.compared_with,
            "goal": self.goal.text(),
            "errors": self.errors,
        });
        match &self.outcome {
            Ok(figures) => {
                row["unit"] = figures.unit.into();
                row["ours"] = figures.ours.json();
                row["reference"] = figures.reference.map(Spread::json).into();
                row["compared"] = figures.compared.json();
                row["reached"] = self.goal.is_reached(figures.compared.median).into();
            }
            Err(reason) => row["not_measured"] = reason.as_str().into(),
        }
        row
    }
}

impl Goal {
    fn is_reached(self, median: f64) -> bool {
        match self {
            Self::Reach(goal) => median >= goal,
            Self::AtMost(goal, _) => median <= goal,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Reach(goal) => format!("≥ {goal:.2}"),
            Self::AtMost(goal, "") => format!("≤ {goal:.2}"),
            Self::AtMost(goal, unit) => format!("≤ {goal:.0} {unit}"),
        }
    }
}

/// With as many digits as mean something.
fn figure(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

impl Figures {
    /// Compared with nothing but the goal.
    pub(super) fn alone(ours: &[f64], unit: &'static str) -> Self {
        let ours = Spread::of(ours.iter().copied());
        Self { ours, reference: None, compared: ours, unit }
    }

    /// Compared by whoever knows how.
    pub(super) fn of(
        ours: Spread,
        reference: Spread,
        compared: Spread,
        unit: &'static str,
    ) -> Self {
        Self { ours, reference: Some(reference), compared, unit }
    }

    pub(super) fn ratio(ours: &[f64], reference: &[f64], unit: &'static str) -> Self {
        Self::new(ours, reference, unit, |ours, reference| ours / reference)
    }

    pub(super) fn difference(ours: &[f64], reference: &[f64], unit: &'static str) -> Self {
        Self::new(ours, reference, unit, |ours, reference| ours - reference)
    }

    fn new(
        ours: &[f64],
        reference: &[f64],
        unit: &'static str,
        compare: fn(f64, f64) -> f64,
    ) -> Self {
        let compared = ours.iter().zip(reference).map(|(ours, other)| compare(*ours, *other));
        Self {
            compared: Spread::of(compared),
            ours: Spread::of(ours.iter().copied()),
            reference: Some(Spread::of(reference.iter().copied())),
            unit,
        }
    }
}
