//! Every way in which a called service, or the way to it, fails: what callers are answered, that no
//! answer reaches another caller, and how often room and signaling hear of the same.

use std::time::Duration;

use crate::faults::proxy::{Break, Door, Flow, Proxy, Way};
use crate::fleet::Fleet;
use crate::harness::{Daemon, Setup, wait_until};
use crate::played::{Act, Played};
use crate::requests::{kick_out, leave, subscribe};
use crate::wire::{Client, Framing};

/// What goes wrong while one message is on its way.
#[derive(Clone)]
pub(super) enum Fault {
    /// With whoever connects.
    At(Door),
    /// With what is said one way.
    On(Way, Flow),
    /// With what the service does.
    Does(Act),
}

/// How it ends for the one who called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As if nothing had been wrong.
    Served,
    /// The service broke off, or said what is no answer.
    Dropped,
    /// No answer came.
    Late,
    /// Nobody was reached, or, if the message was on its way already, broke off.
    Away,
}

impl End {
    /// What the caller may be answered.
    fn codes(self) -> &'static [&'static str] {
        match self {
            Self::Served => &[],
            Self::Dropped => &["CHAT-002"],
            Self::Late => &["CHAT-023"],
            Self::Away => &["CHAT-021", "CHAT-002"],
        }
    }
}

/// So long a service may take where it never answers. Whatever is served has more time.
const SHORT: &str = "\"300ms\"";

/// Each fault that does not take a whole walk, by how it ends, of a service that would answer this.
pub(super) fn faults(end: End, answer: &str) -> Vec<Fault> {
    use Break::{Close, Reset, Silence};
    use Fault::{At, Does, On};
    use Way::{ToClient, ToServer};
    let framed = |payload: &[u8]| Framing::Length4.frame(payload);
    match end {
        End::Served => vec![
            On(ToServer, Flow::Trickles),
            On(ToClient, Flow::Trickles),
            On(ToServer, Flow::Delayed(Duration::from_millis(50))),
            On(ToClient, Flow::Delayed(Duration::from_millis(50))),
            On(ToClient, Flow::Cut(answer.len() + 4, Close)),
            On(ToClient, Flow::Cut(answer.len() + 4, Reset)),
            Does(Act::Write([framed(answer.as_bytes()), framed(b"{\"error\":1}")].concat())),
            Does(Act::Write([framed(answer.as_bytes()), vec![0xff; 3]].concat())),
        ],
        End::Dropped => vec![
            On(ToServer, Flow::Cut(0, Close)),
            On(ToServer, Flow::Cut(0, Reset)),
            On(ToServer, Flow::Cut(20, Close)),
            On(ToServer, Flow::Cut(20, Reset)),
            On(ToClient, Flow::Cut(0, Close)),
            On(ToClient, Flow::Cut(0, Reset)),
            On(ToClient, Flow::Cut(6, Close)),
            On(ToClient, Flow::Cut(6, Reset)),
            Does(Act::HangUp),
            Does(Act::Say("{\"error\":{\"code\":\"PEER-001\"}}".to_owned())),
            Does(Act::Write(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())),
            Does(Act::Write(((1_u32 << 20) + 1).to_be_bytes().to_vec())),
        ],
        End::Late => vec![
            At(Door::Breaks(Silence)),
            On(ToServer, Flow::Held),
            On(ToServer, Flow::Lost),
            On(ToServer, Flow::Cut(20, Silence)),
            On(ToClient, Flow::Held),
            On(ToClient, Flow::Lost),
            On(ToClient, Flow::Cut(6, Silence)),
            Does(Act::KeepSilent),
            Does(Act::Wait),
            Does(Act::Write(vec![0, 0])),
        ],
        End::Away => vec![At(Door::Breaks(Close)), At(Door::Breaks(Reset))],
    }
}

/// What services answer here where they do.
pub(super) const ANSWER: &str = "{\"type\":\"KEEP\"}";

/// Sets the fault up, after a connection was used and lies ready, or after all are gone.
pub(super) fn befall(fault: &Fault, proxy: &Proxy, played: &Played) {
    match fault {
        Fault::At(door) => {
            proxy.door(*door);
            proxy.break_all(Break::Close);
        }
        Fault::On(way, flow) => proxy.flow(*way, *flow),
        Fault::Does(act) => played.behave(act.clone()),
    }
}

pub(super) fn heal(proxy: &Proxy, played: &Played) {
    played.behave(Act::Say(ANSWER.to_owned()));
    proxy.heal();
}

/// One service of the fleet behind a network that fails; a daemon that calls it.
struct Scene {
    fleet: Fleet,
    proxy: Proxy,
    daemon: Daemon,
}

impl Scene {
    fn of_signaling(reply_timeout: &str) -> Self {
        let fleet = Fleet::new();
        let proxy = Proxy::before(fleet.signaling.address);
        let daemon = Setup::with(&fleet)
            .key("gateways.signaling.address", &format!("\"{}\"", proxy.address))
            .key("gateways.signaling.reply_timeout", reply_timeout)
            .start();
        Self { fleet, proxy, daemon }
    }

    fn of_room(reply_timeout: &str) -> Self {
        let fleet = Fleet::new();
        let proxy = Proxy::before(fleet.room.address);
        let daemon = Setup::with(&fleet)
            .key("gateways.room.address", &format!("\"{}\"", proxy.address))
            .key("gateways.room.reply_timeout", reply_timeout)
            .key("signaling.study_time_reply", "\"with_owner\"")
            .start();
        Self { fleet, proxy, daemon }
    }
}

fn times_told(played: &Played, part: &str) -> usize {
    played.told().iter().filter(|text| text.contains(part)).count()
}

/// Asserts that what contains `part` was told at most once, and once if it is `certain` that it came.
fn check_told(played: &Played, part: &str, certain: bool, when: &str) {
    let told = times_told(played, part);
    assert!((usize::from(certain)..=1).contains(&told), "told {told} times: {when}");
}

/// Has a message forwarded under the fault, and asserts how that ends and that all is well after.
fn check_forwarding(scene: &Scene, peer: &mut Client, fault: &Fault, end: End, user: &str) {
    let Scene { fleet: Fleet { signaling, .. }, proxy, .. } = scene;
    heal(proxy, signaling);
    wait_until("signaling is found", || peer.ask(kick_out("before", 1)).is_empty());
    befall(fault, proxy, signaling);
    let reply = peer.ask(kick_out(user, 1));
    let codes = end.codes();
    match end {
        End::Served => assert_eq!(reply, "", "{user}"),
        End::Dropped | End::Late | End::Away => {
            assert!(codes.iter().any(|code| reply.contains(code)), "{user}: {codes:?}, {reply}");
        }
    }
    // Whatever comes late is an error; it is nobody's any more.
    let late = user.to_owned();
    signaling.play(move |text| {
        Act::Say(if text.contains(&late) { "{\"error\":\"late\"}" } else { ANSWER }.to_owned())
    });
    proxy.heal();
    wait_until("signaling is found", || {
        let reply = peer.ask(kick_out("after", 1));
        assert!(!reply.contains("CHAT-002"), "{user}: another's answer, {reply}");
        reply.is_empty()
    });
    check_told(signaling, user, end == End::Served, user);
}

fn check_all_forwarding(reply_timeout: &str, ends: &[End]) {
    let scene = Scene::of_signaling(reply_timeout);
    let mut peer = scene.daemon.connect();
    for end in ends {
        for (number, fault) in faults(*end, ANSWER).iter().enumerate() {
            check_forwarding(&scene, &mut peer, fault, *end, &format!("{end:?}-{number}-"));
        }
    }
}

#[test]
fn however_signaling_breaks_off_the_caller_is_told_and_signaling_at_most_once() {
    check_all_forwarding("\"30s\"", &[End::Served, End::Dropped, End::Away]);
}

#[test]
fn however_signaling_stalls_the_caller_is_told_in_time_and_no_late_answer_is_anothers() {
    check_all_forwarding(SHORT, &[End::Late]);
}

/// The user comes and leaves; what signaling is answered.
fn come_and_go(peer: &mut Client, user: &str, room: i64) -> String {
    peer.served(subscribe(user, room, user));
    peer.served(leave(user, "00:10:00"))
}

fn with_owner(user: &str, rest: &str) -> String {
    format!(r#"{{"user_id":"{user}","study_time":"00:10:00",{rest}}}"#)
}

/// What room answers here: whom it was told of owns the room.
fn owner_of(user: &str) -> String {
    format!(r#"{{"type":"CHANGE","user_id":"{user}","room_id":1}}"#)
}

fn answer_each_his_own(room: &Played) {
    room.play(|text| {
        let user = text.split("\"user_id\":\"").nth(1).unwrap().split('"').next().unwrap();
        Act::Say(owner_of(user))
    });
}

/// Asserts that who leaves is answered with what room says of them, if it does; whether it does.
fn answers_his_own(peer: &mut Client, user: &str) -> bool {
    let reply = come_and_go(peer, user, 1);
    let keep = with_owner(user, r#""type":"KEEP""#);
    let own = with_owner(user, &format!(r#""type":"CHANGE","userId":"{user}","room_id":1"#));
    assert!(reply == keep || reply == own, "{user}: {reply}");
    reply == own
}

/// As [`check_forwarding`], of room: who asks is answered in any case.
fn check_telling(scene: &Scene, peer: &mut Client, fault: &Fault, end: End, user: &str) {
    let Scene { fleet: Fleet { room, .. }, proxy, .. } = scene;
    answer_each_his_own(room);
    proxy.heal();
    wait_until("room is found", || answers_his_own(peer, "before"));
    befall(fault, proxy, room);
    assert_eq!(answers_his_own(peer, user), end == End::Served, "{user}");
    answer_each_his_own(room);
    proxy.heal();
    wait_until("room is found", || answers_his_own(peer, "after"));
    // One user's come one after the other: with this one the one before is over.
    let again = format!("\"user_id\":\"{user}\",\"room_id\":2");
    come_and_go(peer, user, 2);
    room.wait_told_that("of the next one", |told| told.iter().any(|text| text.contains(&again)));
    let first = format!("\"user_id\":\"{user}\",\"room_id\":1");
    check_told(room, &first, end == End::Served, user);
}

fn check_all_telling(reply_timeout: &str, ends: &[End]) {
    let scene = Scene::of_room(reply_timeout);
    let mut peer = scene.daemon.connect();
    for end in ends {
        for number in 0..faults(*end, ANSWER).len() {
            let user = format!("{end:?}-{number}-");
            let fault = &faults(*end, &owner_of(&user))[number];
            check_telling(&scene, &mut peer, fault, *end, &user);
        }
    }
}

#[test]
fn however_room_breaks_off_it_is_told_at_most_once_and_signaling_is_answered() {
    check_all_telling("\"30s\"", &[End::Served, End::Dropped, End::Away]);
}

#[test]
fn however_room_stalls_it_is_told_at_most_once_and_signaling_is_answered() {
    check_all_telling(SHORT, &[End::Late]);
}

#[test]
fn connections_that_went_dead_in_the_pool_cost_one_call_each_and_are_not_used_again() {
    let scene = Scene::of_signaling(SHORT);
    let Scene { fleet: Fleet { signaling, .. }, proxy, daemon } = &scene;
    let mut peer = daemon.connect();
    wait_until("signaling is found", || peer.ask(kick_out("before", 1)).is_empty());
    proxy.break_all(Break::Silence);
    peer.refused(kick_out("u1", 1), "CHAT-023");
    wait_until("signaling is found", || peer.ask(kick_out("after", 1)).is_empty());
    assert_eq!(times_told(signaling, "u1"), 0);
}

#[test]
fn cut_off_at_any_byte_a_command_is_forwarded_at_most_once_and_never_half_acknowledged() {
    let scene = Scene::of_signaling("\"30s\"");
    let Scene { fleet: Fleet { signaling, .. }, proxy, daemon } = &scene;
    let mut peer = daemon.connect();
    heal(proxy, signaling);
    let message = r#"{"server":"state","type":"KICK_OUT","user_id":"u-1000","room_id":1}"#;
    let walks = [(Way::ToServer, 4 + message.len()), (Way::ToClient, 4 + ANSWER.len())];
    let mut number = 1000;
    for (way, frame_bytes) in walks {
        for (bytes, how) in each_cut(frame_bytes) {
            number += 1;
            let (user, cuts) = (format!("u-{number}"), proxy.cuts());
            proxy.flow(way, Flow::Cut(bytes, how));
            let reply = peer.ask(kick_out(&user, 1));
            proxy.wait_cuts(cuts + 1);
            let is_whole = (way, bytes) == (Way::ToClient, frame_bytes);
            let expected = if is_whole { reply.is_empty() } else { reply.contains("CHAT-002") };
            assert!(expected, "{way:?} after {bytes} bytes, {how:?}: {reply}");
            assert_eq!(peer.ask(kick_out("next", 1)), "", "{way:?} after {bytes} bytes, {how:?}");
            let cut = format!("{way:?} after {bytes}, {how:?}");
            check_told(signaling, &user, way == Way::ToClient, &cut);
        }
    }
}

#[test]
fn cut_off_at_any_byte_of_message_or_answer_room_is_told_at_most_once() {
    let scene = Scene::of_room("\"30s\"");
    let Scene { fleet: Fleet { room, .. }, proxy, daemon } = &scene;
    let mut peer = daemon.connect();
    heal(proxy, room);
    let message = r#"{"server":"state","user_id":"u-1000","room_id":1}"#;
    let walks = [(Way::ToServer, 4 + message.len()), (Way::ToClient, 4 + ANSWER.len())];
    let mut number = 1000;
    for (way, frame_bytes) in walks {
        for (bytes, how) in each_cut(frame_bytes) {
            number += 1;
            let (user, cuts) = (format!("u-{number}"), proxy.cuts());
            proxy.flow(way, Flow::Cut(bytes, how));
            assert_eq!(come_and_go(&mut peer, &user, 1), with_owner(&user, r#""type":"KEEP""#));
            proxy.wait_cuts(cuts + 1);
            come_and_go(&mut peer, "next", 1);
            let cut = format!("{way:?} after {bytes}, {how:?}");
            check_told(room, &user, way == Way::ToClient, &cut);
        }
    }
}

/// After each number of bytes up to these, in both ways in which the other side hears of it.
pub(super) fn each_cut(frame_bytes: usize) -> impl Iterator<Item = (usize, Break)> {
    (0..=frame_bytes).flat_map(|bytes| [(bytes, Break::Close), (bytes, Break::Reset)])
}
