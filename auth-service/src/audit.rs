//! The audit log: what happened to accounts and sessions, by whom and from where. Written in the transaction of the change
//! itself, so that neither is there without the other; what happens to key files, which no transaction holds, right after it.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{ClientId, SessionId, Subject};

use crate::storage::Store;

/// What can happen. The slugs are for good: people search for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    LoginSucceeded,
    LoginFailed,
    RefreshTokenReused,
    /// Somebody signed a refresh token with the common secret, which does not make it one.
    RefreshTokenForged,
    SessionRevoked,
    PasswordChanged,
    PasswordChangeFailed,
    UserAdded,
    UserRemoved,
    UserDisabled,
    UserEnabled,
    UserScopeChanged,
    ClientAdded,
    ClientRemoved,
    ClientDisabled,
    ClientEnabled,
    ClientSecretRotated,
    /// A bootstrap file gave a client another secret or scope.
    ClientDeclared,
    /// A secret verifies, and is to sign.
    SecretStaged,
    /// Another secret signs.
    SecretRotated,
    /// A rotation was taken back.
    SecretRolledBack,
    /// Secrets whose last token has expired verify no more.
    SecretDropped,
    /// A backup took the place of the database.
    DatabaseRestored,
}

impl Happening {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::LoginSucceeded => "login_succeeded",
            Self::LoginFailed => "login_failed",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::RefreshTokenForged => "refresh_token_forged",
            Self::SessionRevoked => "session_revoked",
            Self::PasswordChanged => "password_changed",
            Self::PasswordChangeFailed => "password_change_failed",
            Self::UserAdded => "user_added",
            Self::UserRemoved => "user_removed",
            Self::UserDisabled => "user_disabled",
            Self::UserEnabled => "user_enabled",
            Self::UserScopeChanged => "user_scope_changed",
            Self::ClientAdded => "client_added",
            Self::ClientRemoved => "client_removed",
            Self::ClientDisabled => "client_disabled",
            Self::ClientEnabled => "client_enabled",
            Self::ClientSecretRotated => "client_secret_rotated",
            Self::ClientDeclared => "client_declared",
            Self::SecretStaged => "secret_staged",
            Self::SecretRotated => "secret_rotated",
            Self::SecretRolledBack => "secret_rolled_back",
            Self::SecretDropped => "secret_dropped",
            Self::DatabaseRestored => "database_restored",
        }
    }
}

/// Who does something, and from where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Author {
    /// A user id, a client id, or the name of a command; nobody, when they have not shown who they are.
    pub(crate) actor: Option<Box<str>>,
    pub(crate) ip: Option<IpAddr>,
}

impl Author {
    /// Whoever sits at the command line of the machine.
    pub(crate) fn command_line() -> Self {
        Self {
            actor: Some("command line".into()),
            ip: None,
        }
    }

    /// The file that `AUTH_BOOTSTRAP_FILE` names.
    pub(crate) fn bootstrap_file() -> Self {
        Self {
            actor: Some("bootstrap file".into()),
            ip: None,
        }
    }

    /// Somebody who has not shown who they are.
    pub(crate) fn anybody(ip: Option<IpAddr>) -> Self {
        Self { actor: None, ip }
    }

    /// Whether they have not shown who they are.
    pub(crate) fn is_unknown(&self) -> bool {
        self.actor.is_none()
    }

    /// A user or a client that has.
    pub(crate) fn known(actor: impl fmt::Display, ip: Option<IpAddr>) -> Self {
        Self {
            actor: Some(actor.to_string().into()),
            ip,
        }
    }
}

/// A happening, about to be noted.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) happening: Happening,
    pub(crate) user: Option<Subject>,
    pub(crate) session: Option<SessionId>,
    pub(crate) client: Option<ClientId>,
    pub(crate) by: Author,
    pub(crate) detail: Option<&'static str>,
}

impl Note {
    /// Something about nobody in particular.
    pub(crate) fn new(happening: Happening, by: &Author) -> Self {
        Self {
            happening,
            user: None,
            session: None,
            client: None,
            by: by.clone(),
            detail: None,
        }
    }

    /// Something about a user, or about nobody who is known.
    pub(crate) fn of_user(happening: Happening, user: Option<&Subject>, by: &Author) -> Self {
        Self {
            user: user.cloned(),
            ..Self::new(happening, by)
        }
    }

    /// Something about a session.
    pub(crate) fn of_session(
        happening: Happening,
        user: &Subject,
        session: &SessionId,
        by: &Author,
    ) -> Self {
        Self {
            session: Some(session.clone()),
            ..Self::of_user(happening, Some(user), by)
        }
    }

    /// Something about a client.
    pub(crate) fn of_client(happening: Happening, client: &ClientId, by: &Author) -> Self {
        Self {
            client: Some(client.clone()),
            ..Self::new(happening, by)
        }
    }

    /// Why, or how: a slug, never a text that somebody typed.
    pub(crate) fn because(self, detail: &'static str) -> Self {
        Self {
            detail: Some(detail),
            ..self
        }
    }
}

/// A happening as it was noted.
#[derive(Clone, Debug)]
pub(crate) struct AuditEvent {
    pub(crate) id: i64,
    pub(crate) at: Timestamp,
    pub(crate) event: String,
    pub(crate) user: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) ip: Option<String>,
    pub(crate) detail: Option<String>,
}

/// Reads the audit log.
#[derive(Clone, Debug)]
pub(crate) struct AuditLog {
    store: Store,
}

impl AuditLog {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// The newest events, newest first: about one user or all, and only those older than the one with the given id.
    pub(crate) async fn newest(
        &self,
        about: Option<&Subject>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, StorageError> {
        self.store.audit_events(about, before, limit).await
    }
}
