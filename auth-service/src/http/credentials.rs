//! The tokens that auth-service's own routes take, as extractors.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;

use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use http::request::Parts;
use shared_claims::extract::CallerLog;
use shared_claims::{
    AccessClaims, Caller, CallerKind, Presented, RefreshClaims, Requirement, TokenError, Verifier,
};

use super::error::Error;
use super::refresh_cookie::RefreshCookie;
use crate::grants::Grants;
use crate::proxies::TrustedProxies;
use crate::sessions::Delivery;

/// A refresh token that is signed and unexpired, and the way that it came. What it is good for, its session says.
pub(super) struct RefreshCaller(pub(super) RefreshClaims, pub(super) Delivery);

impl<S: Send + Sync> FromRequestParts<S> for RefreshCaller
where
    Verifier: FromRef<S>,
    RefreshCookie: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let (token, delivery) = RefreshCookie::from_ref(state).presented(&parts.headers)?;
        let claims = Verifier::from_ref(state).refresh(token)?;
        if let Some(log) = parts.extensions.get::<CallerLog>() {
            log.note(&claims.subject, Some(&claims.session));
        }
        Ok(Self(claims, delivery))
    }
}

/// What a login that asks for the cookie may do with it: set it, and end the session that it was of before.
pub(super) struct CookieLogin {
    cookie: RefreshCookie,
    allowed: Result<Option<RefreshClaims>, Error>,
}

impl CookieLogin {
    /// The cookie, and the refresh token that is good and came in it. Refuses pages that may not use it.
    pub(super) fn allowed(self) -> Result<(RefreshCookie, Option<RefreshClaims>), Error> {
        Ok((self.cookie, self.allowed?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CookieLogin
where
    Verifier: FromRef<S>,
    RefreshCookie: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let cookie = RefreshCookie::from_ref(state);
        let allowed = cookie.guard(&parts.headers).map(|()| {
            let token = cookie.earlier(&parts.headers)?;
            Verifier::from_ref(state).refresh(token).ok()
        });
        Ok(Self { cookie, allowed })
    }
}

/// A token of either kind that is signed and unexpired, and the way that it came. In the cookie there are refresh tokens alone.
pub(super) struct AnyToken(pub(super) Presented, pub(super) Delivery);

impl<S: Send + Sync> FromRequestParts<S> for AnyToken
where
    Verifier: FromRef<S>,
    RefreshCookie: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let (token, delivery) = RefreshCookie::from_ref(state).presented(&parts.headers)?;
        let verifier = Verifier::from_ref(state);
        let presented = match delivery {
            Delivery::Header => verifier.either(token)?,
            Delivery::Cookie => Presented::Refresh(verifier.refresh(token)?),
        };
        if let Some(log) = parts.extensions.get::<CallerLog>() {
            match &presented {
                Presented::Access(claims) => log.note(&claims.subject, claims.session.as_ref()),
                Presented::Refresh(claims) => log.note(&claims.subject, Some(&claims.session)),
            }
        }
        Ok(Self(presented, delivery))
    }
}

/// Asks for a user or a service themselves: not for a service that acts for somebody. What such a service may do for a
/// user is to read their account; their sessions, their password and other people are none of its business.
pub(super) struct InPerson;

impl Requirement for InPerson {
    fn check(claims: &AccessClaims) -> Result<(), TokenError> {
        if claims.actor.is_none() {
            Ok(())
        } else {
            Err(TokenError::WrongCaller {
                expected: CallerKind::User,
            })
        }
    }
}

/// The caller of a route of auth-service: a [`Caller`] whose session or account goes on by the table, with no delay.
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
    Grants: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let caller = <Caller<R> as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Grants::from_ref(state).confirm(&caller).await?;
        Ok(Self(caller))
    }
}

/// Where a request comes from.
pub(super) struct Peer(pub(super) Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Peer
where
    TrustedProxies: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let proxies = TrustedProxies::from_ref(state);
        let client =
            |ConnectInfo(peer): &ConnectInfo<SocketAddr>| proxies.client(peer.ip(), &parts.headers);
        Ok(Self(peer.map(client)))
    }
}
