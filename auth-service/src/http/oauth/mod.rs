//! `POST /oauth/token`, `/oauth/introspect`, `/oauth/revoke`: what OAuth clients that we did not write expect.

mod client_auth;
mod error;
mod introspect;
mod revoke;
mod token;

use axum::routing::any;
use http::HeaderName;
use http::header::{CACHE_CONTROL, PRAGMA};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::error::OAuthError;
pub(super) use self::error::in_oauth_form;
use crate::app::AppState;

/// What every answer about tokens carries (RFC 6749 section 5.1).
const UNCACHED: [(HeaderName, &str); 2] = [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")];

pub(super) fn router() -> OpenApiRouter<AppState> {
    let described = OpenApiRouter::new()
        .routes(routes!(token::issue))
        .routes(routes!(introspect::introspect))
        .routes(routes!(revoke::revoke));
    let (routes, mut document) = described.split_for_parts();
    // A reference to a schema does not bring the schema with it.
    let components = document.components.get_or_insert_default();
    let name = error::Body::name().into_owned();
    components.schemas.insert(name, error::Body::schema());
    let routes = routes
        .method_not_allowed_fallback(async || OAuthError::MethodNotAllowed)
        .route("/oauth/{*nothing}", any(async || OAuthError::NotFound));
    let mut described = OpenApiRouter::from(routes);
    *described.get_openapi_mut() = document;
    described
}
