//! `POST /oauth/token`, `/oauth/introspect`, `/oauth/revoke`: what OAuth clients that we did not write expect.

mod client_auth;
mod error;
mod introspect;
mod revoke;
mod token;

use axum::Router;
use axum::routing::{any, post};
use http::HeaderName;
use http::header::{CACHE_CONTROL, PRAGMA};

use self::error::OAuthError;
use crate::app::AppState;

/// What every answer about tokens carries (RFC 6749 section 5.1).
const UNCACHED: [(HeaderName, &str); 2] = [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")];

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/oauth/token", post(token::issue))
        .route("/oauth/introspect", post(introspect::introspect))
        .route("/oauth/revoke", post(revoke::revoke))
        .method_not_allowed_fallback(async || OAuthError::MethodNotAllowed)
        .route("/oauth/{*nothing}", any(async || OAuthError::NotFound))
}
