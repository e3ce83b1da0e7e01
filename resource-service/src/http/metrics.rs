//! `GET /metrics`.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use service_shell::metrics;

use crate::app::AppState;
use crate::metrics::Monitor;

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/metrics", get(show))
}

async fn show(State(Monitor(registry)): State<Monitor>) -> Response {
    metrics::answer(&registry)
}
