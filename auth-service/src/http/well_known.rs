//! `/.well-known/oauth-authorization-server` (RFC 8414), `/.well-known/jwks.json` (RFC 7517).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::Uri;
use http::header::CACHE_CONTROL;
use serde::Serialize;
use shared_claims::JwkSet;
use shared_claims::Verifier;
use shared_claims::wire::ErrorBody;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::Error;
use crate::app::AppState;
use crate::grants::{Grants, TOKEN_EXCHANGE};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(metadata))
        .routes(routes!(keys))
}

/// What a client may keep: it changes with the settings alone.
const METADATA_AGE: &str = "public, max-age=3600";
/// A key is published before it signs.
const KEYS_AGE: &str = "public, max-age=300";

const CLIENT_AUTHENTICATION: [&str; 2] = ["client_secret_basic", "client_secret_post"];

/// RFC 8414 section 2, as far as there is something to tell.
#[derive(Serialize, ToSchema)]
struct Metadata {
    issuer: String,
    token_endpoint: String,
    #[schema(value_type = Vec<String>)]
    token_endpoint_auth_methods_supported: [&'static str; 2],
    #[schema(value_type = Vec<String>)]
    grant_types_supported: [&'static str; 3],
    /// There is no authorization endpoint that could respond with anything; the field is required.
    #[schema(value_type = Vec<String>)]
    response_types_supported: [&'static str; 0],
    introspection_endpoint: String,
    #[schema(value_type = Vec<String>)]
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    revocation_endpoint: String,
    #[schema(value_type = Vec<String>)]
    revocation_endpoint_auth_methods_supported: [&'static str; 3],
    jwks_uri: String,
}

/// The endpoints for OAuth clients (RFC 8414)
///
/// An issuer that is no address of a service has none to tell of.
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "discovery", responses((status = 200, description = "The metadata", body = Metadata), (status = 404, description = "The issuer is no address: `not_found`", body = ErrorBody)))]
async fn metadata(State(grants): State<Grants>) -> Result<Response, Error> {
    let issuer = grants.issuer.filter(|issuer| is_address(issuer));
    let issuer = issuer.ok_or(Error::NotFound("There is nothing at this address"))?;
    let base = issuer.trim_end_matches('/').to_owned();
    let [basic, post] = CLIENT_AUTHENTICATION;
    let metadata = Metadata {
        token_endpoint: format!("{base}/oauth/token"),
        token_endpoint_auth_methods_supported: CLIENT_AUTHENTICATION,
        grant_types_supported: ["client_credentials", "refresh_token", TOKEN_EXCHANGE],
        response_types_supported: [],
        introspection_endpoint: format!("{base}/oauth/introspect"),
        introspection_endpoint_auth_methods_supported: CLIENT_AUTHENTICATION,
        revocation_endpoint: format!("{base}/oauth/revoke"),
        // A public client has the token itself to show.
        revocation_endpoint_auth_methods_supported: [basic, post, "none"],
        jwks_uri: format!("{base}/.well-known/jwks.json"),
        issuer,
    };
    Ok(([(CACHE_CONTROL, METADATA_AGE)], Json(metadata)).into_response())
}

/// RFC 8414 section 2: a URL without query and fragment.
fn is_address(issuer: &str) -> bool {
    let uri = Uri::try_from(issuer).ok();
    uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.query().is_none()
            && !issuer.contains('#')
    })
}

/// The public keys that tokens may be verified with (RFC 7517), be it the next, the current or a previous one
///
/// A common secret is nothing to be published.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "discovery", responses((status = 200, description = "The keys", body = JwkSet)))]
async fn keys(State(verifier): State<Verifier>) -> Response {
    let keys = Json(verifier.published_keys());
    ([(CACHE_CONTROL, KEYS_AGE)], keys).into_response()
}
