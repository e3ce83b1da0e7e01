//! The routes, one file per capability, each with its own `router()`.

mod dashboard;
mod health;
mod metrics;
mod page;
mod profile;

use axum::Router;
use axum::extract::FromRef;
use service_shell::cors::AllowedOrigins;
use service_shell::openapi::documented;
use service_shell::serve::Shell;
use utoipa_axum::router::OpenApiRouter;

use crate::app::AppState;
pub(crate) use page::Page;

shared_claims::scopes! {
    ProfileRead = "profile:read",
    ProfileWrite = "profile:write",
}

/// Every route; that of the metrics unless it is apart.
pub(crate) fn router(state: AppState, with_metrics: bool) -> Router {
    let cors = AllowedOrigins::from_ref(&state).layer();
    let described = OpenApiRouter::new()
        .merge(profile::router())
        .merge(dashboard::router())
        .merge(health::router());
    let description = "Holds the data, and verifies access tokens by itself.";
    let routes = documented("resource-service", description, described).merge(page::router());
    let routes = if with_metrics {
        routes.merge(metrics::router())
    } else {
        routes
    };
    let shell = Shell::from_ref(&state);
    shell.around(routes, cors).with_state(state)
}

/// The metrics alone, for an address of their own.
pub(crate) fn metrics_router(state: AppState) -> Router {
    let shell = Shell::from_ref(&state);
    shell.around(metrics::router(), None).with_state(state)
}
