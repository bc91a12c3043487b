//! Stands in for room, signaling or auth: prints what the daemon sends and answers as they do.
//!
//! `cargo run --example peer_stand_in -- room`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to people")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

use bytes::BytesMut;
use stated::connection::frame::{Decoder, Framing};

const HELP: &str = "Usage: peer_stand_in PEER [ADDRESS [FRAMING [REPLY]]]

  PEER     room signaling auth
  ADDRESS  where to listen; port 0 takes a free one  [default: the fleet's port, on 127.0.0.1]
  FRAMING  length4 length2 length1 crlf lf           [default: length4]
  REPLY    the answer to every message; '' is an empty frame, '=' the message itself
           [default: room {\"type\" : \"KEEP\"}, signaling SUCCESS, auth =]

The first line printed is `listening on ADDRESS`, the others are the messages.";

/// The longest message the daemon may send; peers with Spring's defaults take 2,046.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What every message is answered.
enum Reply {
    Text(String),
    Echo,
}

/// What the command line says.
struct Arguments {
    peer: String,
    address: String,
    framing: Framing,
    reply: Reply,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some(arguments) = understand(&arguments) else {
        eprintln!("{HELP}");
        return ExitCode::from(2);
    };
    match listen(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer_stand_in: {}: {error}", arguments.address);
            ExitCode::FAILURE
        }
    }
}

fn understand(arguments: &[String]) -> Option<Arguments> {
    let peer = arguments.first().filter(|_| arguments.len() <= 4)?;
    let (port, reply) = match peer.as_str() {
        "room" => (8089, r#"{"type" : "KEEP"}"#),
        "signaling" => (8058, "SUCCESS"),
        "auth" => (8019, "="),
        _ => return None,
    };
    let address = arguments.get(1).cloned().unwrap_or_else(|| format!("127.0.0.1:{port}"));
    let framing = arguments.get(2).map_or(Some(Framing::Length4), |name| Framing::from_name(name));
    let reply = match arguments.get(3).map_or(reply, String::as_str) {
        "=" => Reply::Echo,
        text => Reply::Text(text.to_owned()),
    };
    Some(Arguments { peer: peer.clone(), address, framing: framing?, reply })
}

/// Serves until the process ends, a thread for each connection: the daemon opens ten at the most.
fn listen(arguments: &Arguments) -> io::Result<()> {
    let listener = TcpListener::bind(&arguments.address)?;
    println!("listening on {}", listener.local_addr()?);
    let serve_one = |stream: io::Result<TcpStream>| {
        if let Err(error) = stream.and_then(|stream| serve(stream, arguments)) {
            eprintln!("peer_stand_in: a connection broke: {error}");
        }
    };
    thread::scope(|scope| {
        for stream in listener.incoming() {
            scope.spawn(move || serve_one(stream));
        }
    });
    Ok(())
}

/// Answers each message with exactly one frame, in order, until the daemon closes. The daemon has
/// one message in flight on a connection, so there is nothing to do meanwhile.
fn serve(mut stream: TcpStream, arguments: &Arguments) -> io::Result<()> {
    let Arguments { peer, framing, reply, .. } = arguments;
    stream.set_nodelay(true)?;
    let mut decoder = Decoder::new(*framing, MESSAGE_BYTES_MAX);
    let (mut received, mut chunk) = (BytesMut::new(), [0; 4096]);
    loop {
        while let Some(found) = decoder.find(&received).map_err(io::Error::other)? {
            let message = &received[found.start..found.end];
            println!("{peer} < {}", String::from_utf8_lossy(message));
            let payload = match reply {
                Reply::Text(text) => text.as_bytes(),
                Reply::Echo => message,
            };
            let mut frame = BytesMut::new();
            framing.put(payload, &mut frame).map_err(io::Error::other)?;
            stream.write_all(&frame)?;
            decoder.consume(&mut received, found);
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            read => received.extend_from_slice(&chunk[..read]),
        }
    }
}
