//! `POST /oauth/introspect` (RFC 7662).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared_claims::{Actor, ClientId, NumericDate, Presented, Scope, SessionId, Subject, TokenId};
use utoipa::ToSchema;

use super::UNCACHED;
use super::client_auth::ClientRequest;
use super::error::{OAuthError, Refused};
use crate::grants::{Grants, Introspected};

/// RFC 7662 section 2.2. Of a token that is not good, nothing is said but that.
#[derive(Default, Serialize, ToSchema)]
struct Introspection {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    scope: Option<Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    client_id: Option<ClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = false)]
    exp: Option<NumericDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = false)]
    iat: Option<NumericDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    sub: Option<Subject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    aud: Option<Audience>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    jti: Option<TokenId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    sid: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = HashMap<String, serde_json::Value>, required = false)]
    act: Option<Actor>,
}

/// As in the token: one is a string, and several are a list (RFC 7519 section 4.1.3).
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn of(mut audience: Vec<String>) -> Option<Self> {
        match audience.len() {
            0 => None,
            1 => audience.pop().map(Self::One),
            _ => Some(Self::Several(audience)),
        }
    }
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
                aud: Audience::of(claims.audience),
                jti: claims.id,
                sid: claims.session,
                act: claims.actor,
                ..known
            },
            Presented::Refresh(claims) => Self {
                exp: Some(claims.expires_at),
                iat: Some(claims.issued_at),
                sub: Some(claims.subject),
                aud: iss.map(Audience::One),
                jti: Some(claims.id),
                sid: Some(claims.session),
                ..known
            },
        }
    }
}

/// A token in question.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it stands in the document; the form is read field by field"
)]
pub(super) struct TokenInQuestion {
    token: String,
    /// Not needed: tokens of both kinds are known by what they say
    token_type_hint: Option<String>,
    /// Where the client does not authenticate by the header
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// Tells a client what a token is good for (RFC 7662)
#[utoipa::path(post, path = "/oauth/introspect", tag = "OAuth", security(("client" = []), ()), request_body(content = TokenInQuestion, content_type = "application/x-www-form-urlencoded"), responses((status = 200, description = "What it is good for; of one that is good for nothing, just that", body = Introspection), Refused))]
pub(super) async fn introspect(
    State(grants): State<Grants>,
    request: ClientRequest,
) -> Result<Response, OAuthError> {
    let introspected = grants.introspect(request.form.required("token")?).await?;
    let issuer = grants.issuer.clone();
    let introspection = introspected.map(|introspected| Introspection::new(introspected, issuer));
    Ok((UNCACHED, Json(introspection.unwrap_or_default())).into_response())
}
