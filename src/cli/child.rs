//! This program started once more, as a daemon in a folder of its own: for the demo and for bench.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A temporary folder that is gone when its owner is.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new folder whose name begins with `stated-` and `purpose`.
    pub(super) fn create(purpose: &str) -> io::Result<Self> {
        let name = format!("stated-{purpose}-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed from the temporary folder now, the system removes later.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// `stated serve` with this configuration, in this folder, whatever the environment says.
pub(super) fn serve(folder: &Path, config: &str) -> io::Result<Command> {
    let file = folder.join("stated.toml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve").arg("--config").arg(&file).current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STATED_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Where the daemon says in this line of its log that it listens, if it does.
pub(super) fn listening(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    if line.get("message")?.as_str()? != "listening" {
        return None;
    }
    line.get("address")?.as_str()?.parse().ok()
}
