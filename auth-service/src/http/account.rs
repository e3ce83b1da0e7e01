//! `GET /me`, `PUT /me/password`.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service_shell::body::{Fields, JsonBody};
use service_shell::openapi::{AttemptRefused, BodyRefused, TokenRefused};
use shared_claims::TokenError;
use shared_claims::extract::{Fresh, User};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::credentials::{InPerson, LiveCaller, Peer};
use super::error::Error;
use crate::app::AppState;
use crate::audit::Author;
use crate::password::Password;
use crate::users::Users;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(change_password))
}

#[derive(Serialize, ToSchema)]
struct Account {
    id: String,
    username: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
    live_sessions: u32,
}

/// The account of the token's user
#[utoipa::path(get, path = "/me", tag = "users", security(("token" = [])), responses((status = 200, description = "The account", body = Account), TokenRefused))]
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

#[derive(Deserialize, ToSchema)]
struct PasswordChange {
    #[schema(value_type = String, format = Password)]
    current_password: Option<SecretString>,
    /// 8 to 256 characters
    #[schema(value_type = String, format = Password)]
    new_password: Option<SecretString>,
}

/// Replaces the password of the token's user, and ends every other session
#[utoipa::path(put, path = "/me/password", tag = "users", security(("token" = [])), request_body(content = PasswordChange), responses((status = 204, description = "It is replaced"), BodyRefused, TokenRefused, AttemptRefused))]
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
