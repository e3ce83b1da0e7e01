//! What clients are granted: tokens for themselves, and tokens on behalf of a user whose token they hold.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use service_shell::sqlite::StorageError;
use shared_claims::wire::TokenPair;
use shared_claims::{
    AccessClaims, Actor, CallerKind, Clock, NumericDate, Presented, Scope, Signer, Subject,
    TokenError, TokenId, Verifier,
};

use crate::clients::{Client, Clients};
use crate::sessions::{Delivery, RefreshError, Sessions};

/// The grant type of RFC 8693 section 2.1.
pub(crate) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// What a client must be allowed to ask for, to exchange users' tokens.
pub(crate) const EXCHANGE_SCOPE: &str = "token:exchange";

/// What no service is ever handed with a user's token.
pub(crate) const ADMIN_SCOPE: &str = "admin";

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
    #[error("tokens of this kind are not revoked one by one")]
    Unrevocable,
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

    /// A pair for a user's refresh token (RFC 6749 section 6), by the rules of `POST /refresh`; for none that goes in a cookie.
    pub(crate) async fn refresh(
        &self,
        token: &str,
        asked: Option<Scope>,
        ip: Option<IpAddr>,
    ) -> Result<TokenPair, GrantError> {
        let claims = self.verifier.refresh(token).map_err(RefreshError::from)?;
        Ok(self
            .sessions
            .refresh(&claims, Delivery::Header, asked, ip)
            .await?)
    }

    /// A token on behalf of a user (RFC 8693): with no more scope than the user's own, and never that to administer; for no
    /// other audience; good for no longer than the user's own, and ending with the user's session. `targets` are the
    /// audiences that are asked for; none: those that the token was for.
    pub(crate) async fn exchange(
        &self,
        client: &Client,
        subject_token: &str,
        targets: Vec<String>,
        asked: Option<Scope>,
    ) -> Result<TokenPair, GrantError> {
        if !client.scope.contains(EXCHANGE_SCOPE) {
            return Err(GrantError::MayNotExchange);
        }
        let subject = self
            .verifier
            .access(subject_token)
            .map(Arc::unwrap_or_clone)
            .map_err(|error| GrantError::Subject(Some(error)))?;
        if subject.caller() != CallerKind::User || subject.session.is_none() {
            return Err(GrantError::Subject(None));
        }
        match self.confirm(&subject).await {
            Ok(()) => {}
            Err(RefreshError::Token(error)) => return Err(GrantError::Subject(Some(error))),
            Err(error) => return Err(error.into()),
        }
        if !targets
            .iter()
            .all(|target| self.may_target(&subject, target))
        {
            return Err(GrantError::Target);
        }
        let audience = if targets.is_empty() {
            subject.audience.clone()
        } else {
            targets
        };
        if actors(subject.actor.as_ref()) >= MAX_ACTORS {
            return Err(GrantError::TooManyActors);
        }
        let scope = narrow(&subject.scope.clone().without(ADMIN_SCOPE), asked)?;
        let issued_at = NumericDate::from(self.clock.now());
        Ok(self.issue(AccessClaims {
            audience,
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

    /// A token for everybody becomes one for us alone; one for us alone does not become one for everybody.
    fn may_target(&self, subject: &AccessClaims, target: &str) -> bool {
        let (usual, ours) = (self.audience.as_deref(), self.issuer.as_deref());
        let held = |target: Option<&str>| {
            target.is_none_or(|target| subject.audience.iter().any(|held| held == target))
        };
        (Some(target) == ours && (held(ours) || held(usual)))
            || (Some(target) == usual && held(usual))
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

    /// Ends the session of a token (RFC 7009). A token that is not good any more, or was never, needs no ending. A service's
    /// token has no session to end, and one with which a service acts for a user is not the user's login.
    pub(crate) async fn revoke(&self, token: &str, ip: Option<IpAddr>) -> Result<(), GrantError> {
        let Ok(presented) = self.verifier.either(token) else {
            return Ok(());
        };
        if let Presented::Access(claims) = &presented
            && (claims.session.is_none() || claims.actor.is_some())
        {
            return match self.confirm(claims).await {
                Ok(()) => Err(GrantError::Unrevocable),
                Err(RefreshError::Storage(error)) => Err(error.into()),
                Err(_) => Ok(()),
            };
        }
        // However its tokens go: whoever holds one has reason to end the session.
        match self.sessions.log_out(&presented, None, ip).await {
            Err(RefreshError::Storage(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether an access token is good by the tables, whatever it says itself: the session of a user goes on, and the
    /// accounts of the services that it speaks of are there and not disabled. The issuer need not wait for the expiry.
    pub(crate) async fn confirm(&self, claims: &AccessClaims) -> Result<(), RefreshError> {
        let mut actor = claims.actor.as_ref();
        let mut services: Vec<_> = claims.client_id.iter().collect();
        while let Some(Actor { client, before }) = actor {
            services.push(client);
            actor = before.as_deref();
        }
        for service in services {
            if !self.clients.vouches_for(service, claims.issued_at).await? {
                return Err(TokenError::Revoked.into());
            }
        }
        self.sessions.confirm(claims).await
    }

    /// Whether whoever a token speaks of may do this at this moment: the token says what they could when it was issued.
    pub(crate) async fn still_allows(
        &self,
        claims: &AccessClaims,
        scope: &str,
    ) -> Result<bool, StorageError> {
        let allowed = match &claims.client_id {
            Some(client) => self.clients.scope_of(client).await?,
            None => self.sessions.current_scope(&claims.subject).await?,
        };
        Ok(allowed.is_some_and(|allowed| allowed.contains(scope)))
    }

    fn issue(&self, claims: AccessClaims) -> TokenPair {
        // With a leeway a token is exchanged for a while after its expiry.
        let now = NumericDate::from(self.clock.now());
        let expires_in = claims.expires_at.0.saturating_sub(now.0).max(0);
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
