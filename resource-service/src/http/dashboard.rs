//! `GET /dashboard`.

use auth_client::Trail;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::HeaderMap;
use jiff::Timestamp;
use serde::Serialize;
use service_shell::problem::Problem;
use shared_claims::Caller;
use shared_claims::extract::{User, bearer_token};

use crate::accounts::Account;
use crate::app::AppState;
use crate::dashboard::Dashboards;

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/dashboard", get(show))
}

#[derive(Serialize)]
struct DashboardBody {
    id: String,
    username: Option<String>,
    token: TokenFigures,
    profile: ProfileFigures,
    account: Option<AccountFigures>,
    /// The parts that are null because they could not be had.
    missing: Vec<MissingPart>,
}

#[derive(Serialize)]
struct TokenFigures {
    expires_in: i64,
    fresh: bool,
    scope: String,
}

#[derive(Serialize)]
struct ProfileFigures {
    updated_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct AccountFigures {
    created_at: Timestamp,
    last_login_at: Option<Timestamp>,
    live_sessions: u32,
}

#[derive(Serialize)]
struct MissingPart {
    part: &'static str,
    reason: String,
}

async fn show(
    caller: Caller<User>,
    State(dashboards): State<Dashboards>,
    headers: HeaderMap,
) -> Result<Json<DashboardBody>, Response> {
    let token = bearer_token(&headers).map_err(IntoResponse::into_response)?;
    let dashboard = dashboards
        .of(&caller, token, &Trail::of(&headers))
        .await
        .map_err(|error| Problem::from(error).into_response())?;
    let (account, missing) = match dashboard.account {
        Ok(Account {
            created_at,
            last_login_at,
            live_sessions,
        }) => (
            Some(AccountFigures {
                created_at,
                last_login_at,
                live_sessions,
            }),
            Vec::new(),
        ),
        Err(unavailable) => (
            None,
            vec![MissingPart {
                part: "account",
                reason: unavailable.to_string(),
            }],
        ),
    };
    Ok(Json(DashboardBody {
        id: caller.subject.to_string(),
        username: caller.preferred_username.clone(),
        token: TokenFigures {
            expires_in: dashboard.token_expires_in,
            fresh: caller.fresh,
            scope: caller.scope.to_string(),
        },
        profile: ProfileFigures {
            updated_at: dashboard.profile_updated_at,
        },
        account,
        missing,
    }))
}
