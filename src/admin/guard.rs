//! Who may ask, and who may change something: the host, the page it comes from, the token.
//!
//! Reading is open to whoever reaches the address, and yet not to a web page that makes a browser
//! ask: its name would be in `Host`, if it has had itself resolved to this machine, or its origin in
//! `Origin`. A browser never sends the token by itself, so a request with the token is above all
//! that.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::Desk;
use super::answer::Refusal;
use super::server::Asker;
use crate::throttle::{Cause, admits};

/// By what a request is judged.
#[derive(Debug, Clone, Copy)]
struct Policy<'a> {
    /// The token without which nothing is changed.
    token: Option<&'a str>,
    /// Where the server listens.
    listens_at: IpAddr,
    /// The configured address, a host and a port.
    configured: &'a str,
}

/// Lets a request through to its handler, or answers for it. What changes something is logged.
pub(super) async fn guard(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let asker = request.extensions().get::<Asker>().copied();
    let changing = is_changing(request.method());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if let Err(refusal) = check(&desk, &request) {
        log_refused(asker, &method, &path, &refusal);
        return refusal.into_response();
    }
    let response = next.run(request).await;
    // What is refused changes nothing, and may be asked for without end.
    let is_refused = response.status().is_client_error();
    if changing && (!is_refused || admits(Cause::AdminRefused)) {
        let (peer, status) = (asker.map(|Asker(peer)| peer), response.status().as_u16());
        let peer = peer.map(tracing::field::display);
        tracing::info!(peer, %method, path, status, "an operator asked for a change");
    }
    response
}

fn check(desk: &Desk, request: &Request) -> Result<(), Refusal> {
    let loaded = desk.context.running.current();
    let admin = &loaded.config.admin;
    let policy = Policy {
        token: admin.token.as_ref().map(|token| token.expose()),
        listens_at: desk.address.ip(),
        configured: &admin.address,
    };
    policy.check(request.method(), request.uri(), request.headers())
}

/// Anybody may make it refuse something, so that is logged only so often.
fn log_refused(asker: Option<Asker>, method: &Method, path: &str, refusal: &Refusal) {
    if !admits(Cause::AdminRefused) {
        return;
    }
    let peer = asker.map(|Asker(peer)| tracing::field::display(peer));
    let status = refusal.status().as_u16();
    tracing::warn!(peer, %method, path, status, "refused by the admin API: {refusal}");
}

fn is_changing(method: &Method) -> bool {
    method != Method::GET && method != Method::HEAD
}

impl Policy<'_> {
    fn check(self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.has_token(headers) {
            return Ok(());
        }
        let host = asked_host(uri, headers)?;
        if !self.is_own(host) {
            return Err(Refusal::Host);
        }
        if !is_changing(method) {
            return Ok(());
        }
        check_origin(host, headers)?;
        match self.token {
            Some(_) => Err(Refusal::Unauthorized),
            None if self.listens_at.to_canonical().is_loopback() => Ok(()),
            None => Err(Refusal::Forbidden(
                "this changes something, others than this machine can ask for it, and no \
                 admin.token is configured",
            )),
        }
    }

    /// Whether the request carries the token. The comparison takes as long for every other token of
    /// its length.
    fn has_token(self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, sent)) = sent.and_then(|sent| sent.split_once(' ')) else { return false };
        let is_equal = |token: &str| bool::from(token.as_bytes().ct_eq(sent.trim().as_bytes()));
        scheme.eq_ignore_ascii_case("bearer") && self.token.is_some_and(is_equal)
    }

    /// Whether a web page can't have this name: an address is no name, `localhost` is resolved to
    /// nothing else, and the configured host is the operator's.
    fn is_own(self, host: &str) -> bool {
        let name = without_port(host);
        let literal = name.trim_start_matches('[').trim_end_matches(']');
        literal.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || name.eq_ignore_ascii_case(without_port(self.configured))
    }
}

/// The host and port the client means to ask.
fn asked_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let wrong = || Refusal::Wrong("exactly one Host is needed".to_owned());
    if hosts.next().is_some() {
        return Err(wrong());
    }
    uri.authority().map(|authority| authority.as_str()).or(host).ok_or_else(wrong)
}

/// Whether it is no page of another origin that makes a browser ask.
fn check_origin(host: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let same_site =
        texts(headers, "sec-fetch-site").all(|site| ["same-origin", "none"].contains(&site));
    let same_origin = texts(headers, "origin").all(|origin| {
        let bare = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        bare.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    });
    if same_site && same_origin {
        return Ok(());
    }
    Err(Refusal::Forbidden("a page of another origin asks for this"))
}

/// Each value of a header; of one that is no text an empty one.
fn texts<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((name, _)) if !name.contains(':') || name.ends_with(']') => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789-abcdef";

    struct Case<'a> {
        method: Method,
        token: Option<&'a str>,
        listens_at: &'a str,
        headers: &'a [(&'static str, &'a str)],
    }

    fn check(case: &Case<'_>, expected: u16) {
        let mut headers = HeaderMap::new();
        for (name, value) in case.headers {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let policy = Policy {
            token: case.token,
            listens_at: case.listens_at.parse().unwrap(),
            configured: "state-1.internal:8091",
        };
        let found = policy.check(&case.method, &Uri::from_static("/api/v1/status"), &headers);
        let status = found.map_or_else(|refusal| refusal.status().as_u16(), |()| 200);
        let Case { method, headers, .. } = case;
        assert_eq!(status, expected, "{method} {headers:?}");
    }

    fn get(headers: &[(&'static str, &str)], expected: u16) {
        let case = Case { method: Method::GET, token: None, listens_at: "127.0.0.1", headers };
        check(&case, expected);
    }

    fn post(headers: &[(&'static str, &str)], expected: u16) {
        let headers = [&[("host", "localhost:8091")], headers].concat();
        let headers = &headers;
        let case = Case { method: Method::POST, token: None, listens_at: "127.0.0.1", headers };
        check(&case, expected);
    }

    fn post_with_token(listens_at: &str, headers: &[(&'static str, &str)], expected: u16) {
        let (method, token) = (Method::POST, Some(TOKEN));
        check(&Case { method, token, listens_at, headers }, expected);
    }

    #[test]
    fn a_host_that_a_page_could_have_is_not_answered() {
        for own in [
            "127.0.0.1",
            "127.0.0.1:8091",
            "10.0.0.7",
            "[::1]",
            "[::1]:8091",
            "localhost",
            "LOCALHOST:1",
            "state-1.internal",
            "State-1.internal:80",
        ] {
            get(&[("host", own)], 200);
        }
        for other in ["evil.example", "evil.example:8091", "localhost.evil.example", "", ":8091"] {
            get(&[("host", other)], 421);
        }
        get(&[], 400);
        get(&[("host", "localhost"), ("host", "evil.example")], 400);
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        post(&[], 200);
        post(&[("origin", "http://localhost:8091")], 200);
        post(&[("sec-fetch-site", "same-origin")], 200);
        post(&[("sec-fetch-site", "none")], 200);
        for origin in ["http://evil.example", "null", "http://localhost:8092", "localhost:8091"] {
            post(&[("origin", origin)], 403);
        }
        for site in ["cross-site", "same-site", "?"] {
            post(&[("sec-fetch-site", site)], 403);
        }
        let (own, other) = ("http://localhost:8091", "http://evil.example");
        post(&[("origin", own), ("origin", other)], 403);
        post(&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], 403);
        get(&[("host", "localhost"), ("origin", "http://evil.example")], 200);
    }

    #[test]
    fn where_there_is_a_token_nothing_is_changed_without_it() {
        let host = ("host", "localhost");
        let with = |sent| [host, ("authorization", sent)];
        for listens_at in ["127.0.0.1", "0.0.0.0"] {
            post_with_token(listens_at, &[host], 401);
            for wrong in
                ["Bearer", "Bearer ", "Bearer 0123456789-abcdeg", "Basic 0123456789-abcdef"]
            {
                post_with_token(listens_at, &with(wrong), 401);
            }
            post_with_token(listens_at, &with("Bearer 0123456789-abcdef"), 200);
            post_with_token(listens_at, &with("bearer 0123456789-abcdef"), 200);
            // No browser sends it by itself, so whatever else a browser says is of no account.
            let token = ("authorization", "Bearer 0123456789-abcdef");
            let proxied = [token, ("host", "ops.example"), ("origin", "https://ops.example")];
            post_with_token(listens_at, &proxied, 200);
        }
    }

    #[test]
    fn where_there_is_no_token_only_loopback_changes_something() {
        let headers = &[("host", "localhost"), ("authorization", "Bearer ")];
        for (listens_at, expected) in
            [("127.0.0.1", 200), ("127.1.2.3", 200), ("::1", 200), ("::ffff:127.0.0.1", 200)]
        {
            check(&Case { method: Method::POST, token: None, listens_at, headers }, expected);
        }
        for listens_at in ["0.0.0.0", "::", "10.0.0.7"] {
            check(&Case { method: Method::POST, token: None, listens_at, headers }, 403);
            check(&Case { method: Method::HEAD, token: None, listens_at, headers }, 200);
        }
    }
}
