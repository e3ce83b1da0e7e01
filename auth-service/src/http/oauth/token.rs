//! `POST /oauth/token`: client credentials, refresh token, token exchange.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::Uri;
use serde::Serialize;
use shared_claims::wire::TokenPair;
use utoipa::ToSchema;

use super::super::credentials::Peer;
use super::UNCACHED;
use super::client_auth::ClientRequest;
use super::error::{OAuthError, Refused};
use crate::grants::{Grants, TOKEN_EXCHANGE};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// RFC 6749 section 5.1, with what RFC 8693 section 2.2.1 adds.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedToken)]
pub(super) struct Issued {
    #[serde(flatten)]
    tokens: TokenPair,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    issued_token_type: Option<&'static str>,
}

/// What a client asks for, as [`Form`](super::client_auth::Form) reads it.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it stands in the document; the form is read field by field"
)]
struct TokenRequest {
    /// `client_credentials`, `refresh_token` or `urn:ietf:params:oauth:grant-type:token-exchange`
    #[schema(example = "client_credentials")]
    grant_type: String,
    /// What is asked for: all that may be, without
    scope: Option<String>,
    refresh_token: Option<String>,
    subject_token: Option<String>,
    subject_token_type: Option<String>,
    requested_token_type: Option<String>,
    audience: Option<String>,
    resource: Option<String>,
    /// Where the client does not authenticate by the header
    client_id: Option<String>,
    client_secret: Option<String>,
}

impl IntoResponse for Issued {
    fn into_response(self) -> Response {
        (UNCACHED, Json(self)).into_response()
    }
}

/// Gives a token to a client: for itself, for a refresh token, or on behalf of a user (RFC 6749, RFC 8693)
#[utoipa::path(post, path = "/oauth/token", tag = "OAuth", security(("client" = []), ()), request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"), responses((status = 200, description = "The token", body = Issued), Refused))]
pub(super) async fn issue(
    State(grants): State<Grants>,
    Peer(ip): Peer,
    request: ClientRequest,
) -> Result<Issued, OAuthError> {
    match request.form.required("grant_type")? {
        "client_credentials" => {
            let tokens = grants.client_credentials(&request.client, request.form.scope()?)?;
            Ok(Issued {
                tokens,
                issued_token_type: None,
            })
        }
        "refresh_token" => {
            let token = request.form.required("refresh_token")?;
            let tokens = grants.refresh(token, request.form.scope()?, ip).await?;
            Ok(Issued {
                tokens,
                issued_token_type: None,
            })
        }
        TOKEN_EXCHANGE => exchange(&grants, &request).await,
        _ => Err(OAuthError::UnsupportedGrantType),
    }
}

async fn exchange(grants: &Grants, request: &ClientRequest) -> Result<Issued, OAuthError> {
    let form = &request.form;
    let subject = form.required("subject_token")?;
    let kinds = [
        Some(form.required("subject_token_type")?),
        form.optional("requested_token_type"),
    ];
    if kinds
        .into_iter()
        .flatten()
        .any(|kind| kind != ACCESS_TOKEN && kind != JWT)
    {
        return Err(OAuthError::InvalidRequest(
            "Only access tokens are exchanged, and for access tokens".to_owned(),
        ));
    }
    if form.optional("actor_token").is_some() || form.optional("actor_token_type").is_some() {
        let msg = "The actor is the client that asks: an actor_token is not taken";
        return Err(OAuthError::InvalidRequest(msg.to_owned()));
    }
    // What is meant by a resource's address is what an audience names (RFC 8693 section 2.1).
    let (mut targets, resources) = (form.all("audience"), form.all("resource"));
    let absolute = |resource: &String| {
        Uri::try_from(resource).is_ok_and(|uri| uri.scheme().is_some()) && !resource.contains('#')
    };
    if !resources.iter().all(absolute) {
        return Err(OAuthError::InvalidTarget);
    }
    targets.extend(resources);
    targets.sort();
    targets.dedup();
    let tokens = grants
        .exchange(&request.client, subject, targets, form.scope()?)
        .await?;
    Ok(Issued {
        tokens,
        issued_token_type: Some(ACCESS_TOKEN),
    })
}
