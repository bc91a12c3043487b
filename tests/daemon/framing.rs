//! Frames as peers send them: in pieces, at the limit, beyond it, and not at all.

use crate::fleet::Fleet;
use crate::harness::Setup;
use crate::requests::{enter, kick_out, leave, listing, study_time};
use crate::wire::{Framing, error_of, is_closed};

#[test]
fn half_a_frame_at_the_end_is_dropped_without_a_word() {
    let daemon = Setup::new().listens(&Framing::ALL).start();
    for framing in Framing::ALL {
        let frame = framing.frame(enter("u1").as_bytes());
        for bytes in [1, 3, 4, 5, frame.len() - 1] {
            let mut peer = daemon.connect_in(framing);
            peer.send(enter("u2"));
            peer.send_bytes(&frame[..bytes]);
            peer.finish_sending();
            assert_eq!(peer.reply(), study_time("u2", None));
            peer.expect_end();
        }
    }
}

#[test]
fn a_frame_may_be_as_long_as_allowed_and_not_a_byte_longer() {
    let fleet = Fleet::new();
    let setup = Setup::with(&fleet).listens(&Framing::ALL).key("limits.max_frame_bytes", "200");
    let daemon = setup.start();
    for framing in Framing::ALL {
        let mut peer = daemon.connect_in(framing);
        assert_eq!(peer.ask(format!("{:<200}", enter("u1"))), study_time("u1", None));
        peer.send(kick_out("u1", 1));
        peer.send(format!("{:<201}", enter("u1")));
        peer.try_send_bytes(&framing.frame(leave("u9", "1").as_bytes())).unwrap();
        assert_eq!(peer.reply(), "");
        error_of(&peer.reply(), "CHAT-003");
        peer.expect_end();
        let nobody = daemon.connect_in(framing).ask(enter("u9"));
        assert_eq!(nobody, study_time("u9", None), "what followed was still taken for a request");
    }
}

#[test]
fn an_announced_length_beyond_the_limit_is_refused_before_it_is_sent() {
    let daemon = Setup::new().listens(&[Framing::Length4]).start();
    for length in [(1 << 20) + 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let mut peer = daemon.connect();
        peer.send_bytes(&length.to_be_bytes());
        error_of(&peer.reply(), "CHAT-003");
        peer.expect_end();
    }
}

#[test]
fn a_line_without_an_end_is_refused_and_costs_no_more_than_the_limit() {
    let daemon = Setup::new().listens(&[Framing::Lf, Framing::Crlf]).start();
    for framing in [Framing::Lf, Framing::Crlf] {
        let before = daemon.resident_kib();
        let mut peer = daemon.connect_in(framing);
        let endless = vec![b' '; 64 * 1024];
        // The daemon may close before it has all of it.
        for _ in 0..512 {
            match peer.try_send_bytes(&endless) {
                Ok(()) => {}
                Err(error) if is_closed(&error) => break,
                Err(error) => panic!("neither read nor closed: {error}"),
            }
        }
        match peer.try_reply() {
            Ok(reply) => drop(error_of(&reply, "CHAT-003")),
            // Still sending when the daemon had closed: then the reply is lost on the way.
            Err(error) => assert!(is_closed(&error), "{error}"),
        }
        let grown = daemon.resident_kib().saturating_sub(before);
        assert!(grown < 16 * 1024, "grew by {grown} KiB");
    }
}

#[test]
fn a_reply_that_its_framing_cannot_carry_becomes_an_error_without_detail() {
    let daemon = Setup::new().listens(&[Framing::Length1, Framing::Length2]).start();
    // A Korean letter is 3 bytes on the way in and 6 on the way out.
    let korean = "가".repeat(60);
    let many: Vec<String> = (0..200).map(|number| format!("{korean}{number}")).collect();
    let listed: Vec<(&str, &str)> = many.iter().map(|user| (user.as_str(), "1")).collect();
    for (framing, request) in
        [(Framing::Length1, enter(&korean)), (Framing::Length2, listing(&listed))]
    {
        let mut peer = daemon.connect_in(framing);
        let error = peer.refused(request, "CHAT-031");
        assert!(error.get("detail").is_none(), "{error}");
        assert_eq!(peer.ask(enter("u1")), study_time("u1", None));
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let daemon = Setup::new().listens(&Framing::ALL).start();
    for framing in Framing::ALL {
        let mut peer = daemon.connect_in(framing);
        let two = [framing.frame(b"{"), framing.frame(leave("u1", "00:10:00").as_bytes())];
        for byte in two.concat() {
            peer.send_bytes(&[byte]);
        }
        error_of(&peer.reply(), "CHAT-003");
        assert_eq!(peer.reply(), study_time("u1", Some("00:10:00")));
    }
}

#[test]
fn a_line_of_lf_may_end_like_one_of_crlf_and_a_lone_end_is_data_in_crlf() {
    let daemon = Setup::new().listens(&[Framing::Lf, Framing::Crlf]).start();
    let mut peer = daemon.connect_in(Framing::Lf);
    peer.send_bytes(format!("{}\r\n\r\n\n", enter("u1")).as_bytes());
    assert_eq!(peer.reply(), study_time("u1", None));
    error_of(&peer.reply(), "CHAT-003");
    error_of(&peer.reply(), "CHAT-003");
    let mut peer = daemon.connect_in(Framing::Crlf);
    // Blanks between the members of one and the same object.
    let request = enter("u1").replace(',', ",\n \r \n");
    peer.send_bytes(format!("{request}\r\r\n\r\n").as_bytes());
    assert_eq!(peer.reply(), study_time("u1", None));
    error_of(&peer.reply(), "CHAT-003");
}

#[test]
fn characters_beyond_ascii_come_in_as_utf8_or_escaped_and_leave_escaped() {
    let daemon = Setup::new().start();
    let mut peer = daemon.connect();
    let escaped = r"\uAC00\uD83D\uDE00\u0000\u001F\u2028\uFFFF\b\n\\\/";
    let reply =
        r#"{"user_id":"\uAC00\uD83D\uDE00\u0000\u001F\u2028\uFFFF\b\n\\/","study_time":"\uB098"}"#;
    let request = format!(
        r#"{{"server":"signaling","type":"STUDY_TIME_TO_TCP","user_id":"{escaped}","study_time":"나"}}"#
    );
    assert_eq!(peer.ask(request), reply);
    let plain = enter("가😀\0\u{1f}\u{2028}\u{ffff}\u{8}\n\\/");
    assert_eq!(peer.ask(plain), reply);
}

#[test]
fn a_member_that_its_type_does_not_have_is_not_looked_into() {
    let daemon = Setup::new().start();
    let mut peer = daemon.connect();
    // None of these could be read, had it to be.
    for value in [r#""\ud800""#, r#""\udc00x""#, "1e400", "-1e999999", "123456789012345678901"] {
        for member in ["session", "room_id", "users", "alert_count", "study_time", "other"] {
            let request = format!(
                r#"{{"server":"auth","{member}":{value},"type":"STUDY_TIME_FROM_TCP","user_id":"u1"}}"#
            );
            assert_eq!(peer.ask(&request), study_time("u1", None), "{request}");
        }
        let request = format!(r#"{{"server":"chat","type":"SEND","user_id":{value}}}"#);
        assert_eq!(peer.ask(&request), "", "{request}");
    }
}
