//! A client that attaches tokens to its calls.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::{IntoUrl, RequestBuilder, Response};
use std::time::Duration;

use crate::issuer::{FetchError, with_token};
use crate::source::TokenSource;

/// What of a request travels along with the calls that are made for it: its id, and its place in a trace (W3C Trace
/// Context).
#[derive(Clone, Debug, Default)]
pub struct Trail(Vec<(HeaderName, HeaderValue)>);

impl Trail {
    const HEADERS: [HeaderName; 3] = [
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("tracestate"),
    ];

    /// The trail of a request with these headers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        Self(
            Self::HEADERS
                .into_iter()
                .flat_map(|name| {
                    let values = headers.get_all(&name).iter().cloned();
                    values
                        .map(move |value| (name.clone(), value))
                        .collect::<Vec<_>>()
                })
                .collect(),
        )
    }

    pub(crate) fn along_with(&self, request: RequestBuilder) -> RequestBuilder {
        self.0.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    }
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
