//! `POST /login`, `POST /refresh`, `POST /logout`; `GET /sessions`, and the ends of them.

use std::net::IpAddr;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use http::header::{CACHE_CONTROL, USER_AGENT};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody};
use shared_claims::extract::{CallerLog, User};
use shared_claims::wire::TokenPair;
use shared_claims::{SessionId, TokenError};

use super::credentials::{AnyToken, InPerson, LiveCaller, Peer, RefreshCaller};
use super::error::Error;
use super::path::Named;
use super::refresh_cookie::RefreshCookie;
use crate::app::AppState;
use crate::audit::Author;
use crate::password::Password;
use crate::sessions::{Delivery, EndReason, Origin, Session, Sessions};
use crate::users::{AuthenticateError, Username, UsernameRefused, Users};

/// A user agent is cut here: it is kept to be recognised, not to be parsed.
const USER_AGENT_CHARACTERS: usize = 256;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/login", post(log_in))
        .route("/refresh", post(refresh))
        .route("/logout", post(log_out))
        .route("/sessions", get(list).delete(end_all))
        .route("/sessions/{id}", delete(end))
}

#[derive(Deserialize)]
struct Credentials {
    username: Option<String>,
    password: Option<SecretString>,
    delivery: Option<String>,
}

/// A pair that no cache keeps (RFC 6749 section 5.1), its refresh token in the cookie if that is the session's way.
struct Issued {
    pair: TokenPair,
    cookie: Option<RefreshCookie>,
}

impl IntoResponse for Issued {
    fn into_response(mut self) -> Response {
        let cookies = self.cookie.and_then(|cookie| {
            let token = self.pair.refresh_token.take()?;
            Some(cookie.set(&token, self.pair.refresh_expires_in.unwrap_or_default()))
        });
        let uncached = [(CACHE_CONTROL, "no-store")];
        (cookies.unwrap_or_default(), uncached, Json(self.pair)).into_response()
    }
}

/// The caller's session is over: a browser that has its refresh token may forget it.
struct SignedOut(RefreshCookie);

impl IntoResponse for SignedOut {
    fn into_response(self) -> Response {
        (StatusCode::NO_CONTENT, self.0.clear()).into_response()
    }
}

async fn log_in(
    State(users): State<Users>,
    State(sessions): State<Sessions>,
    State(cookie): State<RefreshCookie>,
    Extension(log): Extension<CallerLog>,
    Peer(ip): Peer,
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
    let delivery = fields.required(
        "delivery",
        credentials.delivery.as_deref().or(Some("header")),
        |text| Delivery::parse(text).ok_or("Must be header or cookie."),
    );
    let ((username, password), delivery) = fields.finish(username.zip(password).zip(delivery))?;
    if delivery == Delivery::Cookie {
        cookie.guard(&headers)?;
    }

    let by = Author::anybody(ip);
    let user = users.authenticate(username, password, &by).await?;
    let user_agent = user_agent(&headers);
    let origin = Origin { user_agent, ip };
    let (session, pair) = sessions
        .start(&user, origin, delivery)
        .await?
        .ok_or(AuthenticateError::ChangedMeanwhile)?;
    log.note(&user.id, Some(&session));
    let cookie = (delivery == Delivery::Cookie).then_some(cookie);
    Ok(Issued { pair, cookie })
}

async fn refresh(
    State(sessions): State<Sessions>,
    State(cookie): State<RefreshCookie>,
    Peer(ip): Peer,
    RefreshCaller(presented, by): RefreshCaller,
) -> Result<Issued, Error> {
    let pair = sessions.refresh(&presented, by, None, ip).await?;
    let cookie = (by == Delivery::Cookie).then_some(cookie);
    Ok(Issued { pair, cookie })
}

async fn log_out(
    State(sessions): State<Sessions>,
    State(cookie): State<RefreshCookie>,
    Peer(ip): Peer,
    AnyToken(presented, by): AnyToken,
) -> Result<SignedOut, Error> {
    sessions.log_out(&presented, Some(by), ip).await?;
    Ok(SignedOut(cookie))
}

#[derive(Serialize)]
struct SessionList {
    sessions: Vec<ListedSession>,
}

/// A session as its owner sees it, and whoever administers the service.
#[derive(Serialize)]
pub(super) struct ListedSession {
    id: SessionId,
    created_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
    user_agent: Option<String>,
    ip: Option<IpAddr>,
    /// Whether it is the session that the request comes from.
    current: bool,
}

impl ListedSession {
    pub(super) fn new(session: Session, current: Option<&SessionId>) -> Self {
        Self {
            current: Some(&session.id) == current,
            id: session.id,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
            user_agent: session.user_agent,
            ip: session.ip,
        }
    }
}

async fn list(
    State(sessions): State<Sessions>,
    caller: LiveCaller<(User, InPerson)>,
) -> Result<Json<SessionList>, Error> {
    let (live, current) = (sessions.of(&caller.subject).await?, caller.session.as_ref());
    let listed = live
        .into_iter()
        .map(|session| ListedSession::new(session, current));
    Ok(Json(SessionList {
        sessions: listed.collect(),
    }))
}

async fn end(
    State(sessions): State<Sessions>,
    caller: LiveCaller<(User, InPerson)>,
    Peer(ip): Peer,
    Named(id): Named<SessionId>,
) -> Result<StatusCode, Error> {
    let owner = &caller.subject;
    let by = Author::known(owner, ip);
    // Somebody else's session is answered like one that is not there.
    if sessions
        .end(&id, Some(owner), EndReason::EndedByUser, &by)
        .await?
    {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Error::NotFound("There is no such session"))
    }
}

async fn end_all(
    State(sessions): State<Sessions>,
    State(cookie): State<RefreshCookie>,
    caller: LiveCaller<(User, InPerson)>,
    Peer(ip): Peer,
) -> Result<SignedOut, Error> {
    let by = Author::known(&caller.subject, ip);
    let ended = sessions
        .end_all_of(&caller.subject, EndReason::EndedByUser, &by)
        .await?;
    // Nothing to end: this session was ended by another request meanwhile.
    if ended == 0 {
        return Err(TokenError::Revoked.into());
    }
    Ok(SignedOut(cookie))
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
