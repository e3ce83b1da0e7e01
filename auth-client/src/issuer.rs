//! The issuer of tokens as a client sees it: RFC 6749 and RFC 8693 requests.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use quick_cache::sync::Cache;
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use shared_claims::AccessToken;

use crate::answer::{self, AnswerError};
use crate::client::Trail;
use crate::source::{FETCH_LIMIT, TokenSource};

/// How many users' tokens an [`Exchange`] remembers an exchanged token for.
const REMEMBERED: usize = 4096;

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The issuer does not answer, or not in time.
    #[error("the issuer of tokens does not answer")]
    Unreachable(#[source] Arc<reqwest::Error>),
    /// The issuer answers with an error of its own.
    #[error("the issuer of tokens answers with status {0}")]
    Status(u16),
    /// The issuer refuses: an error code of RFC 6749 section 5.2, such as `invalid_client`.
    #[error("the issuer of tokens refuses: {0}")]
    Refused(String),
    /// The issuer answers with a token of another type than `Bearer`.
    #[error("the issuer of tokens answers with a token that is not a bearer's")]
    TokenType,
    /// The issuer answers with something that is no token.
    #[error("the issuer of tokens answers with something that is no token")]
    NoToken(#[source] Option<Arc<AnswerError>>),
    /// The fetch did not come to its end.
    #[error("the token was not fetched to the end")]
    Aborted,
    /// The last attempt failed a moment ago, and it is too early for the next.
    #[error("the issuer of tokens failed a moment ago")]
    Waiting(#[source] Arc<FetchError>),
}

impl FetchError {
    /// Whether asking again could help: a refusal stands until somebody changes something.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self.root(), Self::Refused(_))
    }

    /// What failed in the first place, where this says that it is too early to try again.
    #[must_use]
    pub fn root(&self) -> &Self {
        match self {
            Self::Waiting(last) => last.root(),
            failed => failed,
        }
    }
}

/// An authorization server, and who we are to it.
#[derive(Clone, Debug)]
pub struct Issuer(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    address: Url,
    client_id: String,
    client_secret: SecretString,
    http: reqwest::Client,
}

impl Issuer {
    /// The issuer at this address, asked as this client.
    ///
    /// # Panics
    /// When the system's TLS cannot be set up.
    #[must_use]
    pub fn new(address: Url, client_id: impl Into<String>, client_secret: SecretString) -> Self {
        // A secret is sent where it was meant to go, and nowhere that an answer points to.
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .build();
        let http = http.expect("the system's TLS can be set up");
        Self(Arc::new(Connection {
            address,
            client_id: client_id.into(),
            client_secret,
            http,
        }))
    }

    /// The address of one of its routes.
    pub(crate) fn endpoint(&self, path: &str) -> Url {
        let mut url = self.0.address.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        url
    }

    /// Tokens for ourselves (RFC 6749 section 4.4), with this scope or with all that we are allowed.
    #[must_use]
    pub fn client_credentials(&self, scope: Option<&str>) -> TokenSource {
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        form.extend(scope.map(|scope| ("scope", scope.to_owned())));
        TokenSource::new(self.clone(), Form::new(form))
    }

    /// Tokens on behalf of users (RFC 8693).
    #[must_use]
    pub fn exchange(&self) -> Exchange {
        Exchange {
            issuer: self.clone(),
            audience: None,
            scope: None,
            sources: Arc::new(Cache::new(REMEMBERED)),
        }
    }

    /// The connections to it. They set no limit to how long an answer may take: whoever asks does.
    pub(crate) fn http(&self) -> reqwest::Client {
        self.0.http.clone()
    }

    pub(crate) async fn fetch(&self, form: &Form, trail: &Trail) -> Result<Granted, FetchError> {
        let Connection {
            client_id,
            client_secret,
            http,
            ..
        } = &*self.0;
        let unreachable =
            |error: reqwest::Error| FetchError::Unreachable(Arc::new(error.without_url()));
        let pairs = form
            .pairs
            .iter()
            .map(|(name, value)| (*name, value.expose_secret()));
        let pairs: Vec<_> = pairs
            .chain([
                ("client_id", client_id.as_str()),
                ("client_secret", client_secret.expose_secret()),
            ])
            .collect();
        let request = http.post(self.endpoint("/oauth/token"));
        let answer = trail
            .along_with(request)
            .form(&pairs)
            .timeout(FETCH_LIMIT)
            .send()
            .await
            .map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            let granted: Granted = answer::json(answer)
                .await
                .map_err(|error| FetchError::NoToken(Some(Arc::new(error))))?;
            if bearer(&granted.access_token).is_err() {
                return Err(FetchError::NoToken(None));
            }
            // A client must not use a token of a type that it does not know (RFC 6749 section 7.1).
            return if granted.token_type.eq_ignore_ascii_case("bearer") {
                Ok(granted)
            } else {
                Err(FetchError::TokenType)
            };
        }
        match answer::json::<Refusal>(answer).await {
            Ok(refusal) if status.is_client_error() => Err(FetchError::Refused(refusal.error)),
            _ => Err(FetchError::Status(status.as_u16())),
        }
    }
}

/// The parameters of a token request, of which some are secret.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pairs: Arc<[(&'static str, SecretString)]>,
}

impl Form {
    fn new(pairs: Vec<(&'static str, String)>) -> Self {
        Self {
            pairs: pairs
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect(),
        }
    }
}

/// An answer to a token request (RFC 6749 section 5.1).
#[derive(Deserialize)]
pub(crate) struct Granted {
    pub(crate) access_token: AccessToken,
    pub(crate) token_type: String,
    /// RFC 6749 only recommends it: without it, as with nothing or less, a token is used once.
    #[serde(default)]
    pub(crate) expires_in: i64,
}

/// An error answer (RFC 6749 section 5.2).
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Trades users' access tokens for tokens of our own that speak of the same users (RFC 8693). Clones share what is
/// remembered.
#[derive(Clone, Debug)]
pub struct Exchange {
    issuer: Issuer,
    audience: Option<String>,
    scope: Option<String>,
    sources: Arc<Cache<String, TokenSource>>,
}

impl Exchange {
    /// Asks for tokens for this audience alone.
    #[must_use]
    pub fn for_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self.with_nothing_remembered()
    }

    /// Asks for tokens with this scope rather than the user's own.
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self.with_nothing_remembered()
    }

    /// What was fetched for another audience or scope is of no use, and stays with whoever this was cloned from.
    fn with_nothing_remembered(mut self) -> Self {
        self.sources = Arc::new(Cache::new(REMEMBERED));
        self
    }

    /// The source of tokens for the user whose access token this is: the same for the same token, as long as it is
    /// remembered.
    #[must_use]
    pub fn on_behalf_of(&self, subject_token: &str) -> TokenSource {
        let source = || {
            let mut form = vec![
                (
                    "grant_type",
                    "urn:ietf:params:oauth:grant-type:token-exchange".to_owned(),
                ),
                ("subject_token", subject_token.to_owned()),
                (
                    "subject_token_type",
                    "urn:ietf:params:oauth:token-type:access_token".to_owned(),
                ),
            ];
            form.extend(self.audience.clone().map(|audience| ("audience", audience)));
            form.extend(self.scope.clone().map(|scope| ("scope", scope)));
            TokenSource::new(self.issuer.clone(), Form::new(form))
        };
        let found = self.sources.get_or_insert_with(subject_token, || {
            Ok::<_, std::convert::Infallible>(source())
        });
        found.unwrap_or_else(|never| match never {})
    }
}

/// A request that carries a token.
pub(crate) fn with_token(request: RequestBuilder, token: &AccessToken) -> RequestBuilder {
    let mut value = bearer(token).expect("it was looked at when it came");
    value.set_sensitive(true);
    request.header(AUTHORIZATION, value)
}

fn bearer(token: &AccessToken) -> Result<HeaderValue, InvalidHeaderValue> {
    HeaderValue::try_from(format!("Bearer {}", token.expose()))
}
