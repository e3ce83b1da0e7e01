//! `GET /me`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;
use shared_claims::TokenError;
use shared_claims::extract::User;

use super::credentials::LiveCaller;
use super::error::Error;
use crate::app::AppState;
use crate::users::Users;

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/me", get(show))
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
