//! `GET /health/live`, `GET /health/ready`.

use axum::Json;
use axum::extract::State;
use service_shell::health::{self, Health};
use service_shell::serve::Shell;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::Error;
use crate::app::AppState;
use crate::storage::Store;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(ready))
}

/// Whether this service can do its work
#[utoipa::path(get, path = "/health/ready", tag = "health", responses((status = 200, description = "It can", body = Health)))]
async fn ready(
    State(shell): State<Shell>,
    State(store): State<Store>,
) -> Result<Json<Health>, Error> {
    shell.ready()?;
    store.ping().await?;
    Ok(Health::OK)
}
