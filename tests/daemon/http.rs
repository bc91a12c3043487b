//! Asks the admin server over real HTTP, one connection a request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::harness::{Daemon, Setup, WAIT_MAX};

/// A request in the making.
pub(crate) struct Request<'a> {
    method: &'a str,
    path: &'a str,
    host: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: Option<&'a str>,
    is_chunked: bool,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case, as they came.
    head: String,
    pub(crate) body: String,
}

/// With an admin server on a port of its own.
pub(crate) fn observed(setup: Setup) -> Setup {
    setup.key("admin.address", "\"127.0.0.1:0\"")
}

/// Where the admin server listens.
pub(crate) fn admin_address(daemon: &Daemon) -> SocketAddr {
    let lines = daemon.log.lines();
    let line = lines.iter().find(|line| line.contains("health and metrics are served")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let mut address: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
    if address.ip().is_unspecified() {
        address.set_ip([127, 0, 0, 1].into());
    }
    address
}

/// `METHOD PATH`.
pub(crate) fn request<'a>(method: &'a str, path: &'a str) -> Request<'a> {
    Request { method, path, host: "localhost", headers: Vec::new(), body: None, is_chunked: false }
}

impl<'a> Request<'a> {
    pub(crate) fn host(self, host: &'a str) -> Self {
        Self { host, ..self }
    }

    pub(crate) fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn json(self, body: &'a str) -> Self {
        Self { body: Some(body), ..self }.header("Content-Type", "application/json")
    }

    /// The body's length is not said before.
    pub(crate) fn chunked(self) -> Self {
        Self { is_chunked: true, ..self }.header("Transfer-Encoding", "chunked")
    }

    pub(crate) fn ask(&self, daemon: &Daemon) -> Answer {
        let mut stream = TcpStream::connect(admin_address(daemon)).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let Self { method, path, host, .. } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.unwrap_or_default();
        if self.is_chunked {
            text.push_str(&format!("\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
        } else {
            text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        }
        // A body that is refused for its length is not read to its end.
        let _sent: io::Result<()> = stream.write_all(text.as_bytes());
        let mut answer = Vec::new();
        // So the end may be a reset, after the answer.
        let _read: io::Result<usize> = stream.read_to_end(&mut answer);
        Answer::parse(&String::from_utf8(answer).unwrap())
    }
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&prefix))
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// What is answered to a GET; the status has to be 200.
pub(crate) fn get(daemon: &Daemon, path: &str) -> Value {
    let answer = request("GET", path).ask(daemon);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}
