//! `POST /login`, `POST /refresh`, `POST /logout`; `GET /sessions`, and the ends of them.

use std::net::IpAddr;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::{CACHE_CONTROL, USER_AGENT};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody};
use service_shell::openapi::{AttemptRefused, BodyRefused, TokenRefused};
use shared_claims::extract::{CallerLog, User};
use shared_claims::wire::{ErrorBody, TokenPair};
use shared_claims::{SessionId, TokenError};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::credentials::{AnyToken, CookieLogin, InPerson, LiveCaller, Peer, RefreshCaller};
use super::error::{BadCredentialsBody, Error};
use super::path::Named;
use super::refresh_cookie::RefreshCookie;
use crate::app::AppState;
use crate::audit::Author;
use crate::password::Password;
use crate::sessions::{Delivery, EndReason, Origin, Session, Sessions};
use crate::username::{Username, UsernameRefused};
use crate::users::{AuthenticateError, Users};

/// A user agent is cut here: it is kept to be recognised, not to be parsed.
const USER_AGENT_CHARACTERS: usize = 256;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(log_in))
        .routes(routes!(refresh))
        .routes(routes!(log_out))
        .routes(routes!(list, end_all))
        .routes(routes!(end))
}

#[derive(Deserialize, ToSchema)]
struct Credentials {
    #[schema(value_type = String, example = "cosmo")]
    username: Option<String>,
    #[schema(value_type = String, format = Password, example = "space-corgi")]
    password: Option<SecretString>,
    /// How the refresh token goes: `header` in bodies and headers, `cookie` in a cookie that no script reads
    #[schema(value_type = Option<String>, example = "header")]
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

/// Begins a session for a user name and a password
#[utoipa::path(post, path = "/login", tag = "sessions", request_body(content = Credentials), responses((status = 200, description = "An access token and a refresh token; with `delivery` `cookie` the refresh token is in cookies for `/login`, `/refresh` and `/logout`, and the session that the cookie was of has ended", body = TokenPair), BodyRefused, AttemptRefused, (status = 401, description = "The password is wrong, or the user unknown or disabled: `bad_credentials`", body = BadCredentialsBody), (status = 403, description = "With the cookie, and from a page that may not use it: `origin_not_allowed`", body = ErrorBody)))]
async fn log_in(
    State(users): State<Users>,
    State(sessions): State<Sessions>,
    with_cookie: CookieLogin,
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
    let (cookie, earlier) = match delivery {
        Delivery::Cookie => {
            let (cookie, earlier) = with_cookie.allowed()?;
            (Some(cookie), earlier)
        }
        Delivery::Header => (None, None),
    };

    let by = Author::anybody(ip);
    let user = users.authenticate(username, password, &by).await?;
    let user_agent = user_agent(&headers);
    let origin = Origin { user_agent, ip };
    let (session, pair) = sessions
        .start(&user, origin, delivery, earlier.as_ref())
        .await?
        .ok_or(AuthenticateError::ChangedMeanwhile)?;
    log.note(&user.id, Some(&session));
    Ok(Issued { pair, cookie })
}

/// Gives the next pair for a refresh token, from the header or the cookie
#[utoipa::path(post, path = "/refresh", tag = "sessions", security(("token" = [])), responses((status = 200, description = "The next pair; an access token alone where refresh tokens are not replaced", body = TokenPair), (status = 400, description = "More than one token: `invalid_request`", body = ErrorBody), (status = 401, description = "No token, or one that is not good here, or not any more: `missing_token`, `malformed_header`, `token_expired`, `invalid_token`, `wrong_token_type`, `token_revoked`, `refresh_token_reused`", body = ErrorBody), (status = 403, description = "With the cookie, and from a page that may not use it: `origin_not_allowed`", body = ErrorBody)))]
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

/// Ends the session of an access or refresh token, from the header or the cookie
#[utoipa::path(post, path = "/logout", tag = "sessions", security(("token" = [])), responses((status = 204, description = "The session is over"), (status = 400, description = "More than one token: `invalid_request`", body = ErrorBody), (status = 401, description = "No token, or one that is not good here, or not any more: `missing_token`, `malformed_header`, `token_expired`, `invalid_token`, `wrong_token_type`, `token_revoked`, `refresh_token_reused`", body = ErrorBody), (status = 403, description = "A token that is none of the user themselves, or the cookie from a page that may not use it: `wrong_caller`, `origin_not_allowed`", body = ErrorBody)))]
async fn log_out(
    State(sessions): State<Sessions>,
    State(cookie): State<RefreshCookie>,
    Peer(ip): Peer,
    AnyToken(presented, by): AnyToken,
) -> Result<SignedOut, Error> {
    sessions.log_out(&presented, Some(by), ip).await?;
    Ok(SignedOut(cookie))
}

#[derive(Serialize, ToSchema)]
struct SessionList {
    sessions: Vec<ListedSession>,
}

/// A session as its owner sees it, and whoever administers the service.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct ListedSession {
    #[schema(value_type = String)]
    id: SessionId,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    user_agent: Option<String>,
    #[schema(value_type = Option<String>)]
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

/// The sessions of the token's user that go on
#[utoipa::path(get, path = "/sessions", tag = "sessions", security(("token" = [])), responses((status = 200, description = "The sessions, newest use first", body = SessionList), TokenRefused))]
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

/// Ends a session of the token's user
#[utoipa::path(delete, path = "/sessions/{id}", tag = "sessions", params(("id" = String, Path, description = "The id of the session")), security(("token" = [])), responses((status = 204, description = "The session is over"), TokenRefused, (status = 404, description = "The user has no such session: `not_found`", body = ErrorBody)))]
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

/// Ends all sessions of the token's user, this one included
#[utoipa::path(delete, path = "/sessions", tag = "sessions", security(("token" = [])), responses((status = 204, description = "They are over"), TokenRefused))]
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
