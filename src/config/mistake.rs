//! What is wrong with a configuration: every mistake at once, each one where it was made.

use std::fmt;
use std::path::PathBuf;

/// All mistakes of a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    /// In the order in which they stand in the file, then those of variables, then of flags.
    pub mistakes: Vec<Mistake>,
}

/// One mistake. Its text is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it was made.
    pub place: Place,
    /// The dotted key, if it concerns one: `gateways.room.pool_size`, `listen[0].address`.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file, as a whole.
    File(PathBuf),
    /// A place in the file.
    Line {
        /// As it was named to the program.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The file can't be read.
    Unreadable(String),
    /// The file is not TOML.
    Syntax {
        /// What the parser says.
        message: String,
        /// Whether it concerns the line of a table's header.
        in_header: bool,
    },
    /// No such key.
    UnknownKey {
        /// What was probably meant.
        nearest: Option<String>,
        /// What stands there in words: `[limits] has …`.
        allowed: String,
    },
    /// The key is right, its value is not.
    Value {
        /// What was found; never a secret.
        found: String,
        /// What is wrong with it, if that is not obvious.
        why: Option<String>,
        /// What is allowed.
        expected: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
}

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        write!(f, "{}", self.problem)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Line { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(cause) => write!(f, "can't be read: {cause}"),
            Self::Syntax { message, in_header: _ } => write!(f, "not TOML: {message}"),
            Self::UnknownKey { nearest, allowed } => {
                f.write_str("unknown key; ")?;
                if let Some(nearest) = nearest {
                    write!(f, "did you mean {nearest}? ")?;
                }
                f.write_str(allowed)
            }
            Self::Value { found, why, expected, nearest } => {
                write!(f, "found {found}")?;
                if let Some(why) = why {
                    write!(f, " ({why})")?;
                }
                write!(f, ", expected {expected}")?;
                if let Some(nearest) = nearest {
                    write!(f, "; did you mean {nearest}?")?;
                }
                Ok(())
            }
        }
    }
}

/// The candidate a misspelt word most resembles, if it resembles one.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const ALIKE: f64 = 0.6;
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    candidates
        .into_iter()
        .map(|candidate| {
            (strsim::normalized_damerau_levenshtein(&word, &plain(candidate)), candidate)
        })
        .filter(|(likeness, _)| *likeness >= ALIKE)
        // Of two that are equally near the first wins, as they are listed.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_whatever_its_case_and_dashes() {
        let words = ["max_frame_bytes", "max_in_flight", "max_connections"];
        for (word, expected) in [
            ("max_frame_byte", Some("max_frame_bytes")),
            ("max-in-flight", Some("max_in_flight")),
            ("maxConnections", Some("max_connections")),
            ("colour", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
    }
}
