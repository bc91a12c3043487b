//! A value before it is understood: what a file or a variable holds, and how it is shown.

/// What stands where a key's value is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Flag(bool),
    /// An array.
    List(Vec<Self>),
    /// Something no key accepts, in words.
    Other(String),
}

impl Value {
    /// Takes a text that has no type of its own, as variables, flags and defaults have none.
    pub(super) fn guess(text: &str) -> Self {
        if let Ok(flag) = text.parse() {
            return Self::Flag(flag);
        }
        text.parse().map_or_else(|_| Self::Text(text.to_owned()), Self::Integer)
    }

    /// For a message: short, on one line, and without what stands before the `@` of a URL, since
    /// a password may have ended up under the wrong key.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => shown_text(text),
            Self::Integer(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(_) => "an array".to_owned(),
            Self::Other(words) => words.clone(),
        }
    }
}

fn shown_text(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    // A key where the name of its file should be.
    if text.contains("-----BEGIN") {
        return "what is in a PEM file".to_owned();
    }
    let masked = match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}://***{}", &text[..scheme], &text[at..])
        }
        (Some(_) | None, _) => text.to_owned(),
    };
    let mut shown: String = masked.chars().take(CHARS_MAX).collect();
    if shown.len() < masked.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_the_simplest_value_it_can_be() {
        for (text, expected) in [
            ("5", Value::Integer(5)),
            ("-5", Value::Integer(-5)),
            ("true", Value::Flag(true)),
            ("10s", Value::Text("10s".to_owned())),
            ("", Value::Text(String::new())),
        ] {
            assert_eq!(Value::guess(text), expected);
        }
    }

    #[test]
    fn a_shown_text_is_short_on_one_line_and_without_a_password() {
        for (text, expected) in [
            ("ten", r#""ten""#),
            ("a\nb", r#""a\nb""#),
            ("redis://u:p@ss@h:1", r#""redis://***@h:1""#),
            ("u@h://x", r#""u@h://x""#),
            ("-----BEGIN PRIVATE KEY-----\nhunter2", "what is in a PEM file"),
        ] {
            assert_eq!(Value::Text(text.to_owned()).shown(), expected);
        }
        let long = Value::Text("가".repeat(100)).shown();
        assert_eq!(long, format!("\"{}…\"", "가".repeat(60)));
    }
}
