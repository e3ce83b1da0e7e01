//! `POST /login`, `POST /refresh`, `POST /logout`.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use http::header::{CACHE_CONTROL, USER_AGENT};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;
use service_shell::body::{Fields, JsonBody};
use shared_claims::extract::CallerLog;
use shared_claims::wire::TokenPair;

use super::credentials::{AnyToken, RefreshCaller};
use super::error::Error;
use crate::app::AppState;
use crate::password::Password;
use crate::sessions::{Origin, Sessions};
use crate::users::{AuthenticateError, Username, UsernameRefused, Users};

/// A user agent is cut here: it is kept to be recognised, not to be parsed.
const USER_AGENT_CHARACTERS: usize = 256;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/login", post(log_in))
        .route("/refresh", post(refresh))
        .route("/logout", post(log_out))
}

#[derive(Deserialize)]
struct Credentials {
    username: Option<String>,
    password: Option<SecretString>,
}

/// A pair that no cache keeps (RFC 6749 section 5.1).
struct Issued(TokenPair);

impl IntoResponse for Issued {
    fn into_response(self) -> Response {
        ([(CACHE_CONTROL, "no-store")], Json(self.0)).into_response()
    }
}

async fn log_in(
    State(users): State<Users>,
    State(sessions): State<Sessions>,
    Extension(log): Extension<CallerLog>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    JsonBody(credentials): JsonBody<Credentials>,
) -> Result<Issued, Error> {
    let mut fields = Fields::default();
    let username = fields.required("username", credentials.username, |text| {
        presented_name(&text)
    });
    let password = fields.required("password", credentials.password, |text| {
        Password::presented(&text)
    });
    let (username, password) = fields.finish(username.zip(password))?;

    let user = users.authenticate(username, password).await?;
    let origin = Origin {
        user_agent: user_agent(&headers),
        ip: Some(peer.ip().to_canonical()),
    };
    let (session, pair) = sessions
        .start(&user, origin)
        .await?
        .ok_or(AuthenticateError::ChangedMeanwhile)?;
    log.note(&user.id, Some(&session));
    Ok(Issued(pair))
}

async fn refresh(
    State(sessions): State<Sessions>,
    RefreshCaller(presented): RefreshCaller,
) -> Result<Issued, Error> {
    Ok(Issued(sessions.refresh(&presented, None).await?))
}

async fn log_out(
    State(sessions): State<Sessions>,
    AnyToken(presented): AnyToken,
) -> Result<StatusCode, Error> {
    sessions.log_out(&presented).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A name with characters that no user's name has is merely unknown: whoever mistyped it learns no more than that.
fn presented_name(text: &str) -> Result<Option<Username>, UsernameRefused> {
    match Username::parse(text) {
        Ok(username) => Ok(Some(username)),
        Err(UsernameRefused::Characters) => Ok(None),
        Err(refused) => Err(refused),
    }
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    Some(text.chars().take(USER_AGENT_CHARACTERS).collect())
}
