//! The table of clients.

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{ClientId, Scope};

use super::{Store, inconsistent, time};
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
        .fetch_optional(&self.0.readers)
        .await?;
        row.map(Client::try_from).transpose()
    }

    pub(crate) async fn clients(&self) -> Result<Vec<Client>, StorageError> {
        let rows: Vec<ClientRow> = sqlx::query_as(
            "select id, secret_hash, previous_secret_hash, previous_secret_expires_at, scope, created_at, disabled_at
               from clients
              order by id",
        )
        .fetch_all(&self.0.readers)
        .await?;
        rows.into_iter().map(Client::try_from).collect()
    }

    /// `false`: the id is taken.
    pub(crate) async fn add_client(&self, client: &Client) -> Result<bool, StorageError> {
        let client = client.clone();
        let add = self.0.writer.write(move |connection| {
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
                .execute(connection)
                .await?;
                Ok(added.rows_affected() == 1)
            })
        });
        add.await
    }

    /// Sets a client's secret and scope to what a file declares; whether anything changed.
    pub(crate) async fn declare_client(
        &self,
        id: &ClientId,
        secret: &ClientSecretHash,
        scope: &Scope,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (id, secret, scope) = (id.clone(), secret.clone(), scope.to_string());
        let declare = self.0.writer.write(move |connection| {
            Box::pin(async move {
                let declared = sqlx::query(
                    "insert into clients (id, secret_hash, scope, created_at)
                     values ($1, $2, $3, $4)
                         on conflict (id) do update
                        set secret_hash = excluded.secret_hash, scope = excluded.scope,
                            previous_secret_hash = null, previous_secret_expires_at = null
                      where secret_hash <> excluded.secret_hash or clients.scope <> excluded.scope",
                )
                .bind(id.as_str())
                .bind(secret.as_str())
                .bind(scope)
                .bind(now.as_millisecond())
                .execute(connection)
                .await?;
                Ok(declared.rows_affected() == 1)
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
    ) -> Result<bool, StorageError> {
        let (id, secret) = (id.clone(), secret.clone());
        let rotate = self.0.writer.write(move |connection| {
            Box::pin(async move {
                let rotated = sqlx::query(
                    "update clients
                        set previous_secret_hash = secret_hash, previous_secret_expires_at = $3, secret_hash = $2
                      where id = $1",
                )
                .bind(id.as_str())
                .bind(secret.as_str())
                .bind(until.as_millisecond())
                .execute(connection)
                .await?;
                Ok(rotated.rows_affected() == 1)
            })
        });
        rotate.await
    }

    /// `false`: there is no such client.
    pub(crate) async fn set_client_disabled(
        &self,
        id: &ClientId,
        at: Option<Timestamp>,
    ) -> Result<bool, StorageError> {
        let id = id.clone();
        let set = self.0.writer.write(move |connection| {
            Box::pin(async move {
                let set = sqlx::query("update clients set disabled_at = $2 where id = $1")
                    .bind(id.as_str())
                    .bind(at.map(Timestamp::as_millisecond))
                    .execute(connection)
                    .await?;
                Ok(set.rows_affected() == 1)
            })
        });
        set.await
    }

    /// `false`: there is no such client.
    pub(crate) async fn remove_client(&self, id: &ClientId) -> Result<bool, StorageError> {
        let id = id.clone();
        let remove = self.0.writer.write(move |connection| {
            Box::pin(async move {
                let removed = sqlx::query("delete from clients where id = $1")
                    .bind(id.as_str())
                    .execute(connection)
                    .await?;
                Ok(removed.rows_affected() == 1)
            })
        });
        remove.await
    }
}
