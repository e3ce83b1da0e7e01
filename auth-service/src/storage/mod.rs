//! The SQL, one file per table, and nowhere else.

mod audit;
mod clients;
mod key_holders;
mod key_rotation;
mod restored;
mod revocations;
mod sessions;
mod users;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use service_shell::settings::SettingError;
use service_shell::sqlite::{Database, DatabaseUrl, StorageError};
use sqlx::SqliteConnection;
use sqlx::migrate::Migrator;
use tokio::sync::Notify;

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/auth");

/// The setting that says where the store is.
pub(crate) const SETTING: &str = "AUTH_DATABASE_URL";

/// Users, their sessions and what became of them, in a SQLite file.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    database: Database,
    /// Told after changes that may have ended sessions.
    look: Arc<Notify>,
}

impl Store {
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, SettingError> {
        let database = Database::open(SETTING, url, &MIGRATIONS);
        Ok(Self::new(database.await?))
    }

    /// Opens a store that is there.
    pub(crate) async fn open_existing(url: &DatabaseUrl) -> Result<Self, SettingError> {
        let database = Database::open_existing(SETTING, url, &MIGRATIONS);
        Ok(Self::new(database.await?))
    }

    fn new(database: Database) -> Self {
        Self {
            database,
            look: Arc::default(),
        }
    }

    /// Whether the store can be read and written.
    pub(crate) async fn ping(&self) -> Result<(), StorageError> {
        self.database.ping().await
    }

    pub(crate) fn expose(&self, registry: &mut Registry) {
        self.database.writer.expose(registry);
    }

    pub(crate) async fn close(&self) {
        self.database.close().await;
    }

    /// Ends when somebody has said that there may be new revocations.
    pub(crate) async fn told_to_look(&self) {
        self.look.notified().await;
    }

    /// Says that there may be new revocations.
    pub(crate) fn look_again(&self) {
        self.look.notify_one();
    }

    /// Makes a change that may end sessions, and says so once it is on the disk.
    async fn write_and_tell<T, W>(&self, work: W) -> Result<T, StorageError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StorageError>>
            + Send
            + 'static,
    {
        let written = self.database.writer.write(work).await;
        self.look_again();
        written
    }
}

/// A time from its column, where nothing but our own milliseconds can stand.
fn time(
    milliseconds: i64,
    table: &'static str,
    column: &'static str,
    row: &str,
) -> Result<Timestamp, StorageError> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| inconsistent(table, column, row))
}

fn inconsistent(table: &'static str, column: &'static str, row: &str) -> StorageError {
    StorageError::Inconsistent {
        table,
        column,
        row: row.to_owned(),
    }
}
