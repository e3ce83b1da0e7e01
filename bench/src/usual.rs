//! The route as it is usually put together: jsonwebtoken's own `decode` in an extractor, tower-http's layers around it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::routing::get;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderName, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{
    MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::{Level, Span, info_span};

use crate::bare::Item;
use crate::route::{AUDIENCE, ISSUER, SECRET};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Clone)]
struct Checks(Arc<(DecodingKey, Validation)>);

impl Checks {
    fn new() -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "sub", "iss", "aud"]);
        validation.leeway = 0;
        Self(Arc::new((
            DecodingKey::from_secret(SECRET.as_bytes()),
            validation,
        )))
    }
}

/// The claims that a handler may ask for.
#[derive(Deserialize)]
#[expect(
    dead_code,
    reason = "a handler that wants them costs no less than one that does not"
)]
struct Claims {
    sub: String,
    #[serde(rename = "type")]
    kind: String,
    preferred_username: Option<String>,
    fresh: bool,
    auth_time: Option<i64>,
    sid: Option<String>,
    scope: String,
    jti: Option<String>,
    iat: Option<i64>,
    exp: i64,
}

impl FromRequestParts<Checks> for Claims {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, checks: &Checks) -> Result<Self, StatusCode> {
        let token = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .ok_or(StatusCode::UNAUTHORIZED)?;
        let (key, validation) = &*checks.0;
        let claims = decode::<Self>(token, key, validation)
            .map_err(|_| StatusCode::UNAUTHORIZED)?
            .claims;
        if claims.kind != "access" {
            return Err(StatusCode::UNAUTHORIZED);
        }
        if !claims.scope.split(' ').any(|scope| scope == "profile:read") {
            return Err(StatusCode::FORBIDDEN);
        }
        Ok(claims)
    }
}

pub(crate) fn routes() -> Router {
    let layers = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(X_REQUEST_ID, MakeRequestUuid))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_response(DefaultOnResponse::new().level(Level::INFO)),
        )
        .layer(PropagateRequestIdLayer::new(X_REQUEST_ID))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            Duration::from_secs(30),
        ))
        .layer(CatchPanicLayer::new());
    Router::new()
        .route("/item", get(async |_: Claims| Item::json()))
        .layer(layers)
        .with_state(Checks::new())
}

fn span(request: &Request) -> Span {
    let id = request.extensions().get::<RequestId>();
    info_span!(
        "request",
        method = request.method().as_str(),
        path = request.uri().path(),
        request_id = id.and_then(|id| id.header_value().to_str().ok()),
    )
}
