//! The routes, one file per capability, each with its own `router()`.

mod account;
mod admin;
mod credentials;
mod error;
mod health;
mod metrics;
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
use service_shell::openapi::documented;
use service_shell::serve::Shell;
use utoipa_axum::router::OpenApiRouter;

use crate::app::AppState;
pub(crate) use refresh_cookie::RefreshCookie;

shared_claims::scopes! {
    Admin = "admin",
    RevocationsRead = "revocations:read",
}

/// Where requests wait for a password to be hashed.
pub(crate) const PASSWORD_ROUTES: [&str; 3] = ["/login", "/register", "/me/password"];

/// Every route; that of the metrics unless it is apart.
pub(crate) fn router(state: AppState, with_metrics: bool) -> Router {
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
    let routes = if with_metrics {
        routes.merge(metrics::router())
    } else {
        routes
    };
    let shell = Shell::from_ref(&state).with_wording("/oauth/", oauth::in_oauth_form);
    shell.around(routes, cors).with_state(state)
}

/// The metrics alone, for an address of their own.
pub(crate) fn metrics_router(state: AppState) -> Router {
    let shell = Shell::from_ref(&state);
    shell.around(metrics::router(), None).with_state(state)
}
