//! Users: who may log in.

use std::net::IpAddr;

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use service_shell::sqlite::StorageError;
use shared_claims::{Clock, Scope, SessionId, Subject};

use crate::attempts::{Attempt, Attempts, TooMany, same_network};
use crate::audit::{Author, Happening, Note};
use crate::hashing::{Checked, HashingError, PasswordHash, Passwords};
use crate::metrics::Outcomes;
use crate::password::Password;
use crate::storage::Store;
use crate::username::Username;

/// A user as they stand in their row.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: Subject,
    pub(crate) username: Username,
    pub(crate) password_hash: PasswordHash,
    /// What the user may do; none of their own: the default of the service.
    pub(crate) scope: Option<Scope>,
    pub(crate) created_at: Timestamp,
    pub(crate) last_login_at: Option<Timestamp>,
    pub(crate) disabled_at: Option<Timestamp>,
}

/// Why nobody is registered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error("That username is taken")]
    UsernameTaken,
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    Hashing(#[from] HashingError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why no password is set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetPasswordError {
    #[error(transparent)]
    Hashing(#[from] HashingError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why nobody is let in. The client learns no more than that.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthenticateError {
    #[error("there is no such user")]
    Unknown,
    #[error("the password is wrong")]
    WrongPassword,
    #[error("the user is disabled")]
    Disabled,
    #[error("the user was disabled or the password replaced meanwhile")]
    ChangedMeanwhile,
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    Hashing(#[from] HashingError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl AuthenticateError {
    /// For the audit log; nothing for what is nobody's fault but ours.
    fn slug(&self) -> Option<&'static str> {
        match self {
            Self::Unknown => Some("unknown_user"),
            Self::WrongPassword => Some("wrong_password"),
            Self::Disabled => Some("user_disabled"),
            Self::ChangedMeanwhile => Some("changed_meanwhile"),
            Self::TooMany(_) | Self::Hashing(_) | Self::Storage(_) => None,
        }
    }
}

impl Attempt {
    /// An attempt counts when the password was looked at and refused.
    fn counts_if_refused<T>(
        self,
        outcome: Result<T, AuthenticateError>,
    ) -> Result<T, AuthenticateError> {
        match &outcome {
            Err(refused) if refused.slug().is_some() => drop(self),
            _ => self.give_back(),
        }
        outcome
    }
}

/// Registers users and lets them in.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    store: Store,
    passwords: Passwords,
    attempts: Attempts,
    clock: Clock,
    logins: Outcomes,
}

impl Users {
    pub(crate) fn new(
        store: Store,
        passwords: Passwords,
        attempts: Attempts,
        clock: Clock,
    ) -> Self {
        Self {
            store,
            passwords,
            attempts,
            clock,
            logins: Outcomes::of(&["succeeded", "refused", "limited", "overloaded", "failed"]),
        }
    }

    pub(crate) fn expose(&self, registry: &mut Registry) {
        let help = "Logins by outcome; why one is refused, the audit log says";
        self.logins.expose(registry, "tokenpair_logins", help);
    }

    /// A new user. The name is looked up before the password is hashed, so that a name that is taken costs no hash; the
    /// insert decides.
    pub(crate) async fn register(
        &self,
        username: Username,
        password: Password,
        scope: Option<Scope>,
        by: &Author,
    ) -> Result<User, RegisterError> {
        // Whether a name is taken is a guess too, so that this one counts however it ends. Who may add users need not guess.
        if by.is_unknown() {
            drop(self.attempts.from(by.ip).await?);
        }
        if self.store.user_by_name(&username).await?.is_some() {
            return Err(RegisterError::UsernameTaken);
        }
        let password_hash = self.passwords.hash(password).await?;
        let user = User {
            id: Subject::generate(),
            username,
            password_hash,
            scope,
            created_at: self.clock.now(),
            last_login_at: None,
            disabled_at: None,
        };
        if self.store.add_user(&user, by).await? {
            Ok(user)
        } else {
            Err(RegisterError::UsernameTaken)
        }
    }

    /// The user whose name and password these are. `None` is a name that nobody can have; it costs what any other does.
    pub(crate) async fn authenticate(
        &self,
        username: Option<Username>,
        password: Password,
        by: &Author,
    ) -> Result<User, AuthenticateError> {
        let authenticated = self.authenticate_uncounted(username, password, by).await;
        self.logins.count(match &authenticated {
            Ok(_) => "succeeded",
            Err(AuthenticateError::Hashing(HashingError::Overloaded { .. })) => "overloaded",
            Err(
                AuthenticateError::Hashing(HashingError::Failed) | AuthenticateError::Storage(_),
            ) => "failed",
            Err(AuthenticateError::TooMany(too_many)) if too_many.undecided => "overloaded",
            Err(AuthenticateError::TooMany(_)) => "limited",
            // Which users there are must not be told by a counter that moves.
            Err(_) => "refused",
        });
        authenticated
    }

    async fn authenticate_uncounted(
        &self,
        username: Option<Username>,
        password: Password,
        by: &Author,
    ) -> Result<User, AuthenticateError> {
        // In a storm most come to a full queue: nothing more is done for them.
        self.passwords.refuse_if_full()?;
        let attempt = self.attempt(username.as_ref(), by).await?;
        let authenticated = self.look_up(username, password, by).await;
        attempt.counts_if_refused(authenticated)
    }

    /// Counts an attempt at a user's password before anything is hashed for it.
    async fn attempt(
        &self,
        username: Option<&Username>,
        by: &Author,
    ) -> Result<Attempt, AuthenticateError> {
        let mut attempt = self.attempts.from(by.ip).await?;
        let Some(username) = username else {
            return Ok(attempt);
        };
        if !attempt.counts_users() {
            return Ok(attempt);
        }
        match by.ip {
            Some(ip) if self.has_been_at(username, ip).await? => {
                attempt.for_user_at(username, ip).await?;
            }
            _ => attempt.for_user(username).await?,
        }
        Ok(attempt)
    }

    /// Whether whoever comes from there is no stranger. Strangers' guesses are not to keep them out, nor theirs to be more.
    async fn has_been_at(&self, username: &Username, ip: IpAddr) -> Result<bool, StorageError> {
        let known = self.store.addresses_of(username).await?;
        Ok(known.into_iter().any(|known| same_network(known, ip)))
    }

    async fn look_up(
        &self,
        username: Option<Username>,
        password: Password,
        by: &Author,
    ) -> Result<User, AuthenticateError> {
        let user = match username {
            Some(username) => self.store.user_by_name(&username).await?,
            None => None,
        };
        let checked = self.check(user.as_ref(), password, by, Happening::LoginFailed);
        let outdated = checked.await?;
        let user = user.ok_or(AuthenticateError::Unknown)?;
        let Some(password) = outdated else {
            return Ok(user);
        };
        if let Some(user) = self.hash_again(&user, &password).await {
            return Ok(user);
        }
        // Another login was quicker to hash it again, or another password was set: the hash that is there now tells.
        let account = self.store.account(&user.id, self.clock.now()).await?;
        let user = account.map(|(user, _)| user);
        let checked = self.check(user.as_ref(), password, by, Happening::LoginFailed);
        checked.await?;
        user.ok_or(AuthenticateError::Unknown)
    }

    /// Replaces the password of a user who knows it, and ends all of their sessions but one.
    pub(crate) async fn change_password(
        &self,
        id: &Subject,
        current: Password,
        new: Password,
        except: Option<&SessionId>,
        by: &Author,
    ) -> Result<(), AuthenticateError> {
        let now = self.clock.now();
        let user = self.store.account(id, now).await?.map(|(user, _)| user);
        let name = user.as_ref().map(|user| &user.username);
        let attempt = self.attempt(name, by).await?;
        let checked = self
            .check(user.as_ref(), current, by, Happening::PasswordChangeFailed)
            .await;
        attempt.counts_if_refused(checked)?;
        let user = user.ok_or(AuthenticateError::Unknown)?;
        let hash = self.passwords.hash(new).await?;
        let (checked, now) = (Some(&user.password_hash), self.clock.now());
        let changed = self
            .store
            .set_password(id, checked, &hash, except, by, now)
            .await?;
        if changed {
            Ok(())
        } else {
            Err(AuthenticateError::ChangedMeanwhile)
        }
    }

    /// Checks a user's password, or that of somebody who is unknown, which costs the same. A right one whose hash is
    /// outdated is handed back; a failure is noted.
    async fn check(
        &self,
        user: Option<&User>,
        password: Password,
        by: &Author,
        failure: Happening,
    ) -> Result<Option<Password>, AuthenticateError> {
        let hash = user.map(|user| user.password_hash.clone());
        let checked = self.passwords.check(hash, password.clone()).await?;
        let refused = match (user, checked) {
            (None, _) => AuthenticateError::Unknown,
            (Some(_), Checked::Wrong) => AuthenticateError::WrongPassword,
            (Some(user), _) if user.disabled_at.is_some() => AuthenticateError::Disabled,
            (Some(_), Checked::Right) => return Ok(None),
            (Some(_), Checked::RightButOutdated) => return Ok(Some(password)),
        };
        if let Some(slug) = refused.slug() {
            let failed = Note::of_user(failure, user.map(|user| &user.id), by).because(slug);
            self.store.note(failed, self.clock.now()).await?;
        }
        Err(refused)
    }

    /// Brings a hash to today's parameters, now that the password is at hand. The login does not depend on it. `None`: the hash
    /// is another one by now.
    async fn hash_again(&self, user: &User, password: &Password) -> Option<User> {
        let replaced = async {
            let hash = self.passwords.hash(password.clone()).await?;
            let replaced = self
                .store
                .replace_password_hash(&user.id, &user.password_hash, &hash);
            Ok::<_, anyhow::Error>(replaced.await?.then_some(hash))
        };
        match replaced.await {
            Ok(Some(password_hash)) => Some(User {
                password_hash,
                ..user.clone()
            }),
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(user = %user.id, "the password could not be hashed again: {error:#}");
                Some(user.clone())
            }
        }
    }

    /// A user, and how many sessions of theirs go on.
    pub(crate) async fn account(&self, id: &Subject) -> Result<Option<(User, u32)>, StorageError> {
        self.store.account(id, self.clock.now()).await
    }

    /// Users by name, from the first one after the given name on, and how many sessions of theirs go on.
    pub(crate) async fn accounts(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(User, u32)>, StorageError> {
        self.store.accounts(after, limit, self.clock.now()).await
    }

    /// The id of the user of this name.
    pub(crate) async fn named(&self, username: &Username) -> Result<Option<Subject>, StorageError> {
        let user = self.store.user_by_name(username).await?;
        Ok(user.map(|user| user.id))
    }

    /// Sets another password and ends every session of the user. `false`: there is no such user.
    pub(crate) async fn set_password(
        &self,
        id: &Subject,
        password: Password,
        by: &Author,
    ) -> Result<bool, SetPasswordError> {
        let hash = self.passwords.hash(password).await?;
        let now = self.clock.now();
        Ok(self
            .store
            .set_password(id, None, &hash, None, by, now)
            .await?)
    }

    /// Keeps a user out and ends their sessions, or lets them in again. `false`: there is no such user.
    pub(crate) async fn set_disabled(
        &self,
        id: &Subject,
        disabled: bool,
        by: &Author,
    ) -> Result<bool, StorageError> {
        let now = self.clock.now();
        if disabled {
            self.store.disable_user(id, by, now).await
        } else {
            self.store.enable_user(id, by, now).await
        }
    }

    /// Sets what a user may do; none: the default of the service. `false`: there is no such user.
    pub(crate) async fn set_scope(
        &self,
        id: &Subject,
        scope: Option<&Scope>,
        by: &Author,
    ) -> Result<bool, StorageError> {
        let now = self.clock.now();
        self.store.set_user_scope(id, scope, by, now).await
    }

    /// Removes a user and ends their sessions. `false`: there is no such user.
    pub(crate) async fn remove(&self, id: &Subject, by: &Author) -> Result<bool, StorageError> {
        self.store.remove_user(id, by, self.clock.now()).await
    }
}
