//! One request on one connection: all within one limit of time, no answer longer than another.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Answer, ApiArgs, Error};
use crate::tls::{Calling, HandshakeFailure};

/// The longest answer that is taken. The longest that a daemon gives is a page of 1,000 users.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// The variable that is the token where no file is named.
const TOKEN_VARIABLE: &str = "STATED_ADMIN__TOKEN";

/// A daemon that can be asked.
#[derive(Debug)]
pub(in crate::cli) struct Daemon {
    address: String,
    /// Over TLS, if so.
    calling: Option<Calling>,
    /// `Bearer …`, which is not shown.
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

impl Daemon {
    pub(in crate::cli) fn of(args: &ApiArgs) -> Result<Self, Error> {
        let (address, calling) = match args.admin.strip_prefix("https://") {
            Some(address) => (address, Some(args.tls.calling_anyway()?)),
            None => {
                let address = args.admin.strip_prefix("http://").unwrap_or(&args.admin);
                (address, args.tls.calling()?)
            }
        };
        // As a browser shows it.
        let address = address.trim_end_matches('/').to_owned();
        if address.is_empty() {
            return Err(Error::Off);
        }
        let authorization = match token(args)? {
            None => None,
            Some(token) => {
                let value = HeaderValue::from_str(&format!("Bearer {token}"));
                let mut value = value.map_err(|_| Error::Token)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { address, calling, authorization, timeout: args.timeout })
    }

    pub(in crate::cli) async fn get(&self, path: &str) -> Result<Answer, Error> {
        self.ask(Method::GET, path).await
    }

    pub(in crate::cli) async fn post(&self, path: &str) -> Result<Answer, Error> {
        self.ask(Method::POST, path).await
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Answer, Error> {
        let asked = timeout(self.timeout, self.exchange(method, path)).await;
        let late = |_| Error::Late { address: self.address.clone(), within: self.timeout };
        let (status, body) = asked.map_err(late)??;
        let not_json = || Error::NotJson(self.address.clone());
        let answer = Answer::parse(&body).ok_or_else(not_json)?;
        if status.is_success() {
            return Ok(answer);
        }
        let path = path.to_owned();
        if status == StatusCode::NOT_FOUND {
            return Err(Error::Older { address: self.address.clone(), path });
        }
        let text = answer.part().get("error").text().unwrap_or_else(|| "no reason is given".into());
        Err(Error::Refused { path, status, text })
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), Error> {
        let request = self.request(method, path)?;
        let no_connection = |source| Error::Connect { address: self.address.clone(), source };
        let stream = TcpStream::connect(&self.address).await.map_err(no_connection)?;
        let Some(calling) = &self.calling else { return self.exchange_on(stream, request).await };
        let name = calling.server_name(&self.address);
        let name = name.ok_or_else(|| Error::Address(self.address.clone()))?;
        let agreed = calling.connector().connect(name, stream).await;
        let stream = agreed.map_err(|source| match HandshakeFailure::of(&source) {
            Some(failure) => Error::Handshake { address: self.address.clone(), failure },
            None => no_connection(source),
        })?;
        self.exchange_on(stream, request).await
    }

    async fn exchange_on<S>(
        &self,
        stream: S,
        request: Request<Empty<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let broken = |source| Error::Connection { address: self.address.clone(), source };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answered = async move {
            let response = sender.send_request(request).await.map_err(broken)?;
            self.read(response).await
        };
        // What is wrong with the connection, whoever waits for the answer is told.
        let (answered, _) = tokio::join!(answered, connection);
        answered
    }

    fn request(&self, method: Method, path: &str) -> Result<Request<Empty<Bytes>>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(CONNECTION, "close");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Empty::new()).map_err(|_| Error::Address(self.address.clone()))
    }

    async fn read<B>(&self, response: Response<B>) -> Result<(StatusCode, Bytes), Error>
    where
        B: hyper::body::Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| Error::Body(self.address.clone()))?;
        Ok((status, body.to_bytes()))
    }
}

/// The token, without the line's end that an editor leaves behind it.
fn token(args: &ApiArgs) -> Result<Option<String>, Error> {
    let text = match &args.token_file {
        Some(path) => {
            let failed = |source| Error::TokenFile { path: path.clone(), source };
            fs::read_to_string(path).map_err(failed)?
        }
        None => match std::env::var_os(TOKEN_VARIABLE).map(OsString::into_string) {
            Some(Ok(text)) => text,
            Some(Err(_)) => return Err(Error::Token),
            None => return Ok(None),
        },
    };
    Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty()))
}
