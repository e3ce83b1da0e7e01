//! Users' accounts, which auth-service keeps: asked of it on behalf of the user.

use std::time::Duration;

use auth_client::{AnswerError, CallError, Exchange, FetchError, Issuer, ServiceClient, Trail};
use jiff::Timestamp;
use serde::Deserialize;
use service_shell::settings::below;

use crate::config::AuthServiceConfig;

/// The longest that an account is waited for: the page that it is for is worth more than the account. What it leaves of the
/// 2.5 seconds that are promised for the page is for everything else.
const LIMIT: Duration = Duration::from_millis(2300);

/// What auth-service says of a user.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Account {
    pub(crate) created_at: Timestamp,
    pub(crate) last_login_at: Option<Timestamp>,
    pub(crate) live_sessions: u32,
}

/// Why there is no account to show. Display is for the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("this service has no account of its own to ask auth-service with")]
    NotConfigured,
    #[error("auth-service does not answer in time")]
    TooSlow,
    #[error("auth-service does not answer")]
    Away(#[source] CallError),
    #[error("auth-service does not let this service ask")]
    Refused(#[source] CallError),
    #[error("auth-service answers with an error")]
    Failed(u16),
    #[error("auth-service answers with something else")]
    Unreadable(#[source] AnswerError),
}

/// Asks auth-service for accounts.
#[derive(Clone, Debug)]
pub(crate) struct Accounts(Option<Asking>);

#[derive(Clone, Debug)]
struct Asking {
    me: reqwest::Url,
    exchange: Exchange,
    http: reqwest::Client,
}

impl Accounts {
    pub(crate) fn new(asking: Option<(&Issuer, &AuthServiceConfig)>) -> anyhow::Result<Self> {
        let Some((issuer, config)) = asking else {
            return Ok(Self(None));
        };
        let me = below(&config.auth_url, "/me");
        // The token is for auth-service and nobody else, and it needs no scope there.
        let exchange = match &config.issuer {
            Some(audience) => issuer.exchange().for_audience(audience),
            None => issuer.exchange(),
        };
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .timeout(LIMIT)
            .build()?;
        Ok(Self(Some(Asking { me, exchange, http })))
    }

    /// The account of the user whose access token this is.
    pub(crate) async fn of(&self, token: &str, trail: &Trail) -> Result<Account, Unavailable> {
        let asking = self.0.as_ref().ok_or(Unavailable::NotConfigured)?;
        tokio::time::timeout(LIMIT, asking.ask(token, trail))
            .await
            .map_err(|_| Unavailable::TooSlow)?
    }
}

impl Asking {
    async fn ask(&self, token: &str, trail: &Trail) -> Result<Account, Unavailable> {
        let client = ServiceClient::with_http(self.http.clone(), self.exchange.on_behalf_of(token));
        let answer = client
            .send(client.get(self.me.clone()), trail)
            .await
            .map_err(|error| match &error {
                CallError::Token(failed) => match failed.root() {
                    FetchError::Refused(_) => Unavailable::Refused(error),
                    FetchError::Status(status) => Unavailable::Failed(*status),
                    _ => Unavailable::Away(error),
                },
                CallError::Call(_) => Unavailable::Away(error),
            })?;
        if !answer.status().is_success() {
            return Err(Unavailable::Failed(answer.status().as_u16()));
        }
        auth_client::json(answer)
            .await
            .map_err(Unavailable::Unreadable)
    }
}
