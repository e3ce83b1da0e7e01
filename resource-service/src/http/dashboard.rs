//! `GET /dashboard`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;
use service_shell::problem::Problem;
use shared_claims::Caller;

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

async fn show(
    caller: Caller,
    State(dashboards): State<Dashboards>,
) -> Result<Json<DashboardBody>, Problem> {
    let dashboard = dashboards.of(&caller).await?;
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
    }))
}
