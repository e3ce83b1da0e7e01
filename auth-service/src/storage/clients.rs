//! The table of clients.

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{ClientId, Scope};
use sqlx::SqliteConnection;

use super::audit::note;
use super::{Store, inconsistent, time};
use crate::audit::{Author, Happening, Note};
use crate::clients::{Client, ClientSecretHash};

#[derive(sqlx::FromRow)]
struct ClientRow {
    id: String,
    secret_hash: String,
    previous_secret_hash: Option<String>,
    previous_secret_expires_at: Option<i64>,
    scope: String,
    created_at: i64,
    disabled_at: Option<i64>,
}

impl TryFrom<ClientRow> for Client {
    type Error = StorageError;

    fn try_from(row: ClientRow) -> Result<Self, StorageError> {
        let time = |milliseconds, column| time(milliseconds, "clients", column, &row.id);
        let previous = row.previous_secret_hash.zip(row.previous_secret_expires_at);
        let previous = previous.map(|(hash, until)| {
            Ok::<_, StorageError>((hash.into(), time(until, "previous_secret_expires_at")?))
        });
        Ok(Self {
            secret: row.secret_hash.into(),
            previous_secret: previous.transpose()?,
            scope: row
                .scope
                .parse()
                .map_err(|_| inconsistent("clients", "scope", &row.id))?,
            created_at: time(row.created_at, "created_at")?,
            disabled_at: row
                .disabled_at
                .map(|at| time(at, "disabled_at"))
                .transpose()?,
            id: row.id.into(),
        })
    }
}

impl Store {
    pub(crate) async fn client(&self, id: &ClientId) -> Result<Option<Client>, StorageError> {
        let row: Option<ClientRow> = sqlx::query_as(
            "select id, secret_hash, previous_secret_hash, previous_secret_expires_at, scope, created_at, disabled_at
               from clients
              where id = $1",
        )
        .bind(id.as_str())
        .fetch_optional(&self.database.readers)
        .await?;
        row.map(Client::try_from).transpose()
    }

    pub(crate) async fn clients(&self) -> Result<Vec<Client>, StorageError> {
        let rows: Vec<ClientRow> = sqlx::query_as(
            "select id, secret_hash, previous_secret_hash, previous_secret_expires_at, scope, created_at, disabled_at
               from clients
              order by id",
        )
        .fetch_all(&self.database.readers)
        .await?;
        rows.into_iter().map(Client::try_from).collect()
    }

    /// `false`: the id is taken.
    pub(crate) async fn add_client(
        &self,
        client: &Client,
        by: &Author,
    ) -> Result<bool, StorageError> {
        let (client, by) = (client.clone(), by.clone());
        let add = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let added = sqlx::query(
                    "insert into clients (id, secret_hash, scope, created_at)
                     values ($1, $2, $3, $4)
                         on conflict (id) do nothing",
                )
                .bind(client.id.as_str())
                .bind(client.secret.as_str())
                .bind(client.scope.to_string())
                .bind(client.created_at.as_millisecond())
                .execute(&mut *connection)
                .await?;
                let changed = added.rows_affected() == 1;
                let happening = Happening::ClientAdded;
                noted(
                    connection,
                    changed,
                    happening,
                    &client.id,
                    &by,
                    client.created_at,
                )
                .await
            })
        });
        add.await
    }

    /// Sets a client's scope to what a file declares, and its secret if the file declares another than last time; whether
    /// anything changed.
    pub(crate) async fn declare_client(
        &self,
        id: &ClientId,
        secret: &ClientSecretHash,
        scope: &Scope,
        by: &Author,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (id, secret, scope, by) = (id.clone(), secret.clone(), scope.to_string(), by.clone());
        let declare = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let declared = sqlx::query(
                    "insert into clients (id, secret_hash, declared_secret_hash, scope, created_at)
                     values ($1, $2, $2, $3, $4)
                         on conflict (id) do update
                        set secret_hash = excluded.secret_hash, declared_secret_hash = excluded.secret_hash,
                            previous_secret_hash = null, previous_secret_expires_at = null
                      where coalesce(clients.declared_secret_hash, '') <> excluded.secret_hash",
                )
                .bind(id.as_str())
                .bind(secret.as_str())
                .bind(&scope)
                .bind(now.as_millisecond())
                .execute(&mut *connection)
                .await?;
                let scoped = sqlx::query("update clients set scope = $2 where id = $1 and scope <> $2")
                    .bind(id.as_str())
                    .bind(&scope)
                    .execute(&mut *connection)
                    .await?;
                let changed = declared.rows_affected() + scoped.rows_affected() > 0;
                noted(connection, changed, Happening::ClientDeclared, &id, &by, now).await
            })
        });
        declare.await
    }

    /// Moves the secret to the previous one. `false`: there is no such client.
    pub(crate) async fn rotate_client_secret(
        &self,
        id: &ClientId,
        secret: &ClientSecretHash,
        until: Timestamp,
        by: &Author,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (id, secret, by) = (id.clone(), secret.clone(), by.clone());
        let rotate = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let rotated = sqlx::query(
                    "update clients
                        set previous_secret_hash = secret_hash, previous_secret_expires_at = $3, secret_hash = $2
                      where id = $1",
                )
                .bind(id.as_str())
                .bind(secret.as_str())
                .bind(until.as_millisecond())
                .execute(&mut *connection)
                .await?;
                let changed = rotated.rows_affected() == 1;
                noted(connection, changed, Happening::ClientSecretRotated, &id, &by, now).await
            })
        });
        rotate.await
    }

    /// `false`: there is no such client.
    pub(crate) async fn set_client_disabled(
        &self,
        id: &ClientId,
        disabled: bool,
        by: &Author,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (id, by) = (id.clone(), by.clone());
        let set = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let set = sqlx::query(
                    "update clients set disabled_at = $2 where id = $1 and (disabled_at is null) = ($2 is not null)",
                )
                .bind(id.as_str())
                .bind(disabled.then(|| now.as_millisecond()))
                .execute(&mut *connection)
                .await?;
                let changed = set.rows_affected() == 1;
                let happening = if disabled {
                    Happening::ClientDisabled
                } else {
                    Happening::ClientEnabled
                };
                Ok(noted(connection, changed, happening, &id, &by, now).await?
                    || exists(connection, &id).await?)
            })
        });
        set.await
    }

    /// `false`: there is no such client.
    pub(crate) async fn remove_client(
        &self,
        id: &ClientId,
        by: &Author,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (id, by) = (id.clone(), by.clone());
        let remove = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let removed = sqlx::query("delete from clients where id = $1")
                    .bind(id.as_str())
                    .execute(&mut *connection)
                    .await?;
                let changed = removed.rows_affected() == 1;
                noted(connection, changed, Happening::ClientRemoved, &id, &by, now).await
            })
        });
        remove.await
    }
}

async fn exists(connection: &mut SqliteConnection, id: &ClientId) -> Result<bool, StorageError> {
    let found: Option<i64> = sqlx::query_scalar("select 1 from clients where id = $1")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

/// Notes a change, if it was one; whether it was.
async fn noted(
    connection: &mut SqliteConnection,
    changed: bool,
    happening: Happening,
    id: &ClientId,
    by: &Author,
    now: Timestamp,
) -> Result<bool, StorageError> {
    if changed {
        note(connection, &Note::of_client(happening, id, by), now).await?;
    }
    Ok(changed)
}
