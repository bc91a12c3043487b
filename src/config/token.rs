//! The token of the admin API: as HTTP carries it, and too long to guess.

use super::Secret;

/// What may stand there, for people.
pub(super) const EXPECTED: &str = "16 to 512 letters, digits and - . _ ~ + / =, not digits alone, \
     or \"\" for none";

const BYTES_MIN: usize = 16;
const BYTES_MAX: usize = 512;

/// Checks a token; the error says what is wrong without repeating it.
pub(super) fn parse(text: &str) -> Result<Option<Secret>, String> {
    let can_be_sent = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if text.is_empty() {
        return Ok(None);
    }
    if !(BYTES_MIN..=BYTES_MAX).contains(&text.len()) {
        return Err(format!("it has {} characters", text.len()));
    }
    // A variable with digits alone would be a number, and tells more people than it keeps out.
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("it is digits alone".to_owned());
    }
    if !text.bytes().all(can_be_sent) {
        return Err("a character in it can't be sent as a bearer token".to_owned());
    }
    Ok(Some(Secret::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_can_be_sent() {
        assert_eq!(parse(""), Ok(None));
        for good in ["0123456789abcdef", "aGVsbG8gd29ybGQgaGVsbG8=", &"x".repeat(512)] {
            assert_eq!(parse(good), Ok(Some(Secret::new(good))));
        }
        for bad in [
            "short",
            "with a space in it",
            "with-umlaut-\u{e4}-in-it",
            &"x".repeat(513),
            "1234567890123456",
        ] {
            let error = parse(bad).unwrap_err();
            assert!(!error.contains(bad), "{error}");
        }
    }
}
