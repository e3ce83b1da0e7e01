//! `POST /oauth/token`, `/oauth/introspect`, `/oauth/revoke`: what OAuth clients that we did not write expect.

mod client_auth;
mod error;
mod introspect;
mod revoke;
mod token;

use axum::Router;
use axum::routing::post;

use crate::app::AppState;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/oauth/token", post(token::issue))
        .route("/oauth/introspect", post(introspect::introspect))
        .route("/oauth/revoke", post(revoke::revoke))
}
