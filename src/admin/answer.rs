//! What is answered over HTTP: documents of JSON, and refusals that say why.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};

use crate::domain::UnixMillis;

/// A document, or why there is none.
pub(super) type Answer<T> = Result<Document<T>, Refusal>;

/// A document and the status with which it is answered.
#[derive(Debug)]
pub(super) struct Document<T> {
    status: StatusCode,
    body: T,
}

/// Why a request is not fulfilled. The texts are for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// A parameter, a header or the body.
    #[error("{0}")]
    Wrong(String),
    /// There is no such thing, or no such path.
    #[error("{0}")]
    Missing(String),
    /// The path is answered, the method is not.
    #[error("this method is not answered here; the header Allow names those that are")]
    Method,
    /// The token is missing or another.
    #[error("this changes something: send the token of admin.token as a bearer token")]
    Unauthorized,
    /// Nobody may.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The request is meant for another server.
    #[error(
        "the Host is not this server's: ask it by IP address, as localhost, by the host of \
         admin.address, or with the token of admin.token"
    )]
    Host,
    /// The body did not come in time.
    #[error("the body did not come in time")]
    Late,
    /// The body is too long.
    #[error("the body is too long")]
    TooLong,
    /// The body is of another media type.
    #[error("the body has to be application/json")]
    MediaType,
    /// What is asked can't be found out or done now.
    #[error("{0}")]
    Unavailable(String),
}

/// A moment as RFC 3339 has it, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub(super) UnixMillis);

/// A document with status 200.
pub(super) fn found<T>(body: T) -> Answer<T> {
    Ok(Document { status: StatusCode::OK, body })
}

/// A document with status 202: what was asked for goes on after the answer.
pub(super) fn accepted<T>(body: T) -> Answer<T> {
    Ok(Document { status: StatusCode::ACCEPTED, body })
}

/// A document with a status of its own.
pub(super) fn document<T>(status: StatusCode, body: T) -> Document<T> {
    Document { status, body }
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Wrong(_) => StatusCode::BAD_REQUEST,
            Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl<T: Serialize> IntoResponse for Document<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.body) {
            Ok(mut text) => {
                text.push(b'\n');
                (self.status, JSON, text).into_response()
            }
            // No document here has a map whose keys are no texts, which is all that can fail.
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: String,
        }
        let body = Body { error: self.to_string() };
        let mut response = document(self.status(), body).into_response();
        if self == Self::Unauthorized {
            let challenge = HeaderValue::from_static("Bearer realm=\"stated\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// The head of every document. What it says is over in a moment, so nobody is to keep it.
const JSON: [(header::HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = i64::try_from(self.0.0).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        serializer.collect_str(&at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_utc() {
        let told = serde_json::to_string(&Moment(UnixMillis(1_700_000_000_250))).unwrap();
        assert_eq!(told, "\"2023-11-14T22:13:20.25Z\"");
        assert!(serde_json::to_string(&Moment(UnixMillis(u64::MAX))).unwrap().contains("9999"));
    }
}
