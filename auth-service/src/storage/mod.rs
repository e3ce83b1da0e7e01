//! The SQL, one file per table, and nowhere else.

mod clients;
mod sessions;
mod users;

use jiff::Timestamp;
use service_shell::settings::SettingError;
use service_shell::sqlite::{Database, DatabaseUrl, StorageError};
use sqlx::migrate::Migrator;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/auth");

/// Users and their sessions, in a SQLite file.
#[derive(Clone, Debug)]
pub(crate) struct Store(Database);

impl Store {
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, SettingError> {
        Ok(Self(
            Database::open("AUTH_DATABASE_URL", url, &MIGRATIONS).await?,
        ))
    }

    /// Whether the store can be read and written.
    pub(crate) async fn ping(&self) -> Result<(), StorageError> {
        self.0.ping().await
    }

    pub(crate) async fn close(&self) {
        self.0.close().await;
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
