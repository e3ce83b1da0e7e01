//! Brings what is in the write-ahead log into the file, beside the writer.
//!
//! SQLite by itself does it within the commit that fills the log: every so often somebody waits for the changes of all. A passive
//! checkpoint on a connection of its own holds up neither the writer nor the readers.

use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// After so many changes, some 4 MiB of log.
const EVERY: usize = 256;
/// Pages in the log at which the writer does it after all, 64 MiB: when it writes faster than this can follow.
pub(super) const WRITER_DOES_IT_AT: &str = "16384";
/// What was written meanwhile is less each time. With all of it in the file, the log begins anew.
const PASSES: usize = 3;

/// Follows the writer.
#[derive(Debug)]
pub(super) struct Checkpointer {
    changes: usize,
    due: Arc<Notify>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Checkpointer {
    pub(super) fn start(options: SqliteConnectOptions) -> Self {
        let due = Arc::new(Notify::new());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(follow(options, Arc::clone(&due), stopped));
        Self {
            changes: 0,
            due,
            stop,
            task,
        }
    }

    /// So many changes are on the disk.
    pub(super) fn written(&mut self, changes: usize) {
        self.changes += changes;
        if self.changes >= EVERY {
            self.changes = 0;
            self.due.notify_one();
        }
    }

    /// Lets go of the file: what is still in the log the last connection to it brings home.
    pub(super) async fn stop(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

async fn follow(
    options: SqliteConnectOptions,
    due: Arc<Notify>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut connection = None;
    loop {
        tokio::select! {
            () = due.notified() => {}
            _ = &mut stopped => break,
        }
        if let Err(error) = checkpoint(&mut connection, &options).await {
            // The writer does it later. A connection that failed is not used again.
            tracing::warn!("the database's log is not brought into its file: {error}");
            connection = None;
        }
    }
    if let Some(connection) = connection {
        let _ = connection.close().await;
    }
}

async fn checkpoint(
    connection: &mut Option<SqliteConnection>,
    options: &SqliteConnectOptions,
) -> sqlx::Result<()> {
    let connection = match connection {
        Some(connection) => connection,
        // Most commands and many services never come to this.
        None => connection.insert(options.connect().await?),
    };
    for _ in 0..PASSES {
        let (_, in_log, in_file): (i64, i64, i64) =
            sqlx::query_as("pragma wal_checkpoint(passive)")
                .fetch_one(&mut *connection)
                .await?;
        if in_log == in_file {
            break;
        }
    }
    Ok(())
}
