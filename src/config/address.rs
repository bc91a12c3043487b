//! Host and port, as addresses are written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Checks `host:port`; the error says what is wrong without repeating the text.
pub(super) fn parse(text: &str, lowest_port: u16) -> Result<String, String> {
    let (host, port) = split(text)?;
    let port = port.ok_or("the port is missing")?;
    check_host(host)?;
    check_port(port, lowest_port)?;
    Ok(text.to_owned())
}

/// Checks `host[:port]` and returns it with its port.
pub(super) fn parse_with_default(text: &str, default_port: u16) -> Result<String, String> {
    let (host, port) = split(text)?;
    check_host(host)?;
    match port {
        Some(port) => check_port(port, 1).map(|()| text.to_owned()),
        None => Ok(format!("{host}:{default_port}")),
    }
}

/// Whether `host:port` or `host` names this machine to itself alone.
pub(super) fn is_loopback(text: &str) -> bool {
    let host = split(text).map_or(text, |(host, _)| host);
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    literal.map_or(host == "localhost", |address| address.to_canonical().is_loopback())
}

fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if text.contains("://") {
        return Err("an address has no scheme".to_owned());
    }
    if text.starts_with('[') {
        let end = text.find(']').ok_or("the ] is missing")?;
        let (host, rest) = text.split_at(end + 1);
        return match (rest.strip_prefix(':'), rest) {
            (Some(port), _) => Ok((host, Some(port))),
            (None, "") => Ok((host, None)),
            (None, _) => Err("after the ] only a port may follow".to_owned()),
        };
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => {
            Err("an IPv6 address stands in brackets, as in [::1]:8099".to_owned())
        }
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn check_host(host: &str) -> Result<(), String> {
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.trim_end_matches(']').parse::<Ipv6Addr>();
        return address.map(drop).map_err(|_| "not an IPv6 address".to_owned());
    }
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if host == "*" {
        return Err("all interfaces are written 0.0.0.0 or [::]".to_owned());
    }
    if host.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return host.parse::<Ipv4Addr>().map(drop).map_err(|_| "not an IPv4 address".to_owned());
    }
    if host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')) {
        return Ok(());
    }
    Err("not the name of a host".to_owned())
}

fn check_port(port: &str, lowest: u16) -> Result<(), String> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if digits && port >= lowest => Ok(()),
        Ok(_) | Err(_) => Err(format!("the port is not a number from {lowest} to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), &str>) {
        assert_eq!(parse(text, 1).map(drop), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for text in ["127.0.0.1:8099", "localhost:1", "[::1]:65535", "state-1.my_net.local:80"] {
            check(text, Ok(()));
        }
        assert!(parse("127.0.0.1:0", 0).is_ok(), "a listener may leave the choice to the system");
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        let port = "the port is not a number from 1 to 65535";
        for (text, expected) in [
            ("localhost", "the port is missing"),
            ("", "the port is missing"),
            (":8099", "the host is missing"),
            ("*:8099", "all interfaces are written 0.0.0.0 or [::]"),
            ("localhost:", port),
            ("localhost:0", port),
            ("localhost:65536", port),
            ("localhost:+80", port),
            ("localhost:http", port),
            ("::1:8099", "an IPv6 address stands in brackets, as in [::1]:8099"),
            ("[::1:8099", "the ] is missing"),
            ("[::g]:8099", "not an IPv6 address"),
            ("[::1]8099", "after the ] only a port may follow"),
            ("[::1]", "the port is missing"),
            ("256.0.0.1:80", "not an IPv4 address"),
            ("a b:80", "not the name of a host"),
            ("tcp://localhost:80", "an address has no scheme"),
        ] {
            check(text, Err(expected));
        }
    }

    #[test]
    fn a_missing_port_is_filled_in_where_there_is_a_usual_one() {
        for (text, expected) in
            [("h", "h:6379"), ("h:1", "h:1"), ("[::1]", "[::1]:6379"), ("[::1]:2", "[::1]:2")]
        {
            assert_eq!(parse_with_default(text, 6379).unwrap(), expected);
        }
    }
}
