//! Errors in the form of RFC 6749 section 5.2.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use service_shell::client_body::Unread;
use service_shell::problem::{self, Problem};
use service_shell::sqlite::StorageError;
use shared_claims::extract::Cause;
use utoipa::{IntoResponses, ToSchema};

use super::UNCACHED;
use crate::attempts::TooMany;
use crate::grants::GrantError;

/// Display is the `error_description`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OAuthError {
    #[error("{0}")]
    InvalidRequest(String),
    #[error(transparent)]
    Unread(#[from] Unread),
    #[error("The client is unknown, its secret is wrong, or it is disabled")]
    InvalidClient,
    #[error("The grant is not good any more, or was never")]
    InvalidGrant(#[source] GrantError),
    #[error("The client may not use this grant type")]
    UnauthorizedClient(#[source] GrantError),
    #[error(
        "The grant types are client_credentials, refresh_token and urn:ietf:params:oauth:grant-type:token-exchange"
    )]
    UnsupportedGrantType,
    #[error("This token ends by itself: no session of a user's own stands behind it")]
    UnsupportedTokenType,
    #[error("There is nothing at this address")]
    NotFound,
    #[error("This address does not know that method")]
    MethodNotAllowed,
    #[error("The scope is malformed, or wider than what may be asked for")]
    InvalidScope,
    #[error("Tokens for this audience are not issued here")]
    InvalidTarget,
    #[error("The service is overloaded, try again shortly")]
    TemporarilyUnavailable(#[source] StorageError),
    #[error("Too many attempts, try again later")]
    TooMany(#[from] TooMany),
    #[error("Internal error")]
    ServerError(#[source] StorageError),
    /// What the shell around the routes answers by itself.
    #[error(transparent)]
    OfTheShell(#[from] Problem),
}

/// An error (RFC 6749 section 5.2).
#[derive(Serialize, ToSchema)]
#[schema(as = OAuthErrorBody)]
pub(crate) struct Body {
    error: &'static str,
    error_description: String,
}

/// What a route of OAuth answers to a request that does not do, and to a client that it does not know.
#[derive(IntoResponses)]
#[expect(
    dead_code,
    reason = "it stands in the document; OAuthError is what answers"
)]
pub(crate) enum Refused {
    /// `invalid_request`, `invalid_grant`, `invalid_scope`, `invalid_target`, `unauthorized_client`, `unsupported_grant_type`,
    /// `unsupported_token_type`
    #[response(status = 400)]
    Request(Body),
    /// The client has not shown who it is: `invalid_client`
    #[response(status = 401)]
    Client(Body),
    /// The body comes too slowly: `invalid_request`
    #[response(status = 408)]
    TooSlow(Body),
    /// The body is longer than may be, 64 KiB by default: `invalid_request`
    #[response(status = 413)]
    TooLarge(Body),
    /// Too many wrong secrets from this address: `rate_limited`
    #[response(status = 429)]
    TooMany(Body),
    /// What nobody foresaw; the log has it under the request id: `server_error`
    #[response(status = 500)]
    Internal(Body),
    /// There is more to do than can be done in time: `temporarily_unavailable`
    #[response(status = 503)]
    Unavailable(Body),
}

impl OAuthError {
    /// Codes of RFC 6749 section 5.2, RFC 7009 section 2.2.1 and RFC 8693 section 2.2.2.
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::Unread(unread) => (unread.status(), "invalid_request"),
            Self::InvalidClient => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Self::InvalidGrant(_) => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::UnauthorizedClient(_) => (StatusCode::BAD_REQUEST, "unauthorized_client"),
            Self::UnsupportedGrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::UnsupportedTokenType => (StatusCode::BAD_REQUEST, "unsupported_token_type"),
            Self::NotFound => (StatusCode::NOT_FOUND, "invalid_request"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request"),
            Self::InvalidScope => (StatusCode::BAD_REQUEST, "invalid_scope"),
            Self::InvalidTarget => (StatusCode::BAD_REQUEST, "invalid_target"),
            Self::TemporarilyUnavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
            Self::TooMany(too_many) if too_many.undecided => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
            // RFC 6749 knows no code for it; ours is that of the other routes.
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::ServerError(_) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
            Self::OfTheShell(problem) => match problem.status() {
                status @ StatusCode::SERVICE_UNAVAILABLE => (status, "temporarily_unavailable"),
                status => (status, "server_error"),
            },
        }
    }
}

/// How what the shell answers by itself is worded where OAuth clients read it.
pub(in crate::http) fn in_oauth_form(problem: Problem) -> Response {
    OAuthError::from(problem).into_response()
}

impl From<StorageError> for OAuthError {
    fn from(error: StorageError) -> Self {
        match error {
            busy @ StorageError::Busy(_) => Self::TemporarilyUnavailable(busy),
            error => Self::ServerError(error),
        }
    }
}

impl From<GrantError> for OAuthError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Scope => Self::InvalidScope,
            GrantError::Target => Self::InvalidTarget,
            GrantError::MayNotExchange => Self::UnauthorizedClient(error),
            // RFC 8693 section 2.2.2 asks for invalid_request, whatever is wrong with the subject token.
            GrantError::Subject(_) | GrantError::TooManyActors => {
                Self::InvalidRequest(format!("{error}"))
            }
            GrantError::Refresh(_) => Self::InvalidGrant(error),
            GrantError::Unrevocable => Self::UnsupportedTokenType,
            GrantError::Storage(error) => error.into(),
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let (status, error) = self.code();
        let body = Json(Body {
            error,
            error_description: self.to_string(),
        });
        let mut response = (status, UNCACHED, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge =
                HeaderValue::from_static("Basic realm=\"tokenpair\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        let after = match &self {
            Self::TooMany(too_many) => Some(too_many.retry_after),
            Self::OfTheShell(problem) => problem.retry_after(),
            Self::TemporarilyUnavailable(_) => Some(Duration::from_secs(1)),
            _ => None,
        };
        if let Some(after) = after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, problem::retry_after(after));
        }
        if self.source().is_some() || status == StatusCode::UNAUTHORIZED {
            response.extensions_mut().insert(Cause(Arc::new(self)));
        }
        response
    }
}
