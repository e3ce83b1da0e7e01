//! `GET /health/live`, `GET /health/ready`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Serialize;
use service_shell::health;
use service_shell::problem::Problem;
use service_shell::serve::Shell;
use shared_claims::Verifier;
use shared_claims::wire::ErrorBody;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{AppState, Feed, Fetched};
use crate::storage::Store;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(ready))
}

/// Whether this service can do its work. A service that goes on without the feed can, and says so.
#[derive(Serialize, ToSchema)]
struct Readiness {
    status: &'static str,
    keys: Part,
    revocations: Part,
    /// The one shape of an error, where it is one.
    #[serde(flatten)]
    #[schema(ignore)]
    error: Option<ErrorBody>,
}

/// How it stands with something that this service needs of auth-service.
#[derive(Serialize, ToSchema)]
struct Part {
    /// Of [`Fetched::STATES`] or [`Feed::STATES`].
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<(&'static str, Option<String>)> for Part {
    fn from((state, reason): (&'static str, Option<String>)) -> Self {
        Self { state, reason }
    }
}

/// Whether this service can do its work, and whether it hears of ended sessions
#[utoipa::path(get, path = "/health/ready", tag = "health", responses(
    (status = 200, description = "It can", body = Readiness),
    (status = 503, description = "It takes no token at the moment, or its store does not answer: `not_ready`, `overloaded`", body = ErrorBody)))]
async fn ready(
    State(shell): State<Shell>,
    State(store): State<Store>,
    State(fetched): State<Fetched>,
    State(feed): State<Feed>,
    State(verifier): State<Verifier>,
) -> Result<Response, Problem> {
    shell.ready()?;
    store.ping().await?;
    let (keys, revocations): (Part, Part) = (fetched.state().into(), feed.state().into());
    let obstacle = if verifier.key_ids().is_empty() {
        let reason = keys.reason.as_deref();
        Some(reason.unwrap_or("the issuer publishes no key that can be used here"))
    } else if verifier.revoked().is_suspended() {
        Some(revocations.reason.as_deref().unwrap_or_default())
    } else {
        None
    };
    if let Some(reason) = obstacle {
        let error = ErrorBody::new(
            "not_ready",
            format!("This service takes no token: {reason}"),
        );
        let readiness = Readiness {
            status: "not_ready",
            keys,
            revocations,
            error: Some(error),
        };
        let retry = [(RETRY_AFTER, "1")];
        return Ok((StatusCode::SERVICE_UNAVAILABLE, retry, Json(readiness)).into_response());
    }
    let degraded = [&keys, &revocations]
        .iter()
        .any(|part| ["starting", "degraded"].contains(&part.state));
    Ok(Json(Readiness {
        status: if degraded { "degraded" } else { "ok" },
        keys,
        revocations,
        error: None,
    })
    .into_response())
}
