//! The table of the feed's subscribers.

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{ClientId, KeyId};

use super::{Store, time};
use crate::revocations::Subscriber;

#[derive(sqlx::FromRow)]
struct SubscriberRow {
    id: String,
    client_id: String,
    name: String,
    key_ids: String,
    last_seq: Option<i64>,
    reported_at: i64,
}

impl TryFrom<SubscriberRow> for Subscriber {
    type Error = StorageError;

    fn try_from(row: SubscriberRow) -> Result<Self, StorageError> {
        Ok(Self {
            reported_at: time(row.reported_at, "feed_subscribers", "reported_at", &row.id)?,
            id: row.id,
            client: row.client_id.into(),
            name: row.name,
            keys: row.key_ids.split_whitespace().map(KeyId::from).collect(),
            last_seq: row.last_seq,
        })
    }
}

impl Store {
    /// Keeps what a subscriber tells of itself. `false`: another client has a subscriber of that id.
    pub(crate) async fn keep_subscriber(
        &self,
        subscriber: Subscriber,
    ) -> Result<bool, StorageError> {
        let keep = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let keys: Vec<_> = subscriber.keys.iter().map(KeyId::as_str).collect();
                let kept = sqlx::query(
                    "insert into feed_subscribers (id, client_id, name, key_ids, last_seq, reported_at)
                     values ($1, $2, $3, $4, $5, $6)
                         on conflict (id) do update
                        set name = excluded.name, key_ids = excluded.key_ids, last_seq = excluded.last_seq,
                            reported_at = excluded.reported_at
                      where feed_subscribers.client_id = excluded.client_id",
                )
                .bind(subscriber.id)
                .bind(subscriber.client.as_str())
                .bind(subscriber.name)
                .bind(keys.join(" "))
                .bind(subscriber.last_seq)
                .bind(subscriber.reported_at.as_millisecond())
                .execute(connection)
                .await?;
                Ok(kept.rows_affected() == 1)
            })
        });
        keep.await
    }

    /// `false`: this client has no such subscriber.
    pub(crate) async fn remove_subscriber(
        &self,
        id: &str,
        client: &ClientId,
    ) -> Result<bool, StorageError> {
        let (id, client) = (id.to_owned(), client.clone());
        let remove = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let removed =
                    sqlx::query("delete from feed_subscribers where id = $1 and client_id = $2")
                        .bind(id)
                        .bind(client.as_str())
                        .execute(connection)
                        .await?;
                Ok(removed.rows_affected() == 1)
            })
        });
        remove.await
    }

    /// All that have told of themselves and not said goodbye, the last heard of first.
    pub(crate) async fn subscribers(&self) -> Result<Vec<Subscriber>, StorageError> {
        let rows: Vec<SubscriberRow> = sqlx::query_as(
            "select id, client_id, name, key_ids, last_seq, reported_at
               from feed_subscribers
              order by reported_at desc, id",
        )
        .fetch_all(&self.database.readers)
        .await?;
        rows.into_iter().map(Subscriber::try_from).collect()
    }

    /// Deletes subscribers that were last heard of before then.
    pub(crate) async fn delete_subscribers_silent_since(
        &self,
        then: Timestamp,
    ) -> Result<u64, StorageError> {
        let delete = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let deleted = sqlx::query("delete from feed_subscribers where reported_at < $1")
                    .bind(then.as_millisecond())
                    .execute(connection)
                    .await?;
                Ok(deleted.rows_affected())
            })
        });
        delete.await
    }
}
