//! The routes, one file per capability, each with its own `router()`.

mod account;
mod admin;
mod credentials;
mod error;
mod health;
mod oauth;
mod path;
mod refresh_cookie;
mod registration;
mod revocations;
mod sessions;
mod well_known;

use axum::Router;
use axum::extract::FromRef;
use service_shell::cors::AllowedOrigins;
use service_shell::limits::Limits;
use service_shell::openapi::documented;
use service_shell::serve::with_shell;
use utoipa_axum::router::OpenApiRouter;

use crate::app::AppState;
pub(crate) use refresh_cookie::RefreshCookie;

shared_claims::scopes! {
    Admin = "admin",
    RevocationsRead = "revocations:read",
}

pub(crate) fn router(state: AppState, limits: Limits) -> Router {
    let cors = AllowedOrigins::from_ref(&state).layer_with_cookies();
    let described = OpenApiRouter::new()
        .merge(registration::router())
        .merge(sessions::router())
        .merge(account::router())
        .merge(oauth::router())
        .merge(revocations::router())
        .merge(admin::router())
        .merge(well_known::router())
        .merge(health::router());
    let description = "Knows the users, checks passwords, and issues access and refresh tokens.";
    let routes = documented("auth-service", description, described);
    with_shell("auth-service", routes, cors, limits).with_state(state)
}
