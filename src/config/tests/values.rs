//! What may stand in a key, of whichever kind.

use super::*;
use crate::domain::{Server, Servers};

#[test]
fn a_value_of_the_wrong_kind_is_shown_with_what_is_allowed() {
    let count = "expected a whole number from 1 to 1000";
    for (value, found) in [
        ("0", "0"),
        ("1001", "1001"),
        ("-1", "-1"),
        ("1.5", "1.5"),
        ("true", "true"),
        ("99999999999999999999", "99999999999999999999"),
        ("\"10\"", "\"10\""),
        ("[1]", "an array"),
        ("{ a = 1 }", "a table"),
        ("2026-11-20", "2026-11-20"),
    ] {
        check(
            &format!("gateways.auth.pool_size = {value}"),
            &[&format!("stated.toml:1:27: gateways.auth.pool_size: found {found}, {count}")],
        );
    }
    let flag = "stated.toml:1:18: rollover.stamp: found \"yes\", expected true or false";
    check("rollover.stamp = \"yes\"", &[flag]);
}

#[test]
fn a_duration_has_a_unit_and_a_range() {
    for (value, millis) in
        [("500ms", 500), ("10s", 10_000), ("10m", 600_000), ("1h", 3_600_000), ("1.5 s", 1_500)]
    {
        let config = load_texts(Some(&format!("limits.request_timeout = \"{value}\"")), &[]);
        assert_eq!(config.unwrap().limits.request_timeout, Duration::from_millis(millis));
    }
    for (value, found) in [
        ("10", "10 (a number without a unit)"),
        ("\"10\"", "\"10\" (a number without a unit)"),
        ("\"\"", "\"\""),
        ("\"0s\"", "\"0s\""),
        ("\"-1s\"", "\"-1s\""),
        ("\"61m\"", "\"61m\""),
        ("\"ten seconds\"", "\"ten seconds\""),
        ("\"1 year\"", "\"1 year\""),
        ("\"9999999999999999999h\"", "\"9999999999999999999h\""),
        ("true", "true"),
    ] {
        let expected = format!(
            "stated.toml:1:26: limits.request_timeout: found {found}, expected a duration as in \
             \"500ms\", \"10s\" or \"1h 30m\", from 1ms to 1h"
        );
        check(&format!("limits.request_timeout = {value}"), &[&expected]);
    }
    check("limits.shutdown_grace = \"0s\"", &[]);
}

#[test]
fn a_size_is_bytes_or_has_a_unit() {
    for (value, bytes) in [
        ("1", 1),
        ("\"512\"", 512),
        ("\"512 B\"", 512),
        ("\"64KiB\"", 65_536),
        ("\"1 MiB\"", 1_048_576),
        ("\"10 MB\"", 10_000_000),
        ("\"10 mb\"", 10_000_000),
        ("1_000", 1_000),
    ] {
        let config = load_texts(Some(&format!("limits.max_frame_bytes = {value}")), &[]);
        assert_eq!(config.unwrap().limits.max_frame_bytes, bytes);
    }
    for (value, found) in [
        ("0", "0"),
        ("-1", "-1"),
        ("\"1 GiB\"", "\"1 GiB\""),
        ("\"1.5 MiB\"", "\"1.5 MiB\" (the units are B, KB, MB, GB, KiB, MiB and GiB)"),
        ("\"1 megabyte\"", "\"1 megabyte\" (the units are B, KB, MB, GB, KiB, MiB and GiB)"),
        ("\"MiB\"", "\"MiB\" (no whole number)"),
        ("\"99999999999 GiB\"", "\"99999999999 GiB\" (more than can be counted)"),
    ] {
        let expected = format!(
            "stated.toml:1:26: limits.max_frame_bytes: found {found}, expected bytes as a whole \
             number or as in \"64 KiB\" or \"1 MiB\", from 1 B to 256 MiB"
        );
        check(&format!("limits.max_frame_bytes = {value}"), &[&expected]);
    }
}

#[test]
fn texts_with_a_grammar_of_their_own_are_checked() {
    let zone = "expected the IANA name of a time zone";
    let soul = "(no such time zone; did you mean \"Asia/Seoul\"?)";
    let port = "(the port is not a number from 1 to 65535)";
    for (key, value, expected) in [
        ("rollover.time_zone", "\"Asia/Soul\"", format!("\"Asia/Soul\" {soul}, {zone}")),
        ("rollover.time_zone", "\"\"", format!("\"\" (no such time zone), {zone}")),
        ("gateways.auth.address", "\"h:0\"", format!("\"h:0\" {port}, expected HOST:PORT")),
        ("gateways.auth.address", "8019", "8019, expected HOST:PORT".to_owned()),
    ] {
        let place = format!("stated.toml:1:{}", key.len() + 4);
        check(&format!("{key} = {value}"), &[&format!("{place}: {key}: found {expected}")]);
    }
    for zone in ["Asia/Seoul", "UTC", "America/Argentina/Buenos_Aires"] {
        let config = load_texts(Some(&format!("rollover.time_zone = \"{zone}\"")), &[]).unwrap();
        assert_eq!(config.rollover.time_zone.zone().iana_name(), Some(zone));
    }
}

#[test]
fn a_log_level_is_a_level_or_a_filter() {
    for good in ["debug", "WARN", "off", "info,stated::store=trace", "stated[{peer}]=debug"] {
        check(&format!("log.level = \"{good}\""), &[]);
    }
    for (bad, why) in [
        ("inof", "no such level; did you mean \"info\"?"),
        ("stated", "no such level; a module's is written MODULE=LEVEL"),
        ("info,", "no such level; a module's is written MODULE=LEVEL"),
        ("", "no such level; a module's is written MODULE=LEVEL"),
        ("stated=loud", "no such level; there are off, error, warn, info, debug, trace"),
        ("stated[{peer=u1}]=debug", "\"stated[{peer=u1}]=debug\" is not written MODULE=LEVEL"),
    ] {
        let expected = format!(
            "stated.toml:1:13: log.level: found \"{bad}\" ({why}), expected {}",
            checks::FILTER_EXPECTED
        );
        check(&format!("log.level = \"{bad}\""), &[&expected]);
    }
}

#[test]
fn who_may_speak_is_read_entry_by_entry() {
    let text = r#"
        open = true
        [[peers]]
        name = "room service"
        certificate = ["DNS:Room.Fleet", "URI:spiffe://fleet/Room", "IP:FD00:0::7"]
        addresses = ["10.1.0.0/16", "::1"]
        servers = ["room", "signaling"]
        [[peers]]
        addresses = "::1"
        servers = "*"
    "#;
    let config = load_texts(Some(text), &[]).unwrap();
    let [room, local] = config.peers.as_slice() else { panic!("{:?}", config.peers) };
    assert_eq!(room.certificate, ["DNS:room.fleet", "URI:spiffe://fleet/Room", "IP:fd00::7"]);
    assert_eq!(room.servers, Servers::only(Server::Room).and(Servers::only(Server::Signaling)));
    assert_eq!((local.name.as_str(), local.servers), ("", Servers::ALL));
    let listed: Vec<_> = config
        .listed()
        .into_iter()
        .filter(|(key, _)| key.starts_with("peers") || key == "open")
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    assert_eq!(
        listed,
        [
            "peers[0].name = room service",
            "peers[0].certificate = DNS:room.fleet, URI:spiffe://fleet/Room, IP:fd00::7",
            "peers[0].addresses = 10.1.0.0/16, ::1",
            "peers[0].servers = signaling, room",
            "peers[1].name = ",
            "peers[1].certificate = ",
            "peers[1].addresses = ::1",
            "peers[1].servers = chat, signaling, signaling_scheduling, auth, room",
            "open = true",
        ]
    );
}

#[test]
fn what_is_wrong_with_an_entry_of_peers_names_the_entry_and_the_element() {
    let servers = "a list of \"chat\", \"signaling\", \"signaling_scheduling\", \"auth\", \
                   \"room\" or \"*\"";
    let networks = "IP addresses or networks, as in [\"10.1.0.0/16\", \"::1\"]";
    let names = "names of a client certificate, as in [\"DNS:room.fleet\", \
                 \"URI:spiffe://fleet/room\", \"IP:10.0.0.7\"]";
    check(
        r#"[[peers]]
addresses = ["10.0.0.0/8", "10.1.0.0/8"]
certificate = ["room.fleet", 7]
servers = ["room", "singaling"]
server = "room"
[[peers]]
name = "a"
[[peers]]
name = "a"
certificate = ["DNS:a"]
servers = 1
[[peers]]
name = "a"
certificate = ["DNS:a"]
servers = "room"
"#,
        &[
            &format!(
                "stated.toml:2:13: peers[0].addresses: found \"10.1.0.0/8\" (bits beyond the first \
                 8 are set; the network is 10.0.0.0/8), expected {networks}"
            ),
            &format!(
                "stated.toml:3:15: peers[0].certificate: found \"room.fleet\" (it does not begin \
                 with DNS:, URI: or IP:), expected {names}"
            ),
            &format!(
                "stated.toml:4:11: peers[0].servers: found \"singaling\", expected {servers}; did \
                 you mean \"signaling\"?"
            ),
            "stated.toml:5:1: peers[0].server: unknown key; did you mean servers? [[peers]] has \
             name, certificate, addresses, servers",
            "stated.toml:6:1: peers[1]: found neither certificate nor addresses, expected one of \
             them or both",
            "stated.toml:6:1: peers[1].servers: found none, expected at least one, or \"*\" for all",
            &format!("stated.toml:11:11: peers[2].servers: found 1, expected {servers}"),
            "stated.toml:12:1: peers[3].name: found \"a\" (the name of peers[1]), expected a name \
             of its own for each entry",
        ],
    );
    let expected = "expected one table or more: [[peers]]";
    check("peers = []", &[&format!("stated.toml:1:9: peers: found an empty array, {expected}")]);
    check("peers = 1", &[&format!("stated.toml:1:9: peers: found 1, {expected}")]);
    let crowd = "[[peers]]\naddresses = \"::1\"\nservers = \"*\"\n".repeat(peers::MAX + 1);
    check(&crowd, &["stated.toml:1:1: peers: found 1001 tables, expected at most 1000: [[peers]]"]);
}
