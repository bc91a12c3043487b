//! The embedded store on file systems that are really full, or really not to be written to.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::durability::lay_folder_of_format_1;
use crate::harness::{Setup, start_in_vain, wait_until};
use crate::place::Place;
use crate::requests::{enter, leave, study_time, subscribe, unsubscribe};
use crate::wire::error_of;

/// A file system of a few kilobytes in a mount namespace of its own, which goes with it.
struct Small {
    holder: Child,
    dir: TempDir,
}

impl Small {
    /// Nothing, said loudly, where this process may not mount.
    fn mount(kilobytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (path, ready) = (dir.path().join("mounted"), dir.path().join("ready"));
        std::fs::create_dir(&path).unwrap();
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k tmpfs '{}' && touch '{}' && exec sleep infinity",
            path.display(),
            ready.display()
        );
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .ok()?;
        wait_until("the file system is mounted, or can't be", || {
            ready.exists() || holder.try_wait().unwrap().is_some()
        });
        if !ready.exists() {
            println!("NOT TESTED: only root may mount a file system, and this is not root");
            return None;
        }
        Some(Self { holder, dir })
    }

    fn id(&self) -> u32 {
        self.holder.id()
    }

    /// The store's folder, as those inside see it.
    fn place(&self) -> Place {
        Place::at(&format!("embedded:{}", self.dir.path().join("mounted/state").display()))
    }

    /// A file of it, as this process sees it.
    fn file(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join("mounted").join(name);
        PathBuf::from(format!("/proc/{}/root{}", self.id(), path.display()))
    }

    /// Takes what space there is left.
    fn fill(&self) {
        let full = std::fs::write(self.file("ballast"), vec![0; 64 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        std::fs::remove_file(self.file("ballast")).unwrap();
    }

    fn remount_for_reading(&self) {
        let id = format!("--mount=/proc/{}/ns/mnt", self.id());
        let path = self.dir.path().join("mounted");
        let mut command = Command::new("nsenter");
        command.args([&id, "mount", "-o", "remount,ro"]).arg(path);
        assert!(command.status().unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

#[test]
fn on_a_disk_without_space_changes_are_refused_and_when_there_is_space_again_they_are_not() {
    let Some(small) = Small::mount(256) else { return };
    let setup = Setup::new().keeps(&small.place()).inside(small.id());
    let daemon = setup.start();
    let mut peer = daemon.connect();
    peer.served(leave("u1", "1"));
    peer.served(subscribe("u2", 7, "s2"));
    for _ in 0..2 {
        small.fill();
        // What fits behind the end of a block is taken still.
        let mut sent = 1;
        let refused = (0..4_000).find_map(|_| {
            sent += 1;
            let reply = peer.ask(leave("u1", &sent.to_string()));
            (!reply.contains("study_time")).then_some(reply)
        });
        let refused = error_of(&refused.expect("the disk is full"), "CHAT-031");
        assert!(refused["detail"].as_str().unwrap().contains("No space left"), "{refused}");
        // Nothing else than the change suffers; what is not durable is not told.
        let reply = peer.ask(enter("u2"));
        assert_eq!(reply, study_time("u2", None));
        peer.refused(unsubscribe("s2"), "CHAT-031");
        small.free();
        wait_until("changes are taken again, without a restart", || {
            sent += 1;
            peer.ask(leave("u1", &sent.to_string())).contains("study_time")
        });
        assert_eq!(peer.ask(enter("u1")), study_time("u1", Some(&sent.to_string())));
        // And it is on the disk.
        peer.served(leave("u3", &sent.to_string()));
    }
    drop(peer);
    daemon.kill();
    let daemon = setup.start();
    let mut peer = daemon.connect();
    assert!(peer.ask(enter("u3")).contains("study_time"));
    assert!(peer.served(unsubscribe("s2")).contains("\"userId\":\"u2\""));
}

#[test]
fn a_folder_that_can_only_be_read_is_refused_with_the_systems_own_words() {
    let Some(small) = Small::mount(1024) else { return };
    lay_folder_of_format_1(&small.file("state"));
    small.remount_for_reading();
    let setup = Setup::new().keeps(&small.place()).inside(small.id());
    let (status, log) = start_in_vain(&setup);
    assert!(!status.success());
    log.tells("Read-only file system");
}
