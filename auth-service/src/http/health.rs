//! `GET /health/live`, `GET /health/ready`.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use service_shell::health::{self, Health};

use super::error::Error;
use crate::app::AppState;
use crate::storage::Store;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(ready))
}

async fn ready(State(store): State<Store>) -> Result<Json<Health>, Error> {
    store.ping().await?;
    Ok(Health::OK)
}
