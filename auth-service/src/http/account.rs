//! `GET /me`, `PUT /me/password`.

use axum::extract::State;
use axum::routing::{get, put};
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody};
use shared_claims::TokenError;
use shared_claims::extract::{Fresh, User};

use super::credentials::{InPerson, LiveCaller, Peer};
use super::error::Error;
use crate::app::AppState;
use crate::audit::Author;
use crate::password::Password;
use crate::users::Users;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/me", get(show))
        .route("/me/password", put(change_password))
}

#[derive(Serialize)]
struct Account {
    id: String,
    username: String,
    created_at: Timestamp,
    last_login_at: Option<Timestamp>,
    live_sessions: u32,
}

async fn show(
    State(users): State<Users>,
    caller: LiveCaller<User>,
) -> Result<Json<Account>, Error> {
    let (user, live_sessions) = users
        .account(&caller.subject)
        .await?
        .ok_or(TokenError::Revoked)?;
    Ok(Json(Account {
        id: user.id.to_string(),
        username: user.username.to_string(),
        created_at: user.created_at,
        last_login_at: user.last_login_at,
        live_sessions,
    }))
}

#[derive(Deserialize)]
struct PasswordChange {
    current_password: Option<SecretString>,
    new_password: Option<SecretString>,
}

async fn change_password(
    State(users): State<Users>,
    caller: LiveCaller<((User, InPerson), Fresh)>,
    Peer(ip): Peer,
    JsonBody(change): JsonBody<PasswordChange>,
) -> Result<StatusCode, Error> {
    let mut fields = Fields::default();
    let current = fields.required("current_password", change.current_password, |text| {
        Password::presented(&text)
    });
    let new = fields.required("new_password", change.new_password, |text| {
        Password::chosen(&text)
    });
    let (current, new) = fields.finish(current.zip(new))?;

    let (id, by) = (&caller.subject, Author::known(&caller.subject, ip));
    users
        .change_password(id, current, new, caller.session.as_ref(), &by)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
