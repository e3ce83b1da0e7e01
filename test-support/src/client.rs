//! A client whose calls and answers read as sentences.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde_json::Value;

/// How long a server may take to become what it is waited for, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls one server.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    /// A client of the server at this address, like `http://127.0.0.1:8001`.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client without TLS always builds");
        Self {
            base: base.into(),
            http,
        }
    }

    /// Where the server is.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request to be filled in further.
    pub fn request(&self, method: &Method, path: &str) -> RequestBuilder {
        self.http
            .request(method.clone(), format!("{}{path}", self.base))
    }

    /// Whether there is a server that answers this with success.
    pub async fn answers(&self, path: &str) -> bool {
        let answer = self.request(&Method::GET, path).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until the server says that it is ready.
    pub async fn becomes_ready(&self) {
        let started = Instant::now();
        while !self.answers("/health/ready").await {
            let waited = started.elapsed();
            assert!(waited < PATIENCE, "{} did not become ready", self.base);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// `GET` without a token.
    pub async fn get(&self, path: &str) -> Reply {
        Reply::to(self.request(&Method::GET, path)).await
    }

    /// `GET` with a token.
    pub async fn get_with(&self, path: &str, token: &str) -> Reply {
        Reply::to(
            self.request(&Method::GET, path)
                .header(AUTHORIZATION, format!("Bearer {token}")),
        )
        .await
    }

    /// `POST` of JSON without a token.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Reply {
        Reply::to(self.request(&Method::POST, path).json(body)).await
    }

    /// `POST` of nothing with a token.
    pub async fn post_with(&self, path: &str, token: &str) -> Reply {
        Reply::to(
            self.request(&Method::POST, path)
                .header(AUTHORIZATION, format!("Bearer {token}")),
        )
        .await
    }

    /// `PUT` of JSON with a token.
    pub async fn put_with(&self, path: &str, token: &str, body: &impl Serialize) -> Reply {
        Reply::to(
            self.request(&Method::PUT, path)
                .header(AUTHORIZATION, format!("Bearer {token}"))
                .json(body),
        )
        .await
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub text: String,
}

impl Reply {
    /// The answer to a request.
    pub async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("the server answers");
        let (status, headers) = (response.status(), response.headers().clone());
        Self {
            status,
            headers,
            text: response.text().await.expect("the answer's body arrives"),
        }
    }

    /// The body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text))
    }

    /// A text in the JSON body.
    #[must_use]
    #[track_caller]
    pub fn text_of(&self, field: &str) -> String {
        self.json()[field]
            .as_str()
            .unwrap_or_else(|| panic!("no {field} in {} {}", self.status, self.text))
            .to_owned()
    }

    /// A header, or the empty string.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap_or_default())
    }

    /// Asserts the status.
    #[track_caller]
    pub fn has_status(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// Asserts an error: its status and its code, in the one shape.
    #[track_caller]
    pub fn is(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status.as_u16(), self.text_of("code").as_str()),
            (status, code),
            "{}",
            self.text
        );
        assert!(!self.text_of("msg").is_empty(), "{}", self.text);
        self
    }

    /// Asserts an error's sentence.
    #[track_caller]
    pub fn says(self, msg: &str) -> Self {
        assert_eq!(self.text_of("msg"), msg);
        self
    }
}
