//! An answer as a command reads it: a part that is missing, or is something else in a daemon of another
//! version, is not shown, and all the rest is.

use jiff::Timestamp;
use serde_json::Value;

/// A document that a daemon answered with.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    text: String,
    value: Value,
}

/// Something in an answer, or nothing.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Part<'a>(Option<&'a Value>);

impl Answer {
    /// `None` if it isn't JSON.
    pub(in crate::cli) fn parse(body: &[u8]) -> Option<Self> {
        let text = str::from_utf8(body).ok()?.trim().to_owned();
        let value = serde_json::from_str(&text).ok()?;
        Some(Self { text, value })
    }

    /// As it came.
    pub(in crate::cli) fn text(&self) -> &str {
        &self.text
    }

    pub(in crate::cli) fn part(&self) -> Part<'_> {
        Part(Some(&self.value))
    }
}

impl<'a> Part<'a> {
    /// A member of an object.
    pub(in crate::cli) fn get(self, name: &str) -> Self {
        Self(self.0.and_then(|value| value.get(name)))
    }

    pub(in crate::cli) fn is_there(self) -> bool {
        self.0.is_some_and(|value| !value.is_null())
    }

    /// A text on one line, without anything that a terminal would take for an order.
    pub(in crate::cli) fn text(self) -> Option<String> {
        let text = self.0?.as_str()?;
        Some(text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect())
    }

    /// Of a number with a fraction, what stands before the point.
    pub(in crate::cli) fn number(self) -> Option<u64> {
        let value = self.0?;
        let whole = |fraction: f64| (fraction >= 0.0).then_some(fraction as u64);
        value.as_u64().or_else(|| value.as_f64().and_then(whole))
    }

    pub(in crate::cli) fn is_true(self) -> bool {
        self.0.and_then(Value::as_bool).unwrap_or(false)
    }

    /// A point in time, as RFC 3339 writes it.
    pub(in crate::cli) fn moment(self) -> Option<Timestamp> {
        self.0?.as_str()?.parse().ok()
    }

    /// Members of an array; none if it isn't one.
    pub(in crate::cli) fn items(self) -> impl Iterator<Item = Part<'a>> {
        let items = self.0.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().map(|item| Part(Some(item)))
    }

    /// Members of an object with their names; none if it isn't one.
    pub(in crate::cli) fn members(self) -> impl Iterator<Item = (&'a str, Part<'a>)> {
        let members = self.0.and_then(Value::as_object).into_iter().flatten();
        members.map(|(name, value)| (name.as_str(), Part(Some(value))))
    }

    /// As JSON, on one line.
    pub(in crate::cli) fn json(self) -> String {
        self.0.map_or_else(|| "null".to_owned(), Value::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_or_is_something_else_is_nothing() {
        let answer =
            Answer::parse(br#" {"a":{"b":3,"t":"x\u001b[2J\ny"},"l":[1,2],"n":null,"f":7.9}  "#);
        let answer = answer.unwrap();
        let part = answer.part();
        assert_eq!(part.get("a").get("b").number(), Some(3));
        assert_eq!(part.get("a").get("t").text().unwrap(), "x [2J y");
        assert_eq!(part.get("l").items().filter_map(Part::number).sum::<u64>(), 3);
        assert_eq!(part.get("l").json(), "[1,2]");
        assert!(!part.get("n").is_there() && !part.get("x").get("y").is_there());
        assert_eq!(part.get("a").number(), None);
        assert_eq!(part.get("f").number(), Some(7));
        assert_eq!(part.get("a").text(), None);
        assert_eq!(part.get("a").get("t").moment(), None);
        assert_eq!(part.get("a").items().count(), 0);
        let names: Vec<_> = part.get("a").members().map(|(name, _)| name).collect();
        assert_eq!((names, part.get("l").members().count()), (vec!["b", "t"], 0));
        assert!(!part.get("a").is_true());
        assert!(answer.text().starts_with("{\"a\"") && answer.text().ends_with("7.9}"));
        assert!(Answer::parse(b"<html>").is_none());
    }
}
