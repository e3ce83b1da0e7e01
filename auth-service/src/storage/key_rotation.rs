//! The table of keys on their way in or out.

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::KeyId;

use super::{Store, inconsistent, time};
use crate::rotation::{KeyState, MovingKey};

#[derive(sqlx::FromRow)]
struct KeyRow {
    key_id: String,
    state: String,
    since: Option<i64>,
}

impl TryFrom<KeyRow> for MovingKey {
    type Error = StorageError;

    fn try_from(row: KeyRow) -> Result<Self, StorageError> {
        Ok(Self {
            state: match row.state.as_str() {
                "next" => KeyState::Next,
                "recalled" => KeyState::Recalled,
                "retired" => KeyState::Retired,
                "withdrawn" => KeyState::Withdrawn,
                _ => return Err(inconsistent("key_rotation", "state", &row.key_id)),
            },
            since: row
                .since
                .map(|since| time(since, "key_rotation", "since", &row.key_id))
                .transpose()?,
            id: row.key_id.into(),
        })
    }
}

impl Store {
    /// Every key on its way, oldest first.
    pub(crate) async fn moving_keys(&self) -> Result<Vec<MovingKey>, StorageError> {
        let rows: Vec<KeyRow> =
            sqlx::query_as("select key_id, state, since from key_rotation order by since, key_id")
                .fetch_all(&self.database.readers)
                .await?;
        rows.into_iter().map(MovingKey::try_from).collect()
    }

    /// Notes what is being done with a key, and since when.
    pub(crate) async fn move_key(
        &self,
        id: &KeyId,
        state: KeyState,
        since: Option<Timestamp>,
    ) -> Result<(), StorageError> {
        let id = id.clone();
        let moved = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let state = match state {
                    KeyState::Next => "next",
                    KeyState::Recalled => "recalled",
                    KeyState::Retired => "retired",
                    KeyState::Withdrawn => "withdrawn",
                };
                sqlx::query(
                    "insert into key_rotation (key_id, state, since)
                     values ($1, $2, $3)
                         on conflict (key_id) do update
                        set state = excluded.state, since = excluded.since",
                )
                .bind(id.as_str())
                .bind(state)
                .bind(since.map(Timestamp::as_millisecond))
                .execute(connection)
                .await?;
                Ok(())
            })
        });
        moved.await
    }

    /// Nothing is being done with a key any more.
    pub(crate) async fn forget_key(&self, id: &KeyId) -> Result<(), StorageError> {
        let id = id.clone();
        let forget = self.database.writer.write(move |connection| {
            Box::pin(async move {
                sqlx::query("delete from key_rotation where key_id = $1")
                    .bind(id.as_str())
                    .execute(connection)
                    .await?;
                Ok(())
            })
        });
        forget.await
    }
}
