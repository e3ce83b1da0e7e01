//! A client that attaches tokens to its calls.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::{IntoUrl, RequestBuilder, Response};
use std::time::Duration;

use crate::issuer::{FetchError, with_token};
use crate::source::TokenSource;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What our services take for a request's id.
const MAX_REQUEST_ID_BYTES: usize = 256;
/// A `traceparent` of version 00. Later versions begin like it.
const TRACEPARENT_BYTES: usize = 55;
/// What of a later version is handed on: there is none yet.
const MAX_TRACEPARENT_BYTES: usize = 256;
/// What has to be handed on at the least (W3C Trace Context, section 3.3.1.5).
const MAX_TRACESTATE_BYTES: usize = 512;

/// What of a request travels along with the calls that are made for it: its id, and its place in a trace (W3C Trace
/// Context).
#[derive(Clone, Debug, Default)]
pub struct Trail(Vec<(HeaderName, HeaderValue)>);

impl Trail {
    /// The trail of a request with these headers. What is not well-formed or is long stays behind: the fetch of a token carries the
    /// trail of whoever started it, and must not fail by it for all the others who wait.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut trail = Vec::new();
        if let Some(id) = only(headers, &X_REQUEST_ID).filter(|id| is_request_id(id)) {
            trail.push((X_REQUEST_ID, id.clone()));
        }
        if let Some(parent) = only(headers, &TRACEPARENT).filter(|parent| is_traceparent(parent)) {
            trail.push((TRACEPARENT, parent.clone()));
            let states = headers.get_all(TRACESTATE);
            // Several are one, with commas between them.
            let length: usize = states.iter().map(|state| state.len() + 1).sum();
            if length <= MAX_TRACESTATE_BYTES + 1 && states.iter().all(is_text) {
                trail.extend(states.iter().map(|state| (TRACESTATE, state.clone())));
            }
        }
        Self(trail)
    }

    pub(crate) fn along_with(&self, request: RequestBuilder) -> RequestBuilder {
        self.0.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    }
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn is_request_id(id: &HeaderValue) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && is_text(id)
}

/// Whether it has the shape of one; what it means is for those who make spans.
fn is_traceparent(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let Some((known, more)) = bytes.split_at_checked(TRACEPARENT_BYTES) else {
        return false;
    };
    let well_formed = known.iter().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let may_go_on = more.is_empty() || (!known.starts_with(b"00") && more[0] == b'-');
    well_formed && may_go_on && bytes.len() <= MAX_TRACEPARENT_BYTES && is_text(value)
}

fn is_text(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~'))
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no token to call with.
    #[error("there is no token to call with")]
    Token(#[from] FetchError),
    /// The other service does not answer, or not in time.
    #[error("the service does not answer")]
    Call(#[source] reqwest::Error),
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        Self::Call(error.without_url())
    }
}

/// Calls other services with a token.
#[derive(Clone, Debug)]
pub struct ServiceClient {
    http: reqwest::Client,
    tokens: TokenSource,
}

impl ServiceClient {
    /// A client with limits of its own: a second to connect, ten for an answer.
    ///
    /// # Panics
    /// When the system's TLS cannot be set up.
    #[must_use]
    pub fn new(tokens: TokenSource) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .timeout(Duration::from_secs(10))
            .build();
        Self::with_http(http.expect("the system's TLS can be set up"), tokens)
    }

    /// A client with the connections and limits of this one.
    #[must_use]
    pub fn with_http(http: reqwest::Client, tokens: TokenSource) -> Self {
        Self { http, tokens }
    }

    /// A `GET` to be filled in further, and sent by [`send`](Self::send).
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A request to be filled in further, and sent by [`send`](Self::send).
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends a request with a token; once more with another one when the answer is 401, the body can be sent again and there
    /// is another to be had.
    ///
    /// # Errors
    /// There is no token, or no answer.
    pub async fn send(
        &self,
        request: RequestBuilder,
        trail: &Trail,
    ) -> Result<Response, CallError> {
        let request = trail.along_with(request);
        let again = request.try_clone();
        let token = self.tokens.token_for(trail).await?;
        let answer = with_token(request, &token).send().await?;
        let (StatusCode::UNAUTHORIZED, Some(again)) = (answer.status(), again) else {
            return Ok(answer);
        };
        match self.tokens.instead_of(&token, trail).await {
            Some(token) => Ok(with_token(again, &token).send().await?),
            None => Ok(answer),
        }
    }
}
