//! What clients are granted: tokens for themselves, and tokens on behalf of a user whose token they hold.

use std::net::IpAddr;
use std::time::Duration;

use service_shell::sqlite::StorageError;
use shared_claims::wire::TokenPair;
use shared_claims::{
    AccessClaims, Actor, CallerKind, Clock, NumericDate, Presented, Scope, Signer, Subject,
    TokenError, TokenId, Verifier,
};

use crate::clients::{Client, Clients};
use crate::sessions::{RefreshError, Sessions};

/// What a client must be allowed to ask for, to exchange users' tokens.
pub(crate) const EXCHANGE_SCOPE: &str = "token:exchange";

/// Services that act for one another in a chain, at the most: each makes the token longer.
const MAX_ACTORS: usize = 4;

/// Why nothing is granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrantError {
    #[error("the scope is wider than what may be asked for")]
    Scope,
    #[error("tokens for this audience are not issued")]
    Target,
    #[error("this client may not exchange tokens: it lacks the scope '{EXCHANGE_SCOPE}'")]
    MayNotExchange,
    #[error("the subject token is not a good access token of a user")]
    Subject(#[source] Option<TokenError>),
    #[error("the subject token has been exchanged too often")]
    TooManyActors,
    #[error("the refresh token is not good")]
    Refresh(#[source] RefreshError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<RefreshError> for GrantError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Storage(error) => Self::Storage(error),
            RefreshError::ScopeTooWide => Self::Scope,
            refused => Self::Refresh(refused),
        }
    }
}

/// A token as its issuer sees it (RFC 7662 section 2.2).
#[derive(Debug)]
pub(crate) struct Introspected {
    pub(crate) presented: Presented,
    pub(crate) username: Option<String>,
}

/// Grants tokens to clients.
#[derive(Clone, Debug)]
pub(crate) struct Grants {
    pub(crate) clients: Clients,
    pub(crate) sessions: Sessions,
    pub(crate) signer: Signer,
    pub(crate) verifier: Verifier,
    /// The `iss` of the tokens, and the audience of those for our own routes.
    pub(crate) issuer: Option<String>,
    /// The usual audience.
    pub(crate) audience: Option<String>,
    pub(crate) access_token_expires: Duration,
    pub(crate) clock: Clock,
}

impl Grants {
    /// A token for the client itself (RFC 6749 section 4.4), with all that it is allowed or less.
    pub(crate) fn client_credentials(
        &self,
        client: &Client,
        asked: Option<Scope>,
    ) -> Result<TokenPair, GrantError> {
        let scope = narrow(&client.scope, asked)?;
        let issued_at = NumericDate::from(self.clock.now());
        let claims = AccessClaims {
            subject: Subject::from(client.id.as_str()),
            audience: Vec::new(),
            preferred_username: None,
            client_id: Some(client.id.clone()),
            actor: None,
            fresh: false,
            auth_time: None,
            session: None,
            scope,
            id: Some(TokenId::generate()),
            issued_at: Some(issued_at),
            expires_at: issued_at.after(self.access_token_expires),
        };
        Ok(self.issue(claims))
    }

    /// A pair for a user's refresh token (RFC 6749 section 6), by the rules of `POST /refresh`.
    pub(crate) async fn refresh(
        &self,
        token: &str,
        asked: Option<Scope>,
        ip: Option<IpAddr>,
    ) -> Result<TokenPair, GrantError> {
        let claims = self.verifier.refresh(token).map_err(RefreshError::from)?;
        Ok(self.sessions.refresh(&claims, asked, ip).await?)
    }

    /// A token on behalf of a user (RFC 8693): with no more scope than the user's own, for one audience, good for no
    /// longer than the user's own, and ending with the user's session.
    pub(crate) async fn exchange(
        &self,
        client: &Client,
        subject_token: &str,
        audience: Option<String>,
        asked: Option<Scope>,
    ) -> Result<TokenPair, GrantError> {
        if !client.scope.contains(EXCHANGE_SCOPE) {
            return Err(GrantError::MayNotExchange);
        }
        let subject = self
            .verifier
            .access(subject_token)
            .map_err(|error| GrantError::Subject(Some(error)))?;
        if subject.caller() != CallerKind::User || subject.session.is_none() {
            return Err(GrantError::Subject(None));
        }
        match self.sessions.confirm(&subject).await {
            Ok(()) => {}
            Err(RefreshError::Token(error)) => return Err(GrantError::Subject(Some(error))),
            Err(error) => return Err(error.into()),
        }
        if audience.is_some() && audience != self.audience && audience != self.issuer {
            return Err(GrantError::Target);
        }
        if actors(subject.actor.as_ref()) >= MAX_ACTORS {
            return Err(GrantError::TooManyActors);
        }
        let scope = narrow(&subject.scope, asked)?;
        let issued_at = NumericDate::from(self.clock.now());
        Ok(self.issue(AccessClaims {
            audience: audience.into_iter().collect(),
            actor: Some(Actor {
                client: client.id.clone(),
                before: subject.actor.map(Box::new),
            }),
            fresh: false,
            scope,
            id: Some(TokenId::generate()),
            issued_at: Some(issued_at),
            expires_at: subject
                .expires_at
                .min(issued_at.after(self.access_token_expires)),
            ..subject
        }))
    }

    /// What a token is good for, or `None` for one that is good for nothing (RFC 7662 section 2.2).
    pub(crate) async fn introspect(
        &self,
        token: &str,
    ) -> Result<Option<Introspected>, StorageError> {
        let Ok(presented) = self.verifier.either(token) else {
            return Ok(None);
        };
        let username = match &presented {
            Presented::Refresh(claims) => match self.sessions.answers(claims).await? {
                Some(user) => Some(user.username.to_string()),
                None => return Ok(None),
            },
            Presented::Access(claims) => match self.confirm(claims).await {
                Ok(()) => claims.preferred_username.clone(),
                Err(RefreshError::Storage(error)) => return Err(error),
                Err(_) => return Ok(None),
            },
        };
        Ok(Some(Introspected {
            presented,
            username,
        }))
    }

    /// Ends the session of a token (RFC 7009). A token that is not good any more, or was never, needs no ending.
    pub(crate) async fn revoke(&self, token: &str, ip: Option<IpAddr>) -> Result<(), StorageError> {
        let Ok(presented) = self.verifier.either(token) else {
            return Ok(());
        };
        match self.sessions.log_out(&presented, ip).await {
            Err(RefreshError::Storage(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether an access token is good by the tables, whatever it says itself: the session of a user goes on, and the
    /// account of a service is there and not disabled. The issuer need not wait for the expiry.
    pub(crate) async fn confirm(&self, claims: &AccessClaims) -> Result<(), RefreshError> {
        if let Some(id) = &claims.client_id {
            return if self.clients.is_enabled(id).await? {
                Ok(())
            } else {
                Err(TokenError::Revoked.into())
            };
        }
        self.sessions.confirm(claims).await
    }

    fn issue(&self, claims: AccessClaims) -> TokenPair {
        let expires_in = claims.expires_at.0 - NumericDate::from(self.clock.now()).0;
        TokenPair {
            access_token: self.signer.access(&claims),
            refresh_token: None,
            token_type: "Bearer".into(),
            expires_in,
            refresh_expires_in: None,
            scope: claims.scope,
        }
    }
}

/// What is asked for, or all that may be.
pub(crate) fn narrow(allowed: &Scope, asked: Option<Scope>) -> Result<Scope, GrantError> {
    match asked {
        None => Ok(allowed.clone()),
        Some(asked) if allowed.covers(&asked) => Ok(asked),
        Some(_) => Err(GrantError::Scope),
    }
}

fn actors(actor: Option<&Actor>) -> usize {
    actor.map_or(0, |actor| 1 + actors(actor.before.as_deref()))
}
