//! The text form in which Prometheus reads metrics, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::families::{Family, Kind};
use super::histogram::{BOUNDS, Snapshot};

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Text {
    out: String,
}

/// The samples of one family.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    out: &'a mut String,
    family: &'static Family,
}

impl Text {
    /// Begins a family; what is put until the next one belongs to it.
    pub(super) fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let Family { name, kind, help, .. } = family;
        put(&mut self.out, format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name()));
        Samples { out: &mut self.out, family }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}

impl Samples<'_> {
    /// The one sample of a family without labels.
    pub(super) fn value(&mut self, value: impl Display) {
        self.labelled([], value);
    }

    /// The same, or none while the value is unknown.
    pub(super) fn value_if_known(&mut self, value: Option<impl Display>) {
        if let Some(value) = value {
            self.value(value);
        }
    }

    /// A sample with values for the family's labels, in their order.
    pub(super) fn labelled<const N: usize>(&mut self, values: [&str; N], value: impl Display) {
        self.sample("", &values, None, value);
    }

    /// All samples of a histogram.
    pub(super) fn histogram<const N: usize>(&mut self, values: [&str; N], snapshot: Snapshot) {
        debug_assert_eq!(self.family.kind, Kind::Histogram);
        let mut all = 0;
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        for (bound, up_to) in bounds.zip(snapshot.up_to) {
            self.sample("_bucket", &values, Some(bound), up_to);
            all = up_to;
        }
        self.sample("_sum", &values, None, snapshot.sum);
        self.sample("_count", &values, None, all);
    }

    fn sample(&mut self, suffix: &str, values: &[&str], le: Option<f64>, value: impl Display) {
        debug_assert_eq!(values.len(), self.family.labels.len());
        put(self.out, format_args!("{}{suffix}", self.family.name));
        let names = self.family.labels.iter().map(|label| label.name);
        let mut separator = '{';
        // Label values are names of ours: there is nothing in them that would have to be escaped.
        for (name, value) in names.zip(values) {
            put(self.out, format_args!("{separator}{name}=\"{value}\""));
            separator = ',';
        }
        if let Some(bound) = le {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            put(self.out, format_args!("{separator}le=\"{bound}\""));
            separator = ',';
        }
        let end = if separator == '{' { "" } else { "}" };
        put(self.out, format_args!("{end} {value}\n"));
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _never = out.write_fmt(text);
}
