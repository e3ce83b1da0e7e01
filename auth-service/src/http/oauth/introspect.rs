//! `POST /oauth/introspect` (RFC 7662).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared_claims::{Actor, ClientId, NumericDate, Presented, Scope, SessionId, Subject, TokenId};

use super::UNCACHED;
use super::client_auth::ClientRequest;
use super::error::OAuthError;
use crate::grants::{Grants, Introspected};

/// RFC 7662 section 2.2. Of a token that is not good, nothing is said but that.
#[derive(Default, Serialize)]
struct Introspection {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<ClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<NumericDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<NumericDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<Subject>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aud: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<TokenId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Actor>,
}

impl Introspection {
    fn new(introspected: Introspected, iss: Option<String>) -> Self {
        let Introspected {
            presented,
            username,
        } = introspected;
        let known = Self {
            active: true,
            username,
            iss: iss.clone(),
            ..Self::default()
        };
        match presented {
            Presented::Access(claims) => Self {
                scope: Some(claims.scope),
                client_id: claims
                    .client_id
                    .or(claims.actor.as_ref().map(|actor| actor.client.clone())),
                token_type: Some("Bearer"),
                exp: Some(claims.expires_at),
                iat: claims.issued_at,
                sub: Some(claims.subject),
                aud: claims.audience,
                jti: claims.id,
                sid: claims.session,
                act: claims.actor,
                ..known
            },
            Presented::Refresh(claims) => Self {
                exp: Some(claims.expires_at),
                iat: Some(claims.issued_at),
                sub: Some(claims.subject),
                aud: iss.into_iter().collect(),
                jti: Some(claims.id),
                sid: Some(claims.session),
                ..known
            },
        }
    }
}

pub(super) async fn introspect(
    State(grants): State<Grants>,
    request: ClientRequest,
) -> Result<Response, OAuthError> {
    let introspected = grants.introspect(request.form.required("token")?).await?;
    let issuer = grants.issuer.clone();
    let introspection = introspected.map(|introspected| Introspection::new(introspected, issuer));
    Ok((UNCACHED, Json(introspection.unwrap_or_default())).into_response())
}
