//! What a daemon under test writes to its log.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{WAIT_MAX, rest};

/// Lines of the log that a failing test shows.
const LINES_SHOWN: usize = 30;

/// What the daemon wrote to its standard error so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// A line contains this, or will in a moment: whoever is answered may be ahead of the log.
    pub(crate) fn tells(&self, text: &str) {
        let begun = Instant::now();
        while !self.has(text) {
            let waits = begun.elapsed() < WAIT_MAX;
            assert!(waits, "{text:?} is not in the log:\n{}", self.tail());
            rest(Duration::from_millis(5));
        }
    }

    /// How many lines contain this.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn read(&self, child: &mut Child) -> thread::JoinHandle<()> {
        let (log, stderr) = (self.clone(), child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.0.lock().unwrap().push(line);
            }
        })
    }

    pub(crate) fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let address = |line: &String| {
            let line: Value = serde_json::from_str(line).ok()?;
            let address = (line["message"] == "listening").then(|| line["address"].as_str())??;
            address.parse().ok()
        };
        self.lines().iter().filter_map(address).collect()
    }
}
