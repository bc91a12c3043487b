//! The day itself: what is said, what must come of it.

use std::collections::BTreeMap;

use super::Error;
use super::daemon::Daemon;
use super::peers::{Client, Manner, Server};
use crate::cli::child::Folder;
use crate::cli::send::readable;

/// Plays the day from the first user's arrival to the last study time's delivery.
pub(super) fn tell() -> Result<(), Error> {
    let folder = Folder::create("demo").map_err(Error::io("can't make a temporary folder"))?;
    let fleet = Fleet::start()?;
    let config = fleet.config();
    let daemon = Daemon::start(&folder, &config)?;
    title(
        "stated listens, with an empty embedded store; chat, signaling, auth and room are played",
    );
    morning(&mut Client::connect(daemon.address)?)?;
    leaving(&mut Client::connect(daemon.address)?, &fleet)?;
    commands(&mut Client::connect(daemon.address)?, &fleet)?;
    let mut delivered = night(&mut Client::connect(daemon.address)?, &fleet)?;
    title("The daemon is killed in the middle of the delivery, and started again");
    daemon.kill();
    fleet.auth.behave(Manner::Says("SUCCESS"));
    let daemon = Daemon::start(&folder, &config)?;
    rest_of_night(&fleet, &mut delivered)?;
    next_morning(&mut Client::connect(daemon.address)?)?;
    let status = daemon.stop()?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Daemon(format!("the daemon stopped with {status}")))
    }
}

/// The services that the daemon calls.
struct Fleet {
    room: Server,
    signaling: Server,
    auth: Server,
}

impl Fleet {
    fn start() -> Result<Self, Error> {
        Ok(Self {
            room: Server::start(Manner::Says(r#"{"type":"CHANGE","user_id":"소라","room_id":7}"#))?,
            signaling: Server::start(Manner::Says("SUCCESS"))?,
            auth: Server::start(Manner::Says("SUCCESS"))?,
        })
    }

    fn config(&self) -> String {
        format!(
            r#"
            [admin]
            address = ""
            [[listen]]
            address = "127.0.0.1:0"
            [store]
            url = "embedded:state"
            [gateways.room]
            address = "{}"
            [gateways.signaling]
            address = "{}"
            [gateways.auth]
            address = "{}"
            reply_timeout = "2s"
            [signaling]
            study_time_reply = "with_owner"
            [rollover]
            batch_users = 2
            [log]
            format = "json"
            "#,
            self.room.address, self.signaling.address, self.auth.address
        )
    }
}

fn morning(peer: &mut Client) -> Result<(), Error> {
    title("Three users enter rooms; Mina's timer starts where it stood: nowhere yet");
    says(
        peer,
        "chat",
        r#"{"server":"chat","type":"SUBSCRIBE","user_id":"mina","room_id":7,"session":"s1"}"#,
        r#"{"userId":"mina","roomId":7,"sessionId":"s1","studyTime":null}"#,
    )?;
    says(
        peer,
        "signaling",
        r#"{"server":"signaling","type":"STUDY_TIME_FROM_TCP","user_id":"mina"}"#,
        r#"{"user_id":"mina","study_time":null}"#,
    )?;
    says(
        peer,
        "chat",
        r#"{"server":"chat","type":"SUBSCRIBE","user_id":"jun","room_id":7,"session":"s2"}"#,
        r#"{"userId":"jun","roomId":7,"sessionId":"s2","studyTime":null}"#,
    )?;
    says(
        peer,
        "chat",
        r#"{"server":"chat","type":"SUBSCRIBE","user_id":"소라","room_id":7,"session":"s3"}"#,
        r#"{"userId":"소라","roomId":7,"sessionId":"s3","studyTime":null}"#,
    )?;
    title("Mina moves to room 9; the late goodbye of her old session can't throw her out");
    says(
        peer,
        "chat",
        r#"{"server":"chat","type":"SUBSCRIBE","user_id":"mina","room_id":9,"session":"s4"}"#,
        r#"{"userId":"mina","roomId":9,"sessionId":"s4","studyTime":null}"#,
    )?;
    says_error(
        peer,
        "chat",
        r#"{"server":"chat","type":"UNSUBSCRIBE","user_id":"","room_id":null,"session":"s1"}"#,
        "CHAT-001",
    )
}

fn leaving(peer: &mut Client, fleet: &Fleet) -> Result<(), Error> {
    title("Jun, who owns room 7, leaves: the time is kept, room is told, Sora inherits the room");
    says(
        peer,
        "signaling",
        r#"{"server":"signaling","type":"STUDY_TIME_TO_TCP","user_id":"jun","study_time":"01:30:00"}"#,
        r#"{"user_id":"jun","study_time":"01:30:00","type":"CHANGE","userId":"소라","room_id":7}"#,
    )?;
    is_told("room", &fleet.room, r#"{"server":"state","user_id":"jun","room_id":7}"#)?;
    says(
        peer,
        "auth",
        r#"{"server":"auth","type":"STUDY_TIME_FROM_TCP","user_id":"jun"}"#,
        r#"{"user_id":"jun","study_time":"01:30:00"}"#,
    )
}

fn commands(peer: &mut Client, fleet: &Fleet) -> Result<(), Error> {
    title("Sora gets an alert and is kicked out: room asks, signaling does");
    says(
        peer,
        "room",
        r#"{"server":"room","type":"ALERT","user_id":"소라","room_id":7,"alert_count":3}"#,
        "",
    )?;
    is_told(
        "signaling",
        &fleet.signaling,
        r#"{"server":"state","type":"ALERT","user_id":"소라","room_id":7,"alert_count":3}"#,
    )?;
    says(peer, "room", r#"{"server":"room","type":"KICK_OUT","user_id":"소라","room_id":7}"#, "")?;
    is_told(
        "signaling",
        &fleet.signaling,
        r#"{"server":"state","type":"KICK_OUT","user_id":"소라","room_id":7}"#,
    )?;
    says(
        peer,
        "chat",
        r#"{"server":"chat","type":"DISCONNECT","user_id":"","room_id":null,"session":"s3"}"#,
        r#"{"userId":"소라","roomId":7,"sessionId":"s3","studyTime":null}"#,
    )
}

/// Study times as they reached auth.
type Delivered = BTreeMap<String, Option<String>>;

fn night(peer: &mut Client, fleet: &Fleet) -> Result<Delivered, Error> {
    title(
        "05:00: signaling lists who is still there and closes the day; auth answers once, then not",
    );
    let listing = r#"{"server":"signaling_scheduling","type":"SCHEDULER","users":[{"user_id":"mina","study_time":"02:00:00"},{"user_id":"소라","study_time":"00:45:00"}]}"#;
    says(peer, "signaling", listing, listing)?;
    fleet.auth.behave(Manner::SaysOnce("SUCCESS"));
    let last = r#"{"server":"signaling_scheduling","type":"SCHEDULER_LAST","users":[{"user_id":"yuna","study_time":"03:15:00"}]}"#;
    let mut delivered = Delivered::new();
    says(peer, "signaling", last, last)?;
    collect(&fleet.auth.told()?, &mut delivered)?;
    collect(&fleet.auth.told()?, &mut delivered)?;
    Ok(delivered)
}

fn rest_of_night(fleet: &Fleet, delivered: &mut Delivered) -> Result<(), Error> {
    // The frame that was not acknowledged comes again.
    collect(&fleet.auth.told()?, delivered)?;
    let expected =
        [("jun", "01:30:00"), ("mina", "02:00:00"), ("yuna", "03:15:00"), ("소라", "00:45:00")];
    let expected: Delivered =
        expected.map(|(user, time)| (user.to_owned(), Some(time.to_owned()))).into_iter().collect();
    same("auth", &format!("{expected:?}"), &format!("{delivered:?}"))
}

fn next_morning(peer: &mut Client) -> Result<(), Error> {
    title(
        "The new day: every time is with auth, everybody starts from nothing, Mina is still there",
    );
    says(
        peer,
        "signaling",
        r#"{"server":"signaling","type":"STUDY_TIME_FROM_TCP","user_id":"jun"}"#,
        r#"{"user_id":"jun","study_time":null}"#,
    )?;
    says(
        peer,
        "chat",
        r#"{"server":"chat","type":"UNSUBSCRIBE","user_id":"","room_id":null,"session":"s4"}"#,
        r#"{"userId":"mina","roomId":9,"sessionId":"s4","studyTime":null}"#,
    )
}

/// Takes what a frame to auth carries.
fn collect(frame: &str, delivered: &mut Delivered) -> Result<(), Error> {
    line("auth", "is told", frame);
    let value: serde_json::Value = serde_json::from_str(frame).unwrap_or_default();
    for entry in value["users"].as_array().into_iter().flatten() {
        let user = entry["user_id"].as_str().unwrap_or_default().to_owned();
        delivered.insert(user, entry["study_time"].as_str().map(str::to_owned));
    }
    match value["type"].as_str() {
        Some("SCHEDULER") => Ok(()),
        _ => same("auth", "a SCHEDULER frame", frame),
    }
}

fn says(peer: &mut Client, who: &'static str, message: &str, expected: &str) -> Result<(), Error> {
    line(who, "says", message);
    let reply = readable(peer.ask(message)?.as_bytes());
    line("", "reply", &reply);
    same(who, if expected.is_empty() { "(empty)" } else { expected }, &reply)
}

fn says_error(
    peer: &mut Client,
    who: &'static str,
    message: &str,
    code: &str,
) -> Result<(), Error> {
    line(who, "says", message);
    let reply = readable(peer.ask(message)?.as_bytes());
    line("", "reply", &reply);
    let found = reply.contains(&format!("\"code\":\"{code}\""));
    if found { Ok(()) } else { same(who, code, &reply) }
}

fn is_told(who: &'static str, server: &Server, expected: &str) -> Result<(), Error> {
    let told = readable(server.told()?.as_bytes());
    line(who, "is told", &told);
    same(who, expected, &told)
}

fn same(who: &'static str, expected: &str, found: &str) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Unexpected { who, expected: expected.to_owned(), found: found.to_owned() })
}

#[expect(clippy::print_stdout, reason = "a command's own output")]
fn title(text: &str) {
    println!("\n{text}");
}

#[expect(clippy::print_stdout, reason = "a command's own output")]
fn line(who: &str, verb: &str, text: &str) {
    println!("  {who:>9} {verb:<7}  {}", readable(text.as_bytes()));
}
