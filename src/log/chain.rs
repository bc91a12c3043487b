//! An error in one line, with all its causes.

use std::error::Error;
use std::fmt;

/// Shows an error with all its causes: `the store can't be opened: no such folder`.
pub fn chain<'a>(error: &'a (dyn Error + 'a)) -> Chain<'a> {
    Chain(error)
}

/// An error that shows its causes too.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(&'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let why = error.to_string();
            // Errors that peers read say their cause themselves.
            if !text.ends_with(&why) {
                text.push_str(": ");
                text.push_str(&why);
            }
            cause = error.source();
        }
        // Whatever a line feed would begin, it is no line of ours.
        for (at, line) in text.lines().enumerate() {
            f.write_str(if at == 0 { "" } else { "; " })?;
            f.write_str(line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the store can't be opened")]
    struct Quiet(#[source] Telling);

    #[derive(Debug, thiserror::Error)]
    #[error("no header: {0}")]
    struct Telling(#[source] std::io::Error);

    #[test]
    fn every_cause_is_told_once_and_all_in_one_line() {
        let cause = std::io::Error::other("it ends\nafter 3 bytes");
        let told = "the store can't be opened: no header: it ends; after 3 bytes";
        assert_eq!(chain(&Quiet(Telling(cause))).to_string(), told);
    }
}
