//! `POST /oauth/revoke` (RFC 7009).

use axum::extract::State;
use http::StatusCode;

use super::super::credentials::Peer;
use super::client_auth::AnyRequest;
use super::error::OAuthError;
use crate::grants::Grants;

/// Revoking a token ends its session, and with it every token of that session (RFC 7009 section 2.1). A public client has
/// the token itself to show. A token that is no longer good has been revoked already: the answer is the same.
pub(super) async fn revoke(
    State(grants): State<Grants>,
    Peer(ip): Peer,
    request: AnyRequest,
) -> Result<StatusCode, OAuthError> {
    grants.revoke(request.form.required("token")?, ip).await?;
    Ok(StatusCode::OK)
}
