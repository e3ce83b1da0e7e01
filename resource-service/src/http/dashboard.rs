//! `GET /dashboard`.

use auth_client::Trail;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use jiff::Timestamp;
use serde::Serialize;
use service_shell::openapi::TokenRefused;
use service_shell::problem::Problem;
use shared_claims::Caller;
use shared_claims::extract::{User, bearer_token};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accounts::Account;
use crate::app::AppState;
use crate::dashboard::Dashboards;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(show))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Dashboard)]
struct DashboardBody {
    id: String,
    username: Option<String>,
    token: TokenFigures,
    profile: ProfileFigures,
    account: Option<AccountFigures>,
    /// The parts that are null because they could not be had.
    missing: Vec<MissingPart>,
}

#[derive(Serialize, ToSchema)]
struct TokenFigures {
    expires_in: i64,
    fresh: bool,
    scope: String,
}

#[derive(Serialize, ToSchema)]
struct ProfileFigures {
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
struct AccountFigures {
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
    live_sessions: u32,
}

#[derive(Serialize, ToSchema)]
struct MissingPart {
    part: &'static str,
    reason: String,
}

/// The user's own figures; `account` is null and `missing` says why when auth-service cannot be asked
#[utoipa::path(get, path = "/dashboard", tag = "dashboard", security(("token" = [])),
    responses((status = 200, description = "The figures", body = DashboardBody), TokenRefused))]
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
