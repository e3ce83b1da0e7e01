//! Extractors for axum: authorisation stands in the handler's signature, where nobody can forget it.

use std::error::Error;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::claims::AccessClaims;
use crate::error::{CallerKind, TokenError};
use crate::id::{SessionId, Subject};
use crate::verifier::Verifier;

/// What a handler asks of its caller's token, beyond its being good.
pub trait Requirement: Send + Sync + 'static {
    /// Whether the token has it.
    ///
    /// # Errors
    /// What the caller is told when it has not.
    fn check(claims: &AccessClaims) -> Result<(), TokenError>;
}

/// Asks for a good access token and nothing more.
#[derive(Clone, Copy, Debug)]
pub struct Authenticated;

impl Requirement for Authenticated {
    fn check(_: &AccessClaims) -> Result<(), TokenError> {
        Ok(())
    }
}

/// Asks for a token from a login rather than from a refresh.
#[derive(Clone, Copy, Debug)]
pub struct Fresh;

impl Requirement for Fresh {
    fn check(claims: &AccessClaims) -> Result<(), TokenError> {
        if claims.fresh {
            Ok(())
        } else {
            Err(TokenError::FreshRequired)
        }
    }
}

/// Asks for a user, be it that a service acts for them.
#[derive(Clone, Copy, Debug)]
pub struct User;

impl Requirement for User {
    fn check(claims: &AccessClaims) -> Result<(), TokenError> {
        is_a(claims, CallerKind::User)
    }
}

/// Asks for a service account.
#[derive(Clone, Copy, Debug)]
pub struct Service;

impl Requirement for Service {
    fn check(claims: &AccessClaims) -> Result<(), TokenError> {
        is_a(claims, CallerKind::Service)
    }
}

fn is_a(claims: &AccessClaims, expected: CallerKind) -> Result<(), TokenError> {
    if claims.caller() == expected {
        Ok(())
    } else {
        Err(TokenError::WrongCaller { expected })
    }
}

impl<A: Requirement, B: Requirement> Requirement for (A, B) {
    fn check(claims: &AccessClaims) -> Result<(), TokenError> {
        A::check(claims)?;
        B::check(claims)
    }
}

/// Declares scopes as types, to be named in handlers' signatures: `scopes! { OrdersRead = "orders:read" }`.
#[macro_export]
macro_rules! scopes {
    ($($name:ident = $scope:literal),+ $(,)?) => {$(
        #[doc = concat!("Asks for the scope `", $scope, "`.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl $name {
            /// The scope token.
            #[allow(dead_code, reason = "most ask for it by the type alone")]
            pub const SCOPE: &'static str = $scope;
        }

        impl $crate::extract::Requirement for $name {
            fn check(claims: &$crate::AccessClaims) -> Result<(), $crate::TokenError> {
                if claims.scope.contains($scope) { Ok(()) } else { Err($crate::TokenError::InsufficientScope { required: $scope }) }
            }
        }
    )+};
}

/// The caller of a protected route, as a verified access token describes them. Dereferences to the claims.
///
/// `Option<Caller>` is for routes that serve anybody: no token is `None`, a bad one is still refused.
#[derive(Clone, Debug)]
pub struct Caller<R = Authenticated> {
    claims: Arc<AccessClaims>,
    requirement: PhantomData<R>,
}

impl<R> Deref for Caller<R> {
    type Target = AccessClaims;

    fn deref(&self) -> &AccessClaims {
        &self.claims
    }
}

impl<R> Caller<R> {
    /// The claims by themselves.
    #[must_use]
    pub fn into_claims(self) -> AccessClaims {
        Arc::unwrap_or_clone(self.claims)
    }
}

impl<S, R> FromRequestParts<S> for Caller<R>
where
    S: Send + Sync,
    R: Requirement,
    Verifier: FromRef<S>,
{
    type Rejection = TokenError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, TokenError> {
        let verifier = Verifier::from_ref(state);
        let token = bearer_token(&parts.headers)?;
        let claims = verifier.access_or_look(token).await?;
        if let Some(log) = parts.extensions.get::<CallerLog>() {
            log.note(&claims.subject, claims.session.as_ref());
        }
        R::check(&claims)?;
        Ok(Self {
            claims,
            requirement: PhantomData,
        })
    }
}

impl<S, R> OptionalFromRequestParts<S> for Caller<R>
where
    S: Send + Sync,
    R: Requirement,
    Verifier: FromRef<S>,
{
    type Rejection = TokenError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, TokenError> {
        match <Self as FromRequestParts<S>>::from_request_parts(parts, state).await {
            Err(TokenError::Missing) => Ok(None),
            other => other.map(Some),
        }
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 section 2.1). The scheme's case does not matter (RFC 9110
/// section 11.1).
///
/// # Errors
/// [`TokenError::Missing`], or [`TokenError::MalformedHeader`] for another scheme, no token, or several headers.
pub fn bearer_token(headers: &HeaderMap) -> Result<&str, TokenError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(TokenError::Missing)?;
    if values.next().is_some() {
        return Err(TokenError::MalformedHeader);
    }
    let value = value.to_str().map_err(|_| TokenError::MalformedHeader)?;
    // `to_str` left visible ASCII, spaces and tabs. This runs for every request: bytes are found faster than patterns.
    let (scheme, token) = value
        .split_at_checked(6)
        .ok_or(TokenError::MalformedHeader)?;
    let token = token
        .strip_prefix(' ')
        .ok_or(TokenError::MalformedHeader)?
        .trim_ascii();
    let one_word = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !scheme.eq_ignore_ascii_case("bearer") || !one_word {
        return Err(TokenError::MalformedHeader);
    }
    Ok(token)
}

/// Where a request-log layer that puts one into the request's extensions finds who called. Clones share the note.
#[derive(Clone, Debug, Default)]
pub struct CallerLog(Arc<OnceLock<(Subject, Option<SessionId>)>>);

impl CallerLog {
    /// Remembers the caller; the first note stands.
    pub fn note(&self, subject: &Subject, session: Option<&SessionId>) {
        self.0.get_or_init(|| (subject.clone(), session.cloned()));
    }

    /// Who called, once it is known.
    #[must_use]
    pub fn caller(&self) -> Option<(&Subject, Option<&SessionId>)> {
        self.0
            .get()
            .map(|(subject, session)| (subject, session.as_ref()))
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).expect("401, 403 and 503 are statuses");
        let mut response = (status, Json(self.body())).into_response();
        let (name, value) = match self.challenge() {
            Some(challenge) => (
                WWW_AUTHENTICATE,
                HeaderValue::try_from(challenge).expect("a challenge is made of visible ASCII"),
            ),
            None => (RETRY_AFTER, HeaderValue::from_static("1")),
        };
        response.headers_mut().insert(name, value);
        response.extensions_mut().insert(Cause(Arc::new(self)));
        response
    }
}

/// What a request-log layer finds in a response's extensions: the error behind it, whose `source()` only the log may
/// read.
#[derive(Clone, Debug)]
pub struct Cause(pub Arc<dyn Error + Send + Sync>);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::extract::State;
    use axum::routing::get;
    use futures_util::{StreamExt, stream};
    use http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        Clock, NumericDate, Parties, RevokedSessions, Scope, SharedSecret, Signer, VerifyingKeys,
    };

    async fn follow(State(verifier): State<Verifier>, caller: Caller) -> Body {
        let ticks = stream::iter(["first"]).chain(stream::pending());
        let ticks = ticks.map(Ok::<_, std::convert::Infallible>);
        Body::from_stream(ticks.take_until(verifier.ended(&caller)))
    }

    #[tokio::test]
    async fn a_stream_is_cut_when_the_session_of_its_token_ends() {
        let secret = SharedSecret::parse("a-secret-for-tests-of-at-least-32-bytes").unwrap();
        let parties = Parties::new("", "");
        let now = NumericDate::from(Clock::system().now());
        let token = Signer::new(secret.signing_key(), parties.clone()).access(&AccessClaims {
            subject: "user".into(),
            audience: Vec::new(),
            preferred_username: None,
            client_id: None,
            actor: None,
            fresh: false,
            auth_time: None,
            session: Some("session".into()),
            scope: Scope::empty(),
            id: None,
            issued_at: None,
            expires_at: now.after(Duration::from_mins(15)),
        });
        let revoked = RevokedSessions::new();
        let keys = VerifyingKeys::new([secret.verifying_key()]);
        let verifier = Verifier::new(keys, parties).with_revoked(revoked.clone());
        let routes = Router::new()
            .route("/follow", get(follow))
            .with_state(verifier);
        let request = Request::get("/follow")
            .header(AUTHORIZATION, format!("Bearer {}", token.expose()))
            .body(Body::empty());
        let answer = routes.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let read = tokio::spawn(to_bytes(answer.into_body(), usize::MAX));
        tokio::task::yield_now().await;
        assert!(!read.is_finished());
        revoked.insert("session".into(), NumericDate(i64::MAX));
        assert_eq!(read.await.unwrap().unwrap(), "first");
    }
}
