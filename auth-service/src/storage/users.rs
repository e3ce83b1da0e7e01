//! The table of users.

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{Scope, Subject};
use sqlx::SqliteConnection;

use super::{Store, inconsistent, time};
use crate::hashing::PasswordHash;
use crate::sessions::EndReason;
use crate::users::{User, Username};

#[derive(sqlx::FromRow)]
pub(super) struct UserRow {
    #[sqlx(rename = "user_id")]
    id: String,
    username: String,
    password_hash: String,
    scope: Option<String>,
    user_created_at: i64,
    last_login_at: Option<i64>,
    disabled_at: Option<i64>,
}

impl TryFrom<UserRow> for User {
    type Error = StorageError;

    fn try_from(row: UserRow) -> Result<Self, StorageError> {
        let time = |milliseconds, column| time(milliseconds, "users", column, &row.id);
        Ok(Self {
            username: Username::stored(row.username),
            password_hash: row.password_hash.into(),
            scope: row
                .scope
                .map(|scope| {
                    scope
                        .parse()
                        .map_err(|_| inconsistent("users", "scope", &row.id))
                })
                .transpose()?,
            created_at: time(row.user_created_at, "created_at")?,
            last_login_at: row
                .last_login_at
                .map(|at| time(at, "last_login_at"))
                .transpose()?,
            disabled_at: row
                .disabled_at
                .map(|at| time(at, "disabled_at"))
                .transpose()?,
            id: row.id.into(),
        })
    }
}

impl Store {
    pub(crate) async fn user_by_name(
        &self,
        username: &Username,
    ) -> Result<Option<User>, StorageError> {
        let row: Option<UserRow> = sqlx::query_as(
            "select id as user_id, username, password_hash, scope, created_at as user_created_at, last_login_at, disabled_at
               from users
              where username = $1",
        )
        .bind(username.as_ref())
        .fetch_optional(&self.0.readers)
        .await?;
        row.map(User::try_from).transpose()
    }

    /// The user, with the number of sessions that go on.
    pub(crate) async fn user_with_live_sessions(
        &self,
        id: &Subject,
        now: Timestamp,
    ) -> Result<Option<(User, u32)>, StorageError> {
        #[derive(sqlx::FromRow)]
        struct Row {
            #[sqlx(flatten)]
            user: UserRow,
            live_sessions: u32,
        }
        let row: Option<Row> = sqlx::query_as(
            "select id as user_id, username, password_hash, scope, created_at as user_created_at, last_login_at, disabled_at,
                    (select count(*) from sessions where user_id = users.id and revoked_at is null and expires_at > $2) as live_sessions
               from users
              where id = $1",
        )
        .bind(id.as_str())
        .bind(now.as_millisecond())
        .fetch_optional(&self.0.readers)
        .await?;
        row.map(|row| Ok((row.user.try_into()?, row.live_sessions)))
            .transpose()
    }

    pub(crate) async fn users(&self) -> Result<Vec<User>, StorageError> {
        let rows: Vec<UserRow> = sqlx::query_as(
            "select id as user_id, username, password_hash, scope, created_at as user_created_at, last_login_at, disabled_at
               from users
              order by username",
        )
        .fetch_all(&self.0.readers)
        .await?;
        rows.into_iter().map(User::try_from).collect()
    }

    /// `false`: the name is taken.
    pub(crate) async fn add_user(&self, user: &User) -> Result<bool, StorageError> {
        let user = user.clone();
        let add = self.0.writer.write(move |connection| {
            Box::pin(async move {
                let added = sqlx::query(
                    "insert into users (id, username, password_hash, scope, created_at)
                     values ($1, $2, $3, $4, $5)
                         on conflict (username) do nothing",
                )
                .bind(user.id.as_str())
                .bind(user.username.as_ref())
                .bind(user.password_hash.as_str())
                .bind(user.scope.map(|scope| scope.to_string()))
                .bind(user.created_at.as_millisecond())
                .execute(connection)
                .await?;
                Ok(added.rows_affected() == 1)
            })
        });
        add.await
    }

    /// Replaces a hash by one of the same password. `false`: another password was set meanwhile, which stays.
    pub(crate) async fn replace_password_hash(
        &self,
        id: &Subject,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, StorageError> {
        let (id, old, new) = (id.clone(), old.clone(), new.clone());
        let replace = self.0.writer.write(move |connection| {
            Box::pin(async move {
                let replaced = sqlx::query(
                    "update users set password_hash = $3 where id = $1 and password_hash = $2",
                )
                .bind(id.as_str())
                .bind(old.as_str())
                .bind(new.as_str())
                .execute(connection)
                .await?;
                Ok(replaced.rows_affected() == 1)
            })
        });
        replace.await
    }

    /// Sets a password and ends the user's sessions. `false`: there is no such user.
    pub(crate) async fn set_password(
        &self,
        username: &Username,
        hash: &PasswordHash,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (username, hash) = (username.clone(), hash.clone());
        let set = self.0.writer.write(move |connection| {
            Box::pin(async move {
                let user: Option<String> = sqlx::query_scalar(
                    "update users set password_hash = $2 where username = $1 returning id",
                )
                .bind(username.as_ref())
                .bind(hash.as_str())
                .fetch_optional(&mut *connection)
                .await?;
                end_sessions_of(connection, user, reason, now).await
            })
        });
        set.await
    }

    /// Disables a user and ends their sessions. `false`: there is no such user.
    pub(crate) async fn disable_user(
        &self,
        username: &Username,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let username = username.clone();
        let disable = self.0.writer.write(move |connection| {
            Box::pin(async move {
                let user: Option<String> =
                    sqlx::query_scalar("update users set disabled_at = coalesce(disabled_at, $2) where username = $1 returning id")
                        .bind(username.as_ref())
                        .bind(now.as_millisecond())
                        .fetch_optional(&mut *connection)
                        .await?;
                end_sessions_of(connection, user, reason, now).await
            })
        });
        disable.await
    }

    /// Sets what a user may do; none: the default of the service.
    pub(crate) async fn declare_scope(
        &self,
        username: &Username,
        scope: Option<&Scope>,
    ) -> Result<(), StorageError> {
        let (username, scope) = (username.clone(), scope.map(ToString::to_string));
        let declare = self.0.writer.write(move |connection| {
            Box::pin(async move {
                sqlx::query("update users set scope = $2 where username = $1")
                    .bind(username.as_ref())
                    .bind(scope)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        });
        declare.await
    }

    /// `false`: there is no such user.
    pub(crate) async fn enable_user(&self, username: &Username) -> Result<bool, StorageError> {
        let username = username.clone();
        let enable = self.0.writer.write(move |connection| {
            Box::pin(async move {
                let enabled =
                    sqlx::query("update users set disabled_at = null where username = $1")
                        .bind(username.as_ref())
                        .execute(connection)
                        .await?;
                Ok(enabled.rows_affected() == 1)
            })
        });
        enable.await
    }
}

async fn end_sessions_of(
    connection: &mut SqliteConnection,
    user: Option<String>,
    reason: EndReason,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let Some(user) = user else { return Ok(false) };
    sqlx::query("update sessions set revoked_at = $2, revoked_reason = $3 where user_id = $1 and revoked_at is null")
        .bind(user)
        .bind(now.as_millisecond())
        .bind(reason.as_str())
        .execute(connection)
        .await?;
    Ok(true)
}
