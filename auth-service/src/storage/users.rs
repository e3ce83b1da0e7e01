//! The table of users.

use std::net::IpAddr;

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{Scope, SessionId, Subject};
use sqlx::SqliteConnection;

use super::audit::note;
use super::revocations::end_sessions_of;
use super::{Store, inconsistent, time};
use crate::audit::{Author, Happening, Note};
use crate::hashing::PasswordHash;
use crate::sessions::EndReason;
use crate::username::Username;
use crate::users::User;

/// A user's addresses that are looked at.
const MOST_ADDRESSES: u32 = 1000;

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

/// A user, and how many sessions of theirs go on.
#[derive(sqlx::FromRow)]
struct AccountRow {
    #[sqlx(flatten)]
    user: UserRow,
    live_sessions: u32,
}

impl TryFrom<AccountRow> for (User, u32) {
    type Error = StorageError;

    fn try_from(row: AccountRow) -> Result<Self, StorageError> {
        Ok((row.user.try_into()?, row.live_sessions))
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
        .fetch_optional(&self.database.readers)
        .await?;
        row.map(User::try_from).transpose()
    }

    /// The addresses that a user of this name has logged in from, as far back as the audit log goes; of nobody none.
    pub(crate) async fn addresses_of(
        &self,
        username: &Username,
    ) -> Result<Vec<IpAddr>, StorageError> {
        let rows: Vec<String> = sqlx::query_scalar(
            // From each to the next, however many logins there were from it.
            "with recursive known (user_id, ip) as (
                 select id, (select min(ip) from audit_events where user_id = users.id and event = 'login_succeeded')
                   from users
                  where username = $1
                  union all
                 select user_id, (select min(ip) from audit_events
                                   where user_id = known.user_id and event = 'login_succeeded' and ip > known.ip)
                   from known
                  where ip is not null
             )
             select ip from known where ip is not null limit $2",
        )
        .bind(username.as_ref())
        .bind(MOST_ADDRESSES)
        .fetch_all(&self.database.readers)
        .await?;
        Ok(rows.iter().filter_map(|ip| ip.parse().ok()).collect())
    }

    /// The user, with the number of sessions that go on.
    pub(crate) async fn account(
        &self,
        id: &Subject,
        now: Timestamp,
    ) -> Result<Option<(User, u32)>, StorageError> {
        let row: Option<AccountRow> = sqlx::query_as(
            "select id as user_id, username, password_hash, scope, created_at as user_created_at, last_login_at, disabled_at,
                    (select count(*) from sessions where user_id = users.id and revoked_at is null and expires_at > $2) as live_sessions
               from users
              where id = $1",
        )
        .bind(id.as_str())
        .bind(now.as_millisecond())
        .fetch_optional(&self.database.readers)
        .await?;
        row.map(TryInto::try_into).transpose()
    }

    /// Users by name, from the first one after the given name on, with the number of sessions that go on.
    pub(crate) async fn accounts(
        &self,
        after: &str,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(User, u32)>, StorageError> {
        let rows: Vec<AccountRow> = sqlx::query_as(
            "select id as user_id, username, password_hash, scope, created_at as user_created_at, last_login_at, disabled_at,
                    (select count(*) from sessions where user_id = users.id and revoked_at is null and expires_at > $3) as live_sessions
               from users
              where username > $1
              order by username
              limit $2",
        )
        .bind(after)
        .bind(limit)
        .bind(now.as_millisecond())
        .fetch_all(&self.database.readers)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// `false`: the name is taken.
    pub(crate) async fn add_user(&self, user: &User, by: &Author) -> Result<bool, StorageError> {
        let (user, by) = (user.clone(), by.clone());
        let add = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let added = sqlx::query(
                    "insert into users (id, username, password_hash, scope, created_at, registered)
                     values ($1, $2, $3, $4, $5, $6)
                         on conflict (username) do nothing",
                )
                .bind(user.id.as_str())
                .bind(user.username.as_ref())
                .bind(user.password_hash.as_str())
                .bind(user.scope.map(|scope| scope.to_string()))
                .bind(user.created_at.as_millisecond())
                .bind(by.is_unknown())
                .execute(&mut *connection)
                .await?;
                if added.rows_affected() == 0 {
                    return Ok(false);
                }
                let added = Note::of_user(Happening::UserAdded, Some(&user.id), &by);
                note(connection, &added, user.created_at).await?;
                Ok(true)
            })
        });
        add.await
    }

    /// Whether a user has registered, rather than been added by somebody who may.
    pub(crate) async fn has_registered(&self, id: &Subject) -> Result<bool, StorageError> {
        let registered: Option<bool> =
            sqlx::query_scalar("select registered from users where id = $1")
                .bind(id.as_str())
                .fetch_optional(&self.database.readers)
                .await?;
        Ok(registered.unwrap_or(false))
    }

    /// Replaces a hash by one of the same password. `false`: another password was set meanwhile, which stays.
    pub(crate) async fn replace_password_hash(
        &self,
        id: &Subject,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, StorageError> {
        let (id, old, new) = (id.clone(), old.clone(), new.clone());
        let replace = self.database.writer.write(move |connection| {
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

    /// Sets a password and ends the user's sessions, but for one if one is named. With `checked`, only if that is still the
    /// hash. `false`: there is no such user, or another password was set meanwhile.
    pub(crate) async fn set_password(
        &self,
        id: &Subject,
        checked: Option<&PasswordHash>,
        hash: &PasswordHash,
        except: Option<&SessionId>,
        by: &Author,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (id, hash, by) = (id.clone(), hash.clone(), by.clone());
        let (checked, except) = (checked.cloned(), except.cloned());
        let set = self.write_and_tell(move |connection| {
            Box::pin(async move {
                let set = sqlx::query(
                    "update users set password_hash = $2 where id = $1 and (password_hash = $3 or $3 is null)",
                )
                .bind(id.as_str())
                .bind(hash.as_str())
                .bind(checked.as_ref().map(PasswordHash::as_str))
                .execute(&mut *connection)
                .await?;
                if set.rows_affected() == 0 {
                    if checked.is_some() {
                        let failed = Happening::PasswordChangeFailed;
                        let failed = Note::of_user(failed, Some(&id), &by);
                        note(connection, &failed.because("changed_meanwhile"), now).await?;
                    }
                    return Ok(false);
                }
                let changed = Note::of_user(Happening::PasswordChanged, Some(&id), &by);
                note(connection, &changed, now).await?;
                let reason = EndReason::PasswordChanged;
                end_sessions_of(connection, &id, except.as_ref(), reason, &by, now).await?;
                Ok(true)
            })
        });
        set.await
    }

    /// Keeps a user out and ends their sessions. `false`: there is no such user.
    pub(crate) async fn disable_user(
        &self,
        id: &Subject,
        by: &Author,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (id, by) = (id.clone(), by.clone());
        let disable = self.write_and_tell(move |connection| {
            Box::pin(async move {
                let disabled = sqlx::query(
                    "update users set disabled_at = $2 where id = $1 and disabled_at is null",
                )
                .bind(id.as_str())
                .bind(now.as_millisecond())
                .execute(&mut *connection)
                .await?;
                if disabled.rows_affected() == 0 {
                    return exists(connection, &id).await;
                }
                let disabled = Note::of_user(Happening::UserDisabled, Some(&id), &by);
                note(connection, &disabled, now).await?;
                end_sessions_of(connection, &id, None, EndReason::UserDisabled, &by, now).await?;
                Ok(true)
            })
        });
        disable.await
    }

    /// Lets a user in again. `false`: there is no such user.
    pub(crate) async fn enable_user(
        &self,
        id: &Subject,
        by: &Author,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (id, by) = (id.clone(), by.clone());
        let enable = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let enabled = sqlx::query(
                    "update users set disabled_at = null where id = $1 and disabled_at is not null",
                )
                .bind(id.as_str())
                .execute(&mut *connection)
                .await?;
                if enabled.rows_affected() == 0 {
                    return exists(connection, &id).await;
                }
                let enabled = Note::of_user(Happening::UserEnabled, Some(&id), &by);
                note(connection, &enabled, now).await?;
                Ok(true)
            })
        });
        enable.await
    }

    /// Sets what a user may do; none: the default of the service. `false`: there is no such user.
    pub(crate) async fn set_user_scope(
        &self,
        id: &Subject,
        scope: Option<&Scope>,
        by: &Author,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (id, scope, by) = (id.clone(), scope.map(ToString::to_string), by.clone());
        let set = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let set = sqlx::query(
                    "update users set scope = $2 where id = $1 and scope is distinct from $2",
                )
                .bind(id.as_str())
                .bind(scope)
                .execute(&mut *connection)
                .await?;
                if set.rows_affected() == 0 {
                    return exists(connection, &id).await;
                }
                let changed = Note::of_user(Happening::UserScopeChanged, Some(&id), &by);
                note(connection, &changed, now).await?;
                Ok(true)
            })
        });
        set.await
    }

    /// Removes a user, with their sessions. `false`: there is no such user.
    pub(crate) async fn remove_user(
        &self,
        id: &Subject,
        by: &Author,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (id, by) = (id.clone(), by.clone());
        let remove = self.write_and_tell(move |connection| {
            Box::pin(async move {
                // The rows of the sessions go with the user's; their revocations stay.
                end_sessions_of(connection, &id, None, EndReason::UserRemoved, &by, now).await?;
                let removed = sqlx::query("delete from users where id = $1")
                    .bind(id.as_str())
                    .execute(&mut *connection)
                    .await?;
                if removed.rows_affected() == 0 {
                    return Ok(false);
                }
                let removed = Note::of_user(Happening::UserRemoved, Some(&id), &by);
                note(connection, &removed, now).await?;
                Ok(true)
            })
        });
        remove.await
    }
}

async fn exists(connection: &mut SqliteConnection, id: &Subject) -> Result<bool, StorageError> {
    let found: Option<i64> = sqlx::query_scalar("select 1 from users where id = $1")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}
