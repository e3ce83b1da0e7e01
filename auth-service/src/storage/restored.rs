//! What a backup has to be told before it serves again.

use jiff::Timestamp;
use service_shell::sqlite::StorageError;

use super::Store;
use super::audit::note;
use super::revocations::end_all_sessions;
use crate::audit::{Author, Happening, Note};
use crate::sessions::EndReason;

impl Store {
    /// Notes that a backup is about to take the place of the database, and ends its sessions unless they are to go on; how many.
    pub(crate) async fn settle_restored(
        &self,
        keep_sessions: bool,
        by: &Author,
        now: Timestamp,
    ) -> Result<u64, StorageError> {
        let by = by.clone();
        let settle = self.write_and_tell(move |connection| {
            Box::pin(async move {
                note(
                    connection,
                    &Note::new(Happening::DatabaseRestored, &by),
                    now,
                )
                .await?;
                // Nobody is connected; whoever comes tells of itself. A change of the secret must not wait for the others.
                sqlx::query("delete from key_holders")
                    .execute(&mut *connection)
                    .await?;
                if keep_sessions {
                    return Ok(0);
                }
                end_all_sessions(connection, EndReason::DatabaseRestored, &by, now).await
            })
        });
        settle.await
    }
}
