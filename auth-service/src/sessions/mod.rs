//! Sessions: a login, and all that follows from it by refreshing.
//!
//! A session is a counter. A refresh token names its session and the counter's value, the generation; its `jti` is
//! derived from the session's own secret, so that it need not be stored, can be derived again, and cannot be made by a
//! holder of the common secret alone.

mod lifecycle;
mod secret;

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use service_shell::sqlite::StorageError;
use shared_claims::wire::TokenPair;
use shared_claims::{
    AccessClaims, CallerKind, Clock, InvalidToken, NumericDate, Presented, RefreshClaims,
    RefreshToken, Scope, SessionId, Signer, Subject, TokenError, TokenId,
};

pub use self::lifecycle::RefreshRules;
pub(crate) use self::lifecycle::{Delivery, EndReason, Ended, Session, Verdict};
pub(crate) use self::secret::SessionSecret;
use crate::audit::Author;
use crate::metrics::Outcomes;
use crate::storage::Store;
use crate::users::User;

/// How long tokens are good, and by which rules they are refreshed.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    /// The lifetime of an access token, in whole seconds.
    pub access_token_expires: Duration,
    /// When and how refresh tokens rotate, and how long they are good.
    pub refresh: RefreshRules,
    /// What a user without a scope of their own may do.
    pub default_scope: Scope,
    /// How many sessions of one user go on at the most: with one more, the least recently used ends.
    pub most_per_user: u32,
}

impl SessionPolicy {
    /// How long an access token is taken from its issue on: its lifetime and the leeway.
    pub(crate) fn access_token_taken_for(&self) -> Duration {
        self.access_token_expires + self.refresh.leeway
    }
}

/// Where a login comes from, as far as the client tells: for its owner's eyes in the list of sessions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) user_agent: Option<String>,
    pub(crate) ip: Option<IpAddr>,
}

/// Why a refresh is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefreshError {
    #[error(transparent)]
    Token(#[from] TokenError),
    /// An old refresh token came back: either its owner or a thief holds a copy, so the session is over for both.
    #[error("Refresh token has been used before; the session has been revoked")]
    Reused,
    /// More is asked for than the user may do.
    #[error("The scope is wider than the user's own")]
    ScopeTooWide,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Starts, continues and ends sessions.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    store: Store,
    signer: Signer,
    policy: SessionPolicy,
    clock: Clock,
    refreshes: Outcomes,
}

impl Sessions {
    /// What a user may do at this moment. `None`: there is no such user.
    pub(crate) async fn current_scope(
        &self,
        user: &Subject,
    ) -> Result<Option<Scope>, StorageError> {
        let account = self.store.account(user, self.clock.now()).await?;
        Ok(account.map(|(user, _)| self.scope_of(&user).clone()))
    }

    pub(crate) fn new(
        store: Store,
        signer: Signer,
        mut policy: SessionPolicy,
        leeway: Duration,
        clock: Clock,
    ) -> Self {
        policy.refresh.leeway = leeway;
        Self {
            store,
            signer,
            policy,
            clock,
            refreshes: Outcomes::of(&Verdict::OUTCOMES),
        }
    }

    pub(crate) fn expose(&self, registry: &mut Registry) {
        let help = "Refreshes by outcome: rotated, repeated within the grace, kept where none rotate, replayed, refused";
        self.refreshes.expose(registry, "tokenpair_refreshes", help);
    }

    /// A new session for a user who has just given the password, and its first pair of tokens; the session of a refresh token
    /// that came in the cookie with the login ends. `None`: between the password and the session the user was disabled, or the
    /// password replaced.
    pub(crate) async fn start(
        &self,
        user: &User,
        origin: Origin,
        delivery: Delivery,
        earlier: Option<&RefreshClaims>,
    ) -> Result<Option<(SessionId, TokenPair)>, StorageError> {
        let now = self.clock.now();
        let earlier = match earlier {
            Some(claims) => self.of_cookie(claims).await?,
            None => None,
        };
        let session = Session::begin(user.id.clone(), origin, delivery, &self.policy.refresh, now);
        if !self
            .store
            .start_session(
                &session,
                &user.password_hash,
                earlier.as_ref(),
                self.policy.most_per_user,
            )
            .await?
        {
            return Ok(None);
        }
        let scope = self.scope_of(user).clone();
        let access = self.access_token(&session, user, &scope, true, now);
        let refresh = self.refresh_token(&session);
        let pair = self.pair(access, Some((refresh, &session)), scope, now);
        Ok(Some((session.id, pair)))
    }

    /// The session of a refresh token that came in the cookie. None where the token is somebody's invention, or of a session that
    /// goes another way.
    async fn of_cookie(&self, claims: &RefreshClaims) -> Result<Option<SessionId>, StorageError> {
        let session = self.store.session(&claims.session).await?;
        let session = session
            .filter(|session| session.delivery == Delivery::Cookie && session.issued(claims));
        Ok(session.map(|session| session.id))
    }

    /// The pair that a refresh token is good for, by the rules of [`RefreshRules::judge`]; with all of the user's scope,
    /// or less where less is asked for.
    pub(crate) async fn refresh(
        &self,
        presented: &RefreshClaims,
        by: Delivery,
        asked: Option<Scope>,
        ip: Option<IpAddr>,
    ) -> Result<TokenPair, RefreshError> {
        let (rules, now) = (&self.policy.refresh, self.clock.now());
        if let Some(asked) = &asked {
            // Before anything is written: a request that asks for too much must not use up the token.
            let judged = self.store.judge_session(presented, by, rules, now).await?;
            let allowed = judged.map(|(_, _, user)| self.scope_of(&user).covers(asked));
            if allowed == Some(false) {
                return Err(RefreshError::ScopeTooWide);
            }
        }
        let refreshed = self
            .store
            .refresh_session(presented, by, rules, ip, now)
            .await?;
        let verdict = refreshed.as_ref().map(|(verdict, ..)| *verdict);
        self.refreshes
            .count(verdict.map_or("refused", Verdict::outcome));
        let (verdict, session, user) = refreshed.ok_or(TokenError::Revoked)?;
        // What the user may do may have become less since.
        let allowed = self.scope_of(&user);
        let scope = asked.map_or_else(|| allowed.clone(), |asked| asked.within(allowed));
        match verdict {
            Verdict::Rotate | Verdict::Repeat => {
                let access = self.access_token(&session, &user, &scope, false, now);
                let refresh = self.refresh_token(&session);
                Ok(self.pair(access, Some((refresh, &session)), scope, now))
            }
            Verdict::Keep { .. } => {
                let access = self.access_token(&session, &user, &scope, false, now);
                Ok(self.pair(access, None, scope, now))
            }
            Verdict::Replay => {
                tracing::warn!(user = %user.id, session = %session.id, "a refresh token was used again: the session is revoked");
                Err(RefreshError::Reused)
            }
            Verdict::Ahead => {
                tracing::error!(
                    user = %user.id, session = %session.id, generation = session.generation, presented = presented.generation,
                    "a refresh token is ahead of its session, as after the database was set back to a backup: the session is revoked"
                );
                Err(TokenError::Revoked.into())
            }
            Verdict::Forged => Err(TokenError::from(InvalidToken::Forged).into()),
            Verdict::Misdelivered => Err(TokenError::from(InvalidToken::Delivery).into()),
            Verdict::Ended => Err(TokenError::Revoked.into()),
            Verdict::Expired => Err(TokenError::Expired.into()),
        }
    }

    /// The user whom a refresh token that comes in a body would be answered for just now.
    pub(crate) async fn answers(
        &self,
        presented: &RefreshClaims,
    ) -> Result<Option<User>, StorageError> {
        let (rules, now) = (&self.policy.refresh, self.clock.now());
        let by = Delivery::Header;
        let judged = self.store.judge_session(presented, by, rules, now).await?;
        let good = |verdict| {
            matches!(
                verdict,
                Verdict::Rotate | Verdict::Repeat | Verdict::Keep { .. }
            )
        };
        Ok(judged.and_then(|(verdict, _, user)| good(verdict).then_some(user)))
    }

    /// Ends the session of a token of either kind; of a refresh token that came this way, or any way.
    pub(crate) async fn log_out(
        &self,
        presented: &Presented,
        by: Option<Delivery>,
        ip: Option<IpAddr>,
    ) -> Result<(), RefreshError> {
        let now = self.clock.now();
        let id = match presented {
            // A service has no login to end, nor ends that of a user whom it acts for.
            Presented::Access(claims) if claims.actor.is_some() || claims.client_id.is_some() => {
                let expected = CallerKind::User;
                return Err(TokenError::WrongCaller { expected }.into());
            }
            Presented::Access(claims) => claims
                .session
                .as_ref()
                .ok_or(InvalidToken::Claims)
                .map_err(TokenError::from)?,
            Presented::Refresh(claims) => {
                let session = self
                    .store
                    .session(&claims.session)
                    .await?
                    .ok_or(TokenError::Revoked)?;
                if !session.issued(claims) {
                    return Err(TokenError::from(InvalidToken::Forged).into());
                }
                if by.is_some_and(|by| by != session.delivery) {
                    return Err(TokenError::from(InvalidToken::Delivery).into());
                }
                &claims.session
            }
        };
        let by = Author::known(presented.subject(), ip);
        if self
            .store
            .revoke_session(id, None, EndReason::Logout, &by, now)
            .await?
        {
            Ok(())
        } else {
            Err(TokenError::Revoked.into())
        }
    }

    /// Whether the session of an access token goes on, by the table rather than by what a feed has told so far. An
    /// access token outlives its session's refresh token, so only a revocation counts.
    pub(crate) async fn confirm(&self, claims: &AccessClaims) -> Result<(), RefreshError> {
        let Some(id) = &claims.session else {
            return Ok(());
        };
        let session = self.store.session(id).await?;
        if session.is_some_and(|session| session.ended.is_none()) {
            Ok(())
        } else {
            Err(TokenError::Revoked.into())
        }
    }

    /// The sessions of a user that go on, newest use first.
    pub(crate) async fn of(&self, user: &Subject) -> Result<Vec<Session>, StorageError> {
        let sessions = self
            .store
            .live_sessions(Some(user), self.clock.now())
            .await?;
        Ok(sessions.into_iter().map(|(session, _)| session).collect())
    }

    /// Ends a session, of this user if one is named. `false`: there is none that goes on.
    pub(crate) async fn end(
        &self,
        id: &SessionId,
        of: Option<&Subject>,
        reason: EndReason,
        by: &Author,
    ) -> Result<bool, StorageError> {
        let now = self.clock.now();
        self.store.revoke_session(id, of, reason, by, now).await
    }

    /// Ends all sessions of a user; how many.
    pub(crate) async fn end_all_of(
        &self,
        user: &Subject,
        reason: EndReason,
        by: &Author,
    ) -> Result<u64, StorageError> {
        let now = self.clock.now();
        self.store.revoke_sessions_of(user, reason, by, now).await
    }

    /// Deletes the rows of sessions whose last access token has expired: nothing can ask for them any more.
    pub(crate) async fn forget_expired(&self) -> Result<u64, StorageError> {
        // With a leeway a refresh token buys an access token that much after its own expiry.
        let before =
            self.clock.now() - self.policy.access_token_taken_for() - self.policy.refresh.leeway;
        self.store.delete_sessions_expired_before(before).await
    }

    fn access_token(
        &self,
        session: &Session,
        user: &User,
        scope: &Scope,
        fresh: bool,
        now: Timestamp,
    ) -> shared_claims::AccessToken {
        let issued_at = NumericDate::from(now);
        self.signer.access(&AccessClaims {
            subject: user.id.clone(),
            audience: Vec::new(),
            preferred_username: Some(user.username.as_ref().to_owned()),
            client_id: None,
            actor: None,
            fresh,
            auth_time: Some(session.created_at.into()),
            session: Some(session.id.clone()),
            scope: scope.clone(),
            id: Some(TokenId::generate()),
            issued_at: Some(issued_at),
            expires_at: issued_at.after(self.policy.access_token_expires),
        })
    }

    /// The refresh token of the session's generation as it stands: asked twice, the same string.
    fn refresh_token(&self, session: &Session) -> RefreshToken {
        self.signer.refresh(&RefreshClaims {
            subject: session.user.clone(),
            session: session.id.clone(),
            generation: session.generation,
            id: session.secret.token_id(session.generation),
            issued_at: session.rotated_at.unwrap_or(session.created_at).into(),
            expires_at: session.expires_at.into(),
        })
    }

    fn pair(
        &self,
        access_token: shared_claims::AccessToken,
        refresh: Option<(RefreshToken, &Session)>,
        scope: Scope,
        now: Timestamp,
    ) -> TokenPair {
        let (refresh_token, session) = refresh.unzip();
        TokenPair {
            access_token,
            refresh_token,
            token_type: "Bearer".into(),
            expires_in: i64::try_from(self.policy.access_token_expires.as_secs())
                .unwrap_or(i64::MAX),
            refresh_expires_in: session.map(|session| {
                (NumericDate::from(session.expires_at).0 - NumericDate::from(now).0).max(0)
            }),
            scope,
        }
    }

    fn scope_of<'a>(&'a self, user: &'a User) -> &'a Scope {
        user.scope.as_ref().unwrap_or(&self.policy.default_scope)
    }
}
