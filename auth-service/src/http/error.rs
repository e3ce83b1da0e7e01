//! What goes wrong, as the world may read it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde::Serialize;
use service_shell::problem::Problem;
use service_shell::sqlite::StorageError;
use shared_claims::TokenError;
use shared_claims::extract::Cause;
use shared_claims::wire::{ErrorBody, bearer_challenge};
use utoipa::ToSchema;

use crate::attempts::TooMany;
use crate::hashing::HashingError;
use crate::revocations::TooManySubscribers;
use crate::sessions::RefreshError;
use crate::users::{AuthenticateError, RegisterError, SetPasswordError};

/// Display is what the client reads; the source is for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("Bad username or password")]
    BadCredentials(#[source] AuthenticateError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("{}", RefreshError::Reused)]
    RefreshTokenReused,
    #[error("Present one token, in the Authorization header or in the cookie")]
    SeveralTokens,
    #[error("Pages of this origin may not use the refresh cookie")]
    OriginNotAllowed,
    #[error("That username is taken")]
    UsernameTaken,
    #[error("That client id is taken")]
    ClientIdTaken,
    #[error(
        "This client has told of as many subscribers as may be; let one of them say goodbye first"
    )]
    ClientHasTooManySubscribers,
    #[error("Registration is closed here; ask an administrator for an account")]
    RegistrationClosed,
    #[error("{0}")]
    NotFound(&'static str),
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error("Too many attempts, try again later")]
    TooMany(#[from] TooMany),
    #[error("Internal error")]
    Hashing(#[from] HashingError),
    #[error("Internal error")]
    Storage(#[from] StorageError),
}

impl From<AuthenticateError> for Error {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::TooMany(error) => Self::TooMany(error),
            AuthenticateError::Hashing(error) => Self::Hashing(error),
            AuthenticateError::Storage(error) => Self::Storage(error),
            refused => Self::BadCredentials(refused),
        }
    }
}

impl From<TooManySubscribers> for Error {
    fn from(error: TooManySubscribers) -> Self {
        let retry_after = Duration::from_secs(5);
        Self::Problem(Problem::overloaded(retry_after).because(Arc::new(error)))
    }
}

impl From<RegisterError> for Error {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::UsernameTaken => Self::UsernameTaken,
            RegisterError::TooMany(error) => Self::TooMany(error),
            RegisterError::Hashing(error) => Self::Hashing(error),
            RegisterError::Storage(error) => Self::Storage(error),
        }
    }
}

impl From<SetPasswordError> for Error {
    fn from(error: SetPasswordError) -> Self {
        match error {
            SetPasswordError::Hashing(error) => Self::Hashing(error),
            SetPasswordError::Storage(error) => Self::Storage(error),
        }
    }
}

impl From<RefreshError> for Error {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Token(error) => Self::Token(error),
            RefreshError::Reused => Self::RefreshTokenReused,
            too_wide @ RefreshError::ScopeTooWide => {
                Self::Problem(Problem::invalid_request(too_wide.to_string()))
            }
            RefreshError::Storage(error) => Self::Storage(error),
        }
    }
}

/// A refused login says its sentence under `error` too, where clients of the Flask lesson look for it.
#[derive(Serialize, ToSchema)]
pub(super) struct BadCredentialsBody {
    #[serde(flatten)]
    body: ErrorBody,
    error: String,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let sentence = self.to_string();
        match self {
            Self::Token(error) => error.into_response(),
            Self::BadCredentials(refused) => {
                let body = BadCredentialsBody {
                    body: ErrorBody::new("bad_credentials", &sentence),
                    error: sentence,
                };
                let challenge = [(WWW_AUTHENTICATE, bearer_challenge(None))];
                let mut response =
                    (StatusCode::UNAUTHORIZED, challenge, Json(body)).into_response();
                response.extensions_mut().insert(Cause(Arc::new(refused)));
                response
            }
            Self::RefreshTokenReused => {
                let challenge = [(
                    WWW_AUTHENTICATE,
                    bearer_challenge(Some(("invalid_token", &sentence))),
                )];
                (
                    challenge,
                    Problem::new(StatusCode::UNAUTHORIZED, "refresh_token_reused", sentence),
                )
                    .into_response()
            }
            Self::SeveralTokens => Problem::invalid_request(sentence).into_response(),
            Self::OriginNotAllowed => {
                Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", sentence).into_response()
            }
            Self::UsernameTaken => {
                Problem::new(StatusCode::CONFLICT, "username_taken", sentence).into_response()
            }
            Self::ClientIdTaken => {
                Problem::new(StatusCode::CONFLICT, "client_id_taken", sentence).into_response()
            }
            Self::ClientHasTooManySubscribers => {
                Problem::new(StatusCode::CONFLICT, "too_many_subscribers", sentence).into_response()
            }
            Self::RegistrationClosed => {
                Problem::new(StatusCode::FORBIDDEN, "registration_closed", sentence).into_response()
            }
            Self::NotFound(_) => {
                Problem::new(StatusCode::NOT_FOUND, "not_found", sentence).into_response()
            }
            Self::Problem(problem) => problem.into_response(),
            Self::TooMany(too_many) if too_many.undecided => {
                Problem::overloaded(too_many.retry_after)
                    .because(Arc::new(too_many))
                    .into_response()
            }
            Self::TooMany(too_many) => Problem::rate_limited(too_many.retry_after)
                .because(Arc::new(too_many))
                .into_response(),
            Self::Hashing(HashingError::Overloaded { retry_after }) => {
                let cause = HashingError::Overloaded { retry_after };
                Problem::overloaded(retry_after)
                    .because(Arc::new(cause))
                    .into_response()
            }
            Self::Hashing(error @ HashingError::Failed) => Problem::internal(error).into_response(),
            Self::Storage(error) => Problem::from(error).into_response(),
        }
    }
}
