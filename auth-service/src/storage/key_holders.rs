//! The table of the processes that hold keys.

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{ClientId, KeyId};
use sqlx::SqliteConnection;

use super::{Store, time};
use crate::key_holders::{KeyHolder, Report};

#[derive(sqlx::FromRow)]
struct KeyHolderRow {
    id: String,
    client_id: Option<String>,
    name: String,
    key_ids: String,
    last_seq: Option<i64>,
    reported_at: i64,
}

impl TryFrom<KeyHolderRow> for KeyHolder {
    type Error = StorageError;

    fn try_from(row: KeyHolderRow) -> Result<Self, StorageError> {
        Ok(Self {
            reported_at: time(row.reported_at, "key_holders", "reported_at", &row.id)?,
            id: row.id,
            client: row.client_id.map(ClientId::from),
            name: row.name,
            keys: row.key_ids.split_whitespace().map(KeyId::from).collect(),
            last_seq: row.last_seq,
        })
    }
}

impl Store {
    /// Keeps what a holder tells of itself, if its client has fewer than `most` others or some of them are gone; and how many of
    /// those were forgotten for it.
    pub(crate) async fn keep_key_holder(
        &self,
        holder: KeyHolder,
        most: u32,
    ) -> Result<(Report, u64), StorageError> {
        let keep = self.database.writer.write(move |connection| {
            Box::pin(async move {
                // What the same service called itself in an earlier life, which ended without a goodbye.
                sqlx::query(
                    "delete from key_holders
                      where name = $1 and coalesce(client_id, '') = coalesce($2, '') and id <> $3 and reported_at < $4",
                )
                .bind(&holder.name)
                .bind(holder.client.as_ref().map(ClientId::as_str))
                .bind(&holder.id)
                .bind(holder.last_breath().as_millisecond())
                .execute(&mut *connection)
                .await?;
                let Some(forgotten) = make_room(connection, &holder, most).await? else {
                    return Ok((Report::TooMany, 0));
                };
                let keys: Vec<_> = holder.keys.iter().map(KeyId::as_str).collect();
                let kept = sqlx::query(
                    "insert into key_holders (id, client_id, name, key_ids, last_seq, reported_at)
                     values ($1, $2, $3, $4, $5, $6)
                         on conflict (id) do update
                        set name = excluded.name, key_ids = excluded.key_ids, last_seq = excluded.last_seq,
                            reported_at = excluded.reported_at
                      where coalesce(key_holders.client_id, '') = coalesce(excluded.client_id, '')",
                )
                .bind(&holder.id)
                .bind(holder.client.as_ref().map(ClientId::as_str))
                .bind(&holder.name)
                .bind(keys.join(" "))
                .bind(holder.last_seq)
                .bind(holder.reported_at.as_millisecond())
                .execute(&mut *connection)
                .await?;
                if let (None, Some(signs)) = (&holder.client, holder.keys.first()) {
                    // A key that signs is on its way out no more, be it that somebody wrote the files by hand: the time of its last
                    // token has not come.
                    sqlx::query("update key_rotation set since = null where key_id = $1 and state in ('retired', 'withdrawn')")
                        .bind(signs.as_str())
                        .execute(connection)
                        .await?;
                }
                let report = if kept.rows_affected() == 1 {
                    Report::Taken
                } else {
                    Report::Foreign
                };
                Ok((report, forgotten))
            })
        });
        keep.await
    }

    /// `false`: this client has no such holder.
    pub(crate) async fn remove_key_holder(
        &self,
        id: &str,
        client: Option<&ClientId>,
    ) -> Result<bool, StorageError> {
        let (id, client) = (id.to_owned(), client.cloned());
        let remove = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let removed = sqlx::query(
                    "delete from key_holders where id = $1 and coalesce(client_id, '') = coalesce($2, '')",
                )
                .bind(id)
                .bind(client.as_ref().map(ClientId::as_str))
                .execute(connection)
                .await?;
                Ok(removed.rows_affected() == 1)
            })
        });
        remove.await
    }

    /// All that have told of themselves and not said goodbye, the last heard of first.
    pub(crate) async fn key_holders(&self) -> Result<Vec<KeyHolder>, StorageError> {
        let rows: Vec<KeyHolderRow> = sqlx::query_as(
            "select id, client_id, name, key_ids, last_seq, reported_at
               from key_holders
              order by reported_at desc, id",
        )
        .fetch_all(&self.database.readers)
        .await?;
        rows.into_iter().map(KeyHolder::try_from).collect()
    }

    /// Deletes holders that were last heard of before then.
    pub(crate) async fn delete_key_holders_silent_since(
        &self,
        then: Timestamp,
    ) -> Result<u64, StorageError> {
        let delete = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let deleted = sqlx::query("delete from key_holders where reported_at < $1")
                    .bind(then.as_millisecond())
                    .execute(connection)
                    .await?;
                Ok(deleted.rows_affected())
            })
        });
        delete.await
    }
}

/// Forgets holders that are gone, the longest gone first, where a client has `most` besides the one that tells of itself; how many.
/// `None`: there are too many that are here, and the one that tells is new.
async fn make_room(
    connection: &mut SqliteConnection,
    holder: &KeyHolder,
    most: u32,
) -> Result<Option<u64>, StorageError> {
    // auth-service itself has no client.
    let Some(client) = &holder.client else {
        return Ok(Some(0));
    };
    let (others, is_known): (i64, bool) = sqlx::query_as(
        "select count(case when id <> $2 then 1 end), count(case when id = $2 then 1 end) > 0
           from key_holders
          where client_id = $1",
    )
    .bind(client.as_str())
    .bind(&holder.id)
    .fetch_one(&mut *connection)
    .await?;
    let surplus = others + 1 - i64::from(most);
    if surplus <= 0 {
        return Ok(Some(0));
    }
    let forgotten = sqlx::query(
        "delete from key_holders
          where id in (select id from key_holders
                        where client_id = $1 and id <> $2 and reported_at < $3
                        order by reported_at, id
                        limit $4)",
    )
    .bind(client.as_str())
    .bind(&holder.id)
    .bind(holder.last_breath().as_millisecond())
    .bind(surplus)
    .execute(connection)
    .await?;
    let forgotten = forgotten.rows_affected();
    let has_room = i64::try_from(forgotten).is_ok_and(|forgotten| forgotten >= surplus);
    Ok((has_room || is_known).then_some(forgotten))
}
