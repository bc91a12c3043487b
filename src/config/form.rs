//! The forms a value may have, each with its limits: how it is read, and what is said if not.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SignedDuration;

use super::Secret;
use super::held::Held;
use super::mistake::{Problem, nearest};
use super::value::Value;

/// How the value of one key is read into a `T`.
pub(super) struct Form<T> {
    /// What is allowed, for people; follows the word "expected".
    pub(super) expected: String,
    /// What is there already.
    pub(super) held: Held<T>,
    show: fn(&Value) -> String,
    read: Box<Read<T>>,
}

type Read<T> = dyn Fn(&mut T, &Value) -> Result<(), Complaint>;

/// What is to be said beyond "found X, expected Y".
#[derive(Default)]
pub(super) struct Complaint {
    /// What of the value is wrong, if not all of it.
    part: Option<String>,
    why: Option<String>,
    nearest: Option<String>,
}

impl<T: 'static> Form<T> {
    /// A form whose values become a `V`.
    pub(super) fn new<V: Clone + PartialEq + 'static>(
        expected: String,
        field: fn(&mut T) -> &mut V,
        show_held: impl Fn(&V) -> String + 'static,
        read: impl Fn(&Value) -> Result<V, Complaint> + 'static,
    ) -> Self {
        let read = move |target: &mut T, value: &Value| {
            *field(target) = read(value)?;
            Ok(())
        };
        let held = Held::new(field, show_held);
        Self { expected, held, show: Value::shown, read: Box::new(read) }
    }

    /// The same where messages must not show the value as it is.
    pub(super) fn shown_by(self, show: fn(&Value) -> String) -> Self {
        Self { show, ..self }
    }

    /// The same for a `T` that is part of a `U`.
    pub(super) fn inside<U: 'static>(self, part: fn(&mut U) -> &mut T) -> Form<U> {
        let Self { expected, held, show, read } = self;
        let read = move |whole: &mut U, value: &Value| read(part(whole), value);
        Form { expected, held: held.inside(part), show, read: Box::new(read) }
    }

    /// Reads the value into its field of `target`, which stays as it was if there is a problem.
    pub(super) fn read(&self, target: &mut T, value: &Value) -> Result<(), Problem> {
        (self.read)(target, value).map_err(|Complaint { part, why, nearest }| Problem::Value {
            found: part.unwrap_or_else(|| (self.show)(value)),
            why,
            expected: self.expected.clone(),
            nearest,
        })
    }
}

/// A whole number.
pub(super) fn count<T: 'static>(
    allowed: RangeInclusive<usize>,
    field: fn(&mut T) -> &mut usize,
) -> Form<T> {
    let expected = format!("a whole number from {} to {}", allowed.start(), allowed.end());
    Form::new(expected, field, usize::to_string, move |value| {
        let number = match value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            Value::Text(_) | Value::Flag(_) | Value::List(_) | Value::Other(_) => None,
        };
        number.filter(|number| allowed.contains(number)).ok_or_else(Complaint::default)
    })
}

/// Bytes: a whole number, or one with a unit.
pub(super) fn size<T: 'static>(
    allowed: RangeInclusive<usize>,
    field: fn(&mut T) -> &mut usize,
) -> Form<T> {
    let (min, max) = (show_size(*allowed.start()), show_size(*allowed.end()));
    let expected =
        format!("bytes as a whole number or as in \"64 KiB\" or \"1 MiB\", from {min} to {max}");
    Form::new(
        expected,
        field,
        |bytes| show_size(*bytes),
        move |value| {
            let bytes = match value {
                Value::Integer(bytes) => usize::try_from(*bytes).ok(),
                Value::Text(text) => Some(bytes(text).map_err(|why| Complaint::because(&why))?),
                Value::Flag(_) | Value::List(_) | Value::Other(_) => None,
            };
            bytes.filter(|bytes| allowed.contains(bytes)).ok_or_else(Complaint::default)
        },
    )
}

/// A time with its unit.
pub(super) fn duration<T: 'static>(
    allowed: RangeInclusive<Duration>,
    field: fn(&mut T) -> &mut Duration,
) -> Form<T> {
    let (min, max) = (show_duration(*allowed.start()), show_duration(*allowed.end()));
    let expected =
        format!("a duration as in \"500ms\", \"10s\" or \"1h 30m\", from {min} to {max}");
    Form::new(
        expected,
        field,
        |time| show_exact_duration(*time),
        move |value| {
            let time = match value {
                Value::Text(text) => parse_duration(text)?,
                Value::Integer(_) => return Err(Complaint::because(NO_UNIT)),
                Value::Flag(_) | Value::List(_) | Value::Other(_) => {
                    return Err(Complaint::default());
                }
            };
            if allowed.contains(&time) { Ok(time) } else { Err(Complaint::default()) }
        },
    )
}

/// `true` or `false`.
pub(super) fn flag<T: 'static>(field: fn(&mut T) -> &mut bool) -> Form<T> {
    Form::new("true or false".to_owned(), field, bool::to_string, |value| match value {
        Value::Flag(flag) => Ok(*flag),
        Value::Text(_) | Value::Integer(_) | Value::List(_) | Value::Other(_) => {
            Err(Complaint::default())
        }
    })
}

/// One of a few words.
pub(super) fn word<T: 'static, W: Copy + PartialEq + 'static>(
    words: Vec<(&'static str, W)>,
    field: fn(&mut T) -> &mut W,
) -> Form<T> {
    let names: Vec<_> = words.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let named = words.clone();
    let show = move |held: &W| {
        let word = named.iter().find(|(_, meaning)| meaning == held);
        word.map(|(name, _)| (*name).to_owned()).unwrap_or_default()
    };
    Form::new(either(&names), field, show, move |value| {
        let Value::Text(text) = value else { return Err(Complaint::default()) };
        match words.iter().find(|(name, _)| name == text) {
            Some((_, meaning)) => Ok(*meaning),
            None => Err(Complaint::near(text, words.iter().map(|(name, _)| *name))),
        }
    })
}

/// A text with a grammar of its own; `parse` says what is wrong with one that has another. What it
/// becomes prints without secrets.
pub(super) fn text<T: 'static, V: Clone + PartialEq + Display + 'static>(
    expected: &str,
    parse: fn(&str) -> Result<V, String>,
    field: fn(&mut T) -> &mut V,
) -> Form<T> {
    Form::new(expected.to_owned(), field, V::to_string, move |value| {
        let Value::Text(text) = value else { return Err(Complaint::default()) };
        parse(text).map_err(|why| Complaint::because(&why))
    })
}

/// A text of which nothing is ever shown but whether it is there; an empty one is none.
pub(super) fn secret<T: 'static>(
    expected: &str,
    parse: fn(&str) -> Result<Option<Secret>, String>,
    field: fn(&mut T) -> &mut Option<Secret>,
) -> Form<T> {
    let show_held =
        |held: &Option<Secret>| held.as_ref().map(Secret::to_string).unwrap_or_default();
    let read = move |value: &Value| {
        let Value::Text(text) = value else { return Err(Complaint::default()) };
        parse(text).map_err(|why| Complaint::because(&why))
    };
    Form::new(expected.to_owned(), field, show_held, read).shown_by(|_| "***".to_owned())
}

const NO_UNIT: &str = "a number without a unit";

impl Complaint {
    /// The value is wrong for this reason.
    pub(super) fn because(why: &str) -> Self {
        Self { why: Some(why.to_owned()), ..Self::default() }
    }

    /// The text is none of these words.
    pub(super) fn near<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Self {
        let nearest = nearest(text, words).map(|word| format!("\"{word}\""));
        Self { nearest, ..Self::default() }
    }

    /// It is this part of the value that is wrong.
    pub(super) fn of(self, part: &Value) -> Self {
        Self { part: Some(part.shown()), ..self }
    }
}

fn parse_duration(text: &str) -> Result<Duration, Complaint> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Complaint::because(NO_UNIT));
    }
    let time: SignedDuration = text.parse().map_err(|_| Complaint::default())?;
    Duration::try_from(time).map_err(|_| Complaint::default())
}

/// `a, b or c`
pub(super) fn either(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

const UNITS: [(&str, usize); 7] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

fn bytes(text: &str) -> Result<usize, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number: usize = digits.parse().map_err(|_| "no whole number".to_owned())?;
    let unit = unit.trim_start();
    let (_, factor) = match unit {
        "" => ("", 1),
        _ => *UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .ok_or_else(|| "the units are B, KB, MB, GB, KiB, MiB and GiB".to_owned())?,
    };
    number.checked_mul(factor).ok_or_else(|| "more than can be counted".to_owned())
}

/// In the largest binary unit of which it is a whole number.
fn show_size(bytes: usize) -> String {
    let binary = UNITS.iter().rev().filter(|(name, _)| *name == "B" || name.ends_with("iB"));
    let unit = binary.clone().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{} {name}", bytes / factor),
        None => format!("{bytes} B"),
    }
}

/// In the largest unit of which it is a whole number.
fn show_duration(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    match units.into_iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => "0s".to_owned(),
    }
}

/// To the last digit, so that it can be read again.
fn show_exact_duration(time: Duration) -> String {
    SignedDuration::try_from(time).map_or_else(|_| format!("{time:?}"), |time| format!("{time:#}"))
}
