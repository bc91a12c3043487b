//! Secrets that systemd hands over as files: each is named and read like a variable.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::draft::Draft;
use super::environment;
use super::keys::Keys;
use super::mistake::{Mistake, Place, Problem};

/// A value longer than this is no value.
const BYTES_MAX: u64 = 64 * 1024;

/// Lays the credentials in the folder over the draft. One without `STATED_` in front is somebody
/// else's.
pub(super) fn read(folder: &Path, keys: &Keys, draft: &mut Draft) {
    let mut variables = Vec::new();
    let names = match names(folder) {
        Ok(names) => names,
        Err(error) => return blame(folder, &error, draft),
    };
    for name in names.into_iter().filter(|name| is_ours(name)) {
        let path = folder.join(&name);
        match content(&path) {
            Ok(content) => variables.push((name, content)),
            Err(error) => blame(&path, &error, draft),
        }
    }
    environment::read(&variables, keys, draft);
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(environment::PREFIX.as_bytes())
}

/// Without the line feed that an editor leaves at the end.
fn content(path: &Path) -> io::Result<OsString> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > BYTES_MAX) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 64 KiB"));
    }
    Ok(OsString::from_vec(bytes.trim_ascii_end().to_vec()))
}

fn blame(path: &Path, error: &io::Error, draft: &mut Draft) {
    let problem = Problem::Unreadable(error.to_string());
    draft.mistakes.push(Mistake { place: Place::File(path.to_owned()), key: None, problem });
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use crate::config::{Config, Secret, Sources, StoreUrl, load};

    fn sources(credentials: &[(&str, &[u8])]) -> (TempDir, Sources) {
        let folder = TempDir::new().unwrap();
        for (name, content) in credentials {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let variable = ("STATED_STORE__URL".into(), "memory:".into());
        let credentials = Some(folder.path().to_owned());
        (folder, Sources { credentials, environment: vec![variable], ..Sources::default() })
    }

    #[test]
    fn a_credential_goes_before_the_variable_of_its_name() {
        let (_folder, sources) =
            sources(&[("STATED_STORE__URL", b"redis://:secret@h:1\n"), ("other", b"x")]);
        let config = load(&sources).unwrap();
        assert_eq!(config.store.url, StoreUrl::Redis(Secret::new("redis://:secret@h:1")));
        assert_eq!(config.limits, Config::default().limits);
    }

    #[test]
    fn what_is_wrong_with_a_credential_is_said_without_its_content() {
        let (folder, mut sources) = sources(&[
            ("STATED_STORE__ULR", b"redis://:secret@h:1"),
            ("STATED_STORE__URL", b"nonsense://:secret@h:1"),
            ("STATED_LOG__LEVEL", &[b'x'; 70_000]),
            ("STATED_LOG__FORMAT", b"\xff"),
        ]);
        let said = load(&sources).unwrap_err().to_string();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 4, "{said}");
        assert!(!said.contains("secret"), "{said}");
        for part in ["did you mean STATED_STORE__URL?", "more than 64 KiB", "it is not UTF-8"] {
            assert!(said.contains(part), "{said}");
        }
        sources.credentials = Some(folder.path().join("none"));
        assert!(load(&sources).unwrap_err().to_string().contains("none"));
    }
}
