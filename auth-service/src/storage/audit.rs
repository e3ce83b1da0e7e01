//! The table of audit events.

use jiff::Timestamp;
use service_shell::sqlite::StorageError;
use shared_claims::{ClientId, SessionId, Subject};
use sqlx::SqliteConnection;

use super::{Store, time};
use crate::audit::{AuditEvent, Note};

#[derive(sqlx::FromRow)]
struct AuditRow {
    id: i64,
    at: i64,
    event: String,
    user_id: Option<String>,
    session_id: Option<String>,
    client_id: Option<String>,
    actor: Option<String>,
    ip: Option<String>,
    detail: Option<String>,
}

impl TryFrom<AuditRow> for AuditEvent {
    type Error = StorageError;

    fn try_from(row: AuditRow) -> Result<Self, StorageError> {
        Ok(Self {
            at: time(row.at, "audit_events", "at", &row.id.to_string())?,
            id: row.id,
            event: row.event,
            user: row.user_id,
            session: row.session_id,
            client: row.client_id,
            actor: row.actor,
            ip: row.ip,
            detail: row.detail,
        })
    }
}

impl Store {
    /// Notes something that changes nothing else.
    pub(crate) async fn note(&self, happened: Note, now: Timestamp) -> Result<(), StorageError> {
        let noting = self.database.writer.write(move |connection| {
            Box::pin(async move { note(connection, &happened, now).await })
        });
        noting.await
    }

    /// The newest events, newest first: those of one user or of all, and only those before the given id.
    pub(crate) async fn audit_events(
        &self,
        of: Option<&Subject>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEvent>, StorageError> {
        let before = before.unwrap_or(i64::MAX);
        let rows: Vec<AuditRow> = match of {
            Some(user) => {
                sqlx::query_as(
                    "select id, at, event, user_id, session_id, client_id, actor, ip, detail
                       from audit_events
                      where id < $1 and user_id = $3
                      order by id desc
                      limit $2",
                )
                .bind(before)
                .bind(limit)
                .bind(user.as_str())
                .fetch_all(&self.database.readers)
                .await?
            }
            None => {
                sqlx::query_as(
                    "select id, at, event, user_id, session_id, client_id, actor, ip, detail
                       from audit_events
                      where id < $1
                      order by id desc
                      limit $2",
                )
                .bind(before)
                .bind(limit)
                .fetch_all(&self.database.readers)
                .await?
            }
        };
        rows.into_iter().map(AuditEvent::try_from).collect()
    }

    /// Deletes some of the events of before then; how many.
    pub(crate) async fn delete_audit_events_before(
        &self,
        then: Timestamp,
    ) -> Result<u64, StorageError> {
        let delete = self.database.writer.write(move |connection| {
            Box::pin(async move {
                let deleted = sqlx::query(
                    "delete from audit_events
                      where id in (select id from audit_events where at < $1 limit 5000)",
                )
                .bind(then.as_millisecond())
                .execute(connection)
                .await?;
                Ok(deleted.rows_affected())
            })
        });
        delete.await
    }
}

/// Notes what a transaction changes.
pub(super) async fn note(
    connection: &mut SqliteConnection,
    note: &Note,
    now: Timestamp,
) -> Result<(), StorageError> {
    sqlx::query(
        "insert into audit_events (at, event, user_id, session_id, client_id, actor, ip, detail)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(now.as_millisecond())
    .bind(note.happening.as_str())
    .bind(note.user.as_ref().map(Subject::as_str))
    .bind(note.session.as_ref().map(SessionId::as_str))
    .bind(note.client.as_ref().map(ClientId::as_str))
    .bind(note.by.actor.as_deref())
    .bind(note.by.ip.map(|ip| ip.to_string()))
    .bind(note.detail)
    .execute(connection)
    .await?;
    Ok(())
}
