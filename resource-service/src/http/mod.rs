//! The routes, one file per capability, each with its own `router()`.

mod dashboard;
mod health;
mod page;
mod profile;

use axum::Router;
use axum::extract::FromRef;
use service_shell::cors::AllowedOrigins;
use service_shell::limits::Limits;
use service_shell::openapi::documented;
use service_shell::serve::with_shell;
use utoipa_axum::router::OpenApiRouter;

use crate::app::AppState;
pub(crate) use page::Page;

shared_claims::scopes! {
    ProfileRead = "profile:read",
    ProfileWrite = "profile:write",
}

pub(crate) fn router(state: AppState, limits: Limits) -> Router {
    let cors = AllowedOrigins::from_ref(&state).layer();
    let described = OpenApiRouter::new()
        .merge(profile::router())
        .merge(dashboard::router())
        .merge(health::router());
    let description = "Holds the data, and verifies access tokens by itself.";
    let routes = documented("resource-service", description, described).merge(page::router());
    with_shell("resource-service", routes, cors, limits).with_state(state)
}
