//! The tokens that auth-service's own routes take, as extractors.

use std::ops::Deref;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use shared_claims::extract::{CallerLog, bearer_token};
use shared_claims::{AccessClaims, Caller, Presented, RefreshClaims, Requirement, Verifier};

use super::error::Error;
use crate::sessions::Sessions;

/// A refresh token that is signed and unexpired. What it is good for, its session says.
pub(super) struct RefreshCaller(pub(super) RefreshClaims);

impl<S: Send + Sync> FromRequestParts<S> for RefreshCaller
where
    Verifier: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let claims = Verifier::from_ref(state).refresh(bearer_token(&parts.headers)?)?;
        if let Some(log) = parts.extensions.get::<CallerLog>() {
            log.note(&claims.subject, Some(&claims.session));
        }
        Ok(Self(claims))
    }
}

/// A token of either kind that is signed and unexpired.
pub(super) struct AnyToken(pub(super) Presented);

impl<S: Send + Sync> FromRequestParts<S> for AnyToken
where
    Verifier: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let presented = Verifier::from_ref(state).either(bearer_token(&parts.headers)?)?;
        if let Some(log) = parts.extensions.get::<CallerLog>() {
            match &presented {
                Presented::Access(claims) => log.note(&claims.subject, claims.session.as_ref()),
                Presented::Refresh(claims) => log.note(&claims.subject, Some(&claims.session)),
            }
        }
        Ok(Self(presented))
    }
}

/// The caller of a route of auth-service: a [`Caller`] whose session goes on by the table, with no delay.
pub(super) struct LiveCaller<R>(Caller<R>);

impl<R> Deref for LiveCaller<R> {
    type Target = AccessClaims;

    fn deref(&self) -> &AccessClaims {
        &self.0
    }
}

impl<S, R> FromRequestParts<S> for LiveCaller<R>
where
    S: Send + Sync,
    R: Requirement,
    Verifier: FromRef<S>,
    Sessions: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let caller = <Caller<R> as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Sessions::from_ref(state).confirm(&caller).await?;
        Ok(Self(caller))
    }
}
