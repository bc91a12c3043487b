//! What a request carries besides its path: a part of the path, which page, a body.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::admin::Desk;
use crate::admin::answer::Refusal;
use crate::domain::InvalidWord;
use crate::store::Cursor;

/// Entries of a page, unless the request says otherwise.
const LIMIT_DEFAULT: usize = 100;
/// The most entries of a page.
const LIMIT_MAX: usize = 1000;
/// The longest cursor, in bytes.
const CURSOR_BYTES_MAX: usize = 1024;
/// How long a body may be on its way.
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Which page of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Entries at the most.
    pub(super) limit: usize,
    /// Where the page begins; the first one if there is none.
    pub(super) cursor: Option<String>,
}

/// No parameter is known here.
#[derive(Debug)]
pub(super) struct NoParameters;

/// The only variable part of a path, decoded.
#[derive(Debug)]
pub(super) struct Segment(pub(super) String);

/// A document that the request carries.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl Page {
    fn parse(query: &str) -> Result<Self, Refusal> {
        let mut page = Self { limit: LIMIT_DEFAULT, cursor: None };
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "limit" => page.limit = parse_limit(&value)?,
                "cursor" => page.cursor = Some(parse_cursor(&value)?),
                unknown => return Err(no_parameter(unknown)),
            }
            if seen.contains(&name) {
                return Err(Refusal::Wrong(format!("{name} is given twice")));
            }
            seen.push(name);
        }
        Ok(page)
    }

    /// The cursor as the store gave it out.
    pub(super) fn store_cursor(&self) -> Result<Option<Cursor>, Refusal> {
        self.cursor.as_deref().map(Cursor::parse).transpose().map_err(|_| no_cursor())
    }
}

fn parse_limit(text: &str) -> Result<usize, Refusal> {
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| Refusal::Wrong(format!("limit is no whole number from 1 to {LIMIT_MAX}")))
}

fn parse_cursor(text: &str) -> Result<String, Refusal> {
    match text.len() {
        1..=CURSOR_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(no_cursor()),
    }
}

/// The id is none.
pub(super) fn wrong_id(name: &str, error: InvalidWord) -> Refusal {
    Refusal::Wrong(format!("{name} {error}"))
}

/// The cursor is none that was given out.
pub(super) fn no_cursor() -> Refusal {
    Refusal::Wrong("cursor is not the next_cursor of another page".to_owned())
}

fn no_parameter(name: &str) -> Refusal {
    let name: String = name.chars().take(40).collect();
    Refusal::Wrong(format!("there is no parameter {name:?} here"))
}

impl FromRequestParts<Arc<Desk>> for Page {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Desk>) -> Result<Self, Refusal> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

impl FromRequestParts<Arc<Desk>> for NoParameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Desk>) -> Result<Self, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        match form_urlencoded::parse(query.as_bytes()).next() {
            None => Ok(Self),
            Some((name, _)) => Err(no_parameter(&name)),
        }
    }
}

impl FromRequestParts<Arc<Desk>> for Segment {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, desk).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(rejection) => Err(Refusal::Wrong(rejection.to_string())),
        }
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Desk>> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Arc<Desk>) -> Result<Self, Refusal> {
        if !is_json(&request) {
            return Err(Refusal::MediaType);
        }
        let bytes = read(request).await?;
        let wrong = |error| Refusal::Wrong(format!("the body is not as documented: {error}"));
        serde_json::from_slice(&bytes).map(Self).map_err(wrong)
    }
}

/// The whole body, if it is neither too long nor too slow.
async fn read(request: Request) -> Result<Bytes, Refusal> {
    let read = timeout(BODY_WAIT_MAX, Bytes::from_request(request, &())).await;
    read.map_err(|_| Refusal::Late)?.map_err(|rejection| {
        match rejection.status() == Refusal::TooLong.status() {
            true => Refusal::TooLong,
            false => Refusal::Wrong(rejection.body_text()),
        }
    })
}

fn is_json(request: &Request) -> bool {
    let stated = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = stated.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::HttpBody;
    use hyper::body::Frame;

    use super::*;

    /// A body whose end never comes.
    struct Endless;

    impl HttpBody for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let request = Request::new(axum::body::Body::new(Endless));
        assert_eq!(read(request).await.err(), Some(Refusal::Late));
    }

    #[test]
    fn a_page_has_a_limit_and_begins_somewhere() {
        for (query, limit, cursor) in [
            ("", 100, None),
            ("limit=1", 1, None),
            ("limit=1000&cursor=a%26b", 1000, Some("a&b")),
            ("cursor=7", 100, Some("7")),
        ] {
            let cursor = cursor.map(str::to_owned);
            assert_eq!(Page::parse(query), Ok(Page { limit, cursor }), "{query}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_page_is_said() {
        let long = format!("cursor={}", "x".repeat(1025));
        for (query, part) in [
            ("limit=0", "from 1 to 1000"),
            ("limit=1001", "from 1 to 1000"),
            ("limit=", "from 1 to 1000"),
            ("limit=-1", "from 1 to 1000"),
            ("limit=1&limit=2", "limit is given twice"),
            ("cursor=", "next_cursor"),
            (&long, "next_cursor"),
            ("limt=1", "no parameter \"limt\""),
        ] {
            let refusal = Page::parse(query).unwrap_err();
            assert!(refusal.to_string().contains(part), "{query}: {refusal}");
            assert_eq!(refusal.status(), 400);
        }
    }
}
