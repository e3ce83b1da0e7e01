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
use service_shell::serve::with_shell;

use crate::app::AppState;
pub(crate) use refresh_cookie::RefreshCookie;

shared_claims::scopes! {
    Admin = "admin",
    RevocationsRead = "revocations:read",
}

pub(crate) fn router(state: AppState) -> Router {
    let cors = AllowedOrigins::from_ref(&state).layer_with_cookies();
    let routes = Router::new()
        .merge(registration::router())
        .merge(sessions::router())
        .merge(account::router())
        .merge(oauth::router())
        .merge(revocations::router())
        .merge(admin::router())
        .merge(well_known::router())
        .merge(health::router());
    with_shell("auth-service", routes, cors).with_state(state)
}
