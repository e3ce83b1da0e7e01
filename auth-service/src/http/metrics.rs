//! `GET /metrics`.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

use crate::app::AppState;
use crate::metrics::Monitor;

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/metrics", get(show))
}

async fn show(State(monitor): State<Monitor>) -> Response {
    monitor.answer().await
}
