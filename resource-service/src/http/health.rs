//! `GET /health/live`, `GET /health/ready`.

use auth_client::FeedStatus;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Serialize;
use service_shell::health;
use service_shell::problem::Problem;
use shared_claims::Verifier;
use shared_claims::wire::ErrorBody;

use crate::app::{AppState, Feed};
use crate::storage::Store;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(ready))
}

/// Whether this service can do its work. A service that goes on without the feed can, and says so.
#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    revocations: Revocations,
    /// The one shape of an error, where it is one.
    #[serde(flatten)]
    error: Option<ErrorBody>,
}

#[derive(Serialize)]
struct Revocations {
    /// `caught-up`, `degraded`, `mismatch`, `starting`, or `off` where this service has no account to listen with.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Revocations {
    fn new(Feed(subscription): &Feed) -> Self {
        let Some(subscription) = subscription else {
            return Self {
                state: "off",
                reason: None,
            };
        };
        let status = subscription.status();
        let (state, reason) = match &status {
            FeedStatus::Starting { .. } => ("starting", Some(status.to_string())),
            FeedStatus::CaughtUp => ("caught-up", None),
            FeedStatus::Degraded { reason } => ("degraded", Some(reason.clone())),
            FeedStatus::Mismatch { reason } => ("mismatch", Some(reason.clone())),
        };
        Self { state, reason }
    }
}

async fn ready(
    State(store): State<Store>,
    State(feed): State<Feed>,
    State(verifier): State<Verifier>,
) -> Result<Response, Problem> {
    store.ping().await?;
    let revocations = Revocations::new(&feed);
    if verifier.revoked().is_suspended() {
        let reason = revocations.reason.as_deref().unwrap_or_default();
        let error = ErrorBody::new(
            "not_ready",
            format!("This service takes no token: {reason}"),
        );
        let readiness = Readiness {
            status: "not_ready",
            revocations,
            error: Some(error),
        };
        let retry = [(RETRY_AFTER, "1")];
        return Ok((StatusCode::SERVICE_UNAVAILABLE, retry, Json(readiness)).into_response());
    }
    let status = match revocations.state {
        "degraded" => "degraded",
        _ => "ok",
    };
    Ok(Json(Readiness {
        status,
        revocations,
        error: None,
    })
    .into_response())
}
