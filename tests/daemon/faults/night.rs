//! The night over a network that fails, and with an auth service that does: every study time gets
//! there at least once, and what is repeated is repeated as it was.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::faults::peers::{ANSWER, End, Fault, befall, each_cut, faults, heal};
use crate::faults::proxy::{Flow, Proxy, Way};
use crate::fleet::{Fleet, times_in};
use crate::harness::{Daemon, Setup, wait_until};
use crate::requests::{last, leave};
use crate::wire::{Client, Framing};

const NOT_ACKNOWLEDGED: &str = "auth did not acknowledge a frame";

/// A daemon whose way to auth fails, and which is quick to try again.
fn setup(fleet: &Fleet, proxy: &Proxy) -> Setup {
    Setup::with(fleet)
        .key("gateways.auth.address", &format!("\"{}\"", proxy.address))
        .key("rollover.retry_max", "\"20ms\"")
}

fn close_the_day_of(peer: &mut Client, user: &str) {
    peer.served(leave(user, "00:10:00"));
    peer.served(last(&[]));
}

/// The frames that told of the user, once there is one.
fn wait_told_of(fleet: &Fleet, user: &str) -> Vec<String> {
    let of_user = |text: &String| text.contains(&format!("\"{user}\""));
    let told = fleet.auth.wait_told_that(user, |told| told.iter().any(of_user));
    told.into_iter().filter(of_user).collect()
}

fn assert_repeated_unchanged(frames: &[String]) {
    assert!(frames.iter().all(|frame| *frame == frames[0]), "not the same frame: {frames:?}");
}

fn check_night(
    (fleet, proxy, daemon): (&Fleet, &Proxy, &Daemon),
    peer: &mut Client,
    (fault, end): (&Fault, End),
    user: &str,
) {
    let failures = daemon.log.count(NOT_ACKNOWLEDGED);
    befall(fault, proxy, &fleet.auth);
    close_the_day_of(peer, user);
    match end {
        End::Served => {}
        End::Dropped | End::Late | End::Away => {
            let is_repeated = || daemon.log.count(NOT_ACKNOWLEDGED) > failures;
            wait_until("a frame is not acknowledged", is_repeated);
        }
    }
    if end == End::Served {
        wait_told_of(fleet, user);
    }
    heal(proxy, &fleet.auth);
    wait_told_of(fleet, user);
    // The older goes first: with the next day the one before is over.
    let next = format!("{user}-next");
    close_the_day_of(peer, &next);
    wait_told_of(fleet, &next);
    let frames = wait_told_of(fleet, user);
    assert_repeated_unchanged(&frames);
    assert!(end != End::Served || frames.len() == 1, "repeated although acknowledged: {frames:?}");
}

fn check_nights(reply_timeout: &str, ends: &[End]) {
    let fleet = Fleet::new();
    let proxy = Proxy::before(fleet.auth.address);
    let daemon = setup(&fleet, &proxy)
        .key("gateways.auth.reply_timeout", reply_timeout)
        .key("rollover.stamp", "true")
        .start();
    heal(&proxy, &fleet.auth);
    let mut peer = daemon.connect();
    for end in ends {
        for (number, fault) in faults(*end, ANSWER).iter().enumerate() {
            let user = format!("{end:?}-{number}");
            check_night((&fleet, &proxy, &daemon), &mut peer, (fault, *end), &user);
        }
    }
}

#[test]
fn however_auth_breaks_off_every_time_is_told_and_the_same_frame_repeated() {
    check_nights("\"30s\"", &[End::Served, End::Dropped, End::Away]);
}

#[test]
fn however_auth_stalls_every_time_is_told_and_the_same_frame_repeated() {
    check_nights("\"300ms\"", &[End::Late]);
}

#[test]
fn cut_off_at_any_byte_of_frame_or_answer_every_time_is_told() {
    let fleet = Fleet::new();
    let proxy = Proxy::before(fleet.auth.address);
    let daemon = setup(&fleet, &proxy).start();
    heal(&proxy, &fleet.auth);
    let mut peer = daemon.connect();
    let frame = concat!(
        r#"{"server":"state","type":"SCHEDULER","#,
        r#""users":[{"user_id":"u-1000","study_time":"00:10:00"}]}"#
    );
    let mut number = 1000;
    for (way, frame_bytes) in [(Way::ToServer, 4 + frame.len()), (Way::ToClient, 4 + ANSWER.len())]
    {
        for (bytes, how) in each_cut(frame_bytes) {
            number += 1;
            let (user, cuts) = (format!("u-{number}"), proxy.cuts());
            proxy.flow(way, Flow::Cut(bytes, how));
            close_the_day_of(&mut peer, &user);
            proxy.wait_cuts(cuts + 1);
            assert_repeated_unchanged(&wait_told_of(&fleet, &user));
        }
    }
}

/// An auth service that answers each first frame of a connection once at once, and once more when
/// the next one comes, which it then does not store. Returns its address and what it stored.
fn auth_that_answers_twice() -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, stored) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<_>>>::default());
    let storing = Arc::clone(&stored);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, stored) = (stream.unwrap(), Arc::clone(&storing));
            thread::spawn(move || {
                let Some(frame) = read_frame(&mut stream) else { return };
                stored.lock().unwrap().extend(times_in(&frame).into_iter().map(|(user, _)| user));
                let answer = Framing::Length4.frame(b"SUCCESS");
                let answered = stream.write_all(&answer).is_ok();
                if answered && read_frame(&mut stream).is_some() {
                    drop(stream.write_all(&answer));
                }
            });
        }
    });
    (address, stored)
}

fn read_frame(stream: &mut TcpStream) -> Option<String> {
    let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(frame) = Framing::Length4.take(&mut received) {
            return Some(String::from_utf8(frame).unwrap());
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => received.extend_from_slice(&chunk[..count]),
        }
    }
}

#[test]
fn a_second_answer_to_one_frame_acknowledges_no_other() {
    let (address, stored) = auth_that_answers_twice();
    let daemon = Setup::new()
        .key("gateways.auth.address", &format!("\"{address}\""))
        .key("rollover.batch_users", "1")
        .key("rollover.retry_max", "\"20ms\"")
        .start();
    let mut peer = daemon.connect();
    let users: Vec<String> = (0..20).map(|number| format!("u{number:02}")).collect();
    for user in &users {
        peer.served(leave(user, "00:10:00"));
    }
    peer.served(last(&[("u-last", "00:10:00")]));
    wait_until("the last one is told", || stored.lock().unwrap().iter().any(|it| it == "u-last"));
    // Another night: by then all that is acknowledged is.
    peer.served(last(&[("another", "00:10:00")]));
    wait_until("another is told", || stored.lock().unwrap().iter().any(|it| it == "another"));
    let stored = stored.lock().unwrap();
    let missing: Vec<_> = users.iter().filter(|user| !stored.contains(user)).collect();
    assert!(missing.is_empty(), "taken for told: {missing:?}");
}

/// Has the system a hundred local ports, and an ended connection keep one for a second; nothing else is
/// in the way. Whatever it was told to run then is run.
const FEW_PORTS: &str = "ip link set lo up \
    && echo 40000 40099 >/proc/sys/net/ipv4/ip_local_port_range \
    && echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse \
    && touch \"$1\" && exec \"$2\" --exact \"$3\" --nocapture";

#[test]
fn when_local_ports_run_out_the_delivery_goes_on_with_those_that_come_free() {
    const NAME: &str = "faults::night::\
                        when_local_ports_run_out_the_delivery_goes_on_with_those_that_come_free";
    const INSIDE: &str = "FEW_LOCAL_PORTS";
    if std::env::var_os(INSIDE).is_some() {
        return deliver_more_frames_than_there_are_ports();
    }
    // The same test in a network of its own.
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready");
    let inside = Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-c", FEW_PORTS, "sh"])
        .args([&ready, &std::env::current_exe().unwrap()])
        .arg(NAME)
        .env(INSIDE, "1")
        .status();
    if !ready.exists() {
        println!("NOT TESTED: no network of its own can be made here");
        return;
    }
    assert!(inside.unwrap().success());
}

fn deliver_more_frames_than_there_are_ports() {
    const USERS: usize = 300;
    let fleet = Fleet::new();
    let daemon = Setup::with(&fleet)
        .key("rollover.batch_users", "1")
        .key("rollover.retry_max", "\"100ms\"")
        .start();
    let users: Vec<_> = (0..USERS).map(|number| format!("u{number:03}")).collect();
    let times: Vec<_> = users.iter().map(|user| (user.as_str(), "00:10:00")).collect();
    let mut peer = daemon.connect();
    peer.served(last(&times));
    let told = fleet.auth.wait_told(USERS);
    let mut told: Vec<_> = told.iter().flat_map(|frame| times_in(frame)).collect();
    told.sort();
    assert!(told.iter().map(|(user, _)| user).eq(&users), "once each: {told:?}");
    assert!(daemon.log.has("auth can't be reached: address not available"));
    // Everybody else was served all the time.
    peer.served(leave("u000", "00:20:00"));
    daemon.stop();
}
