//! A peer of the daemon: opens a session, stores a study time, and reads every reply.
//!
//! `cargo run --example peer_send -- 127.0.0.1:8099 length4`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to people")]

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use bytes::BytesMut;
use serde_json::{Value, json};
use stated::connection::frame::{Decoder, Framing};

const HELP: &str = "Usage: peer_send [ADDRESS [FRAMING]]

  ADDRESS  where the daemon listens      [default: 127.0.0.1:8099]
  FRAMING  length4 length2 length1 crlf lf  [default: length4]

Exit status: 0 if all went well, 1 if a reply was an error or none came, 2 for a wrong argument.";

/// The daemon answers within 8 s: whoever waits longer waits for a dead connection.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let address = arguments.first().map_or("127.0.0.1:8099", String::as_str);
    let framing = arguments.get(1).map_or(Some(Framing::Length4), |name| Framing::from_name(name));
    let (Some(framing), 0..=2) = (framing, arguments.len()) else {
        eprintln!("{HELP}");
        return ExitCode::from(2);
    };
    match talk(address, framing) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peer_send: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says what chat and signaling say when a user comes and goes; returns how many requests were
/// refused. One connection may speak for several services: `server` in the message tells which.
fn talk(address: &str, framing: Framing) -> Result<usize, Box<dyn Error>> {
    let requests = [
        json!({"server": "chat", "type": "SUBSCRIBE", "user_id": "u1", "room_id": 5, "session": "s1"}),
        json!({"server": "signaling", "type": "STUDY_TIME_TO_TCP", "user_id": "u1", "study_time": "00:10:00"}),
        json!({"server": "signaling", "type": "STUDY_TIME_FROM_TCP", "user_id": "u1"}),
        json!({"server": "chat", "type": "UNSUBSCRIBE", "user_id": "", "room_id": null, "session": "s1"}),
    ];
    let mut daemon = Daemon::connect(address, framing)?;
    let mut refused = 0;
    for request in requests {
        println!("> {request}");
        match daemon.ask(&request)? {
            // The type has nothing to say; that it came at all is the acknowledgement.
            None => println!("< (empty)"),
            Some(reply) => {
                println!("< {reply}");
                if let Some(error) = reply.get("error") {
                    // Decide by `code`; `detail` is for the log.
                    println!("! {}: {}", error["code"], error["detail"]);
                    refused += 1;
                }
            }
        }
    }
    Ok(refused)
}

/// A connection to the daemon. After an error it must be dropped: whether the request was carried
/// out is then unknown, and a late reply would be taken for the next request's.
struct Daemon {
    stream: TcpStream,
    framing: Framing,
    decoder: Decoder,
    received: BytesMut,
}

impl Daemon {
    fn connect(address: &str, framing: Framing) -> io::Result<Self> {
        let resolved = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect_timeout(&resolved, REPLY_TIMEOUT)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        // Requests are small and each waits for its reply: don't collect them.
        stream.set_nodelay(true)?;
        let decoder = Decoder::new(framing, 1 << 20);
        Ok(Self { stream, framing, decoder, received: BytesMut::new() })
    }

    /// Sends one request and waits for its one reply; `None` is an empty reply.
    fn ask(&mut self, request: &Value) -> Result<Option<Value>, Box<dyn Error>> {
        let mut frame = BytesMut::new();
        self.framing.put(request.to_string().as_bytes(), &mut frame)?;
        self.stream.write_all(&frame)?;
        let found = loop {
            if let Some(found) = self.decoder.find(&self.received)? {
                break found;
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk).map_err(|error| format!("no reply: {error}"))? {
                0 => return Err("the daemon closed the connection and owes a reply".into()),
                read => self.received.extend_from_slice(&chunk[..read]),
            }
        };
        let payload = &self.received[found.start..found.end];
        let reply = if payload.is_empty() { None } else { Some(serde_json::from_slice(payload)?) };
        self.decoder.consume(&mut self.received, found);
        Ok(reply)
    }
}
