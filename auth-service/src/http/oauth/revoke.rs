//! `POST /oauth/revoke` (RFC 7009).

use axum::extract::State;
use http::StatusCode;

use super::super::credentials::Peer;
use super::client_auth::AnyRequest;
use super::error::{OAuthError, Refused};
use super::introspect::TokenInQuestion;
use crate::grants::Grants;

/// Ends the session of a token (RFC 7009)
///
/// Revoking a token ends its session, and with it every token of that session (RFC 7009 section 2.1). A public client has
/// the token itself to show. A token that is no longer good has been revoked already: the answer is the same.
#[utoipa::path(post, path = "/oauth/revoke", tag = "OAuth", security(("client" = []), ()), request_body(content = TokenInQuestion, content_type = "application/x-www-form-urlencoded"), responses((status = 200, description = "The session is over, or was before"), Refused))]
pub(super) async fn revoke(
    State(grants): State<Grants>,
    Peer(ip): Peer,
    request: AnyRequest,
) -> Result<StatusCode, OAuthError> {
    grants.revoke(request.form.required("token")?, ip).await?;
    Ok(StatusCode::OK)
}
