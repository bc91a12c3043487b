//! Which version of the daemon may work with what is stored.
//!
//! A field of the night's hash says which format a reader has to know. That hash is read by every
//! daemon many times a second anyway, and is lost with everything else if Redis starts anew. What is
//! only added, and passed over by those who don't know it, is no new format: daemons of several
//! versions share one Redis while they are exchanged one after the other.

use crate::store::{Error, Result};

/// The field of the mark.
pub(super) const FORMAT_FIELD: &str = "format";
/// The format that is written, and the newest that is read. Data without a mark are of this format
/// too: there were none at first, and the service whose records we take over writes none.
pub(super) const FORMAT: u32 = 1;

/// Whether the store may be worked with, given its mark.
pub(super) fn check(mark: Option<&str>) -> Result<()> {
    let is_known = mark.is_none_or(|mark| mark.parse().is_ok_and(|format: u32| format <= FORMAT));
    if is_known {
        return Ok(());
    }
    let mark: String = mark.unwrap_or_default().chars().take(20).collect();
    Err(Error::Failed(format!(
        "a newer stated wrote the store, in format {mark}; this one knows up to format {FORMAT}: \
         start the newer one"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_newer_or_makes_no_sense_is_refused_by_name() {
        for mark in [None, Some("1"), Some("0")] {
            assert!(check(mark).is_ok(), "{mark:?}");
        }
        for mark in ["2", "99999999999999999999", "", "1.5", "-1"] {
            let error = check(Some(mark)).unwrap_err().to_string();
            assert!(error.contains(&format!("in format {mark};")), "{error}");
            assert!(error.contains("knows up to format 1: start the newer one"), "{error}");
        }
    }
}
