//! A SQLite file as a service's store: many readers, and one writer through which every change goes.

mod backup;
mod checkpoint;
mod lock;
mod probe;
mod restore;
mod writer;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

pub use self::backup::Backup;
use self::probe::Probe;
pub use self::restore::{Prepared, Restore};
pub use self::writer::Writer;
use crate::files::create_folder_of;
use crate::settings::SettingError;

/// How long a change waits for a change by another process, a command on the same file, say.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// Where a store is, as it stands in a setting: `sqlite://data/auth.db`, or `sqlite:///var/lib/…` for an absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseUrl(PathBuf);

impl DatabaseUrl {
    /// The store in this file.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl FromStr for DatabaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text
            .strip_prefix("sqlite://")
            .or_else(|| text.strip_prefix("sqlite:"));
        let path = path.and_then(|path| match path.split_once('?') {
            None | Some((_, "mode=rwc" | "")) => path.split('?').next(),
            Some(_) => None,
        });
        match path {
            Some(path) if !path.is_empty() && !path.contains(":memory:") => Ok(Self(path.into())),
            _ => Err(
                "name a SQLite file, like sqlite://data/name.db or sqlite:///var/lib/tokenpair/name.db",
            ),
        }
    }
}

/// What can go wrong with a store that was opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process holds the file, or other requests all of the connections, for longer than we wait.
    #[error("the database is held by others")]
    Busy(#[source] sqlx::Error),
    /// A statement failed.
    #[error("the database failed")]
    Failed(#[source] sqlx::Error),
    /// A row that no statement of ours can have written.
    #[error("{table}.{column} of the row {row} cannot be")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
    },
    /// The changes of this batch were not kept.
    #[error("the change was not kept: {0}")]
    NotKept(String),
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        if is_busy(&error) {
            Self::Busy(error)
        } else {
            Self::Failed(error)
        }
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return true;
    }
    has_code(error, BUSY)
}

/// `SQLITE_BUSY`.
const BUSY: u32 = 5;
/// `SQLITE_CORRUPT`.
const CORRUPT: u32 = 11;
/// `SQLITE_NOTADB`.
const NOT_A_DATABASE: u32 = 26;

/// The low byte is the code, what is above it says more about it.
fn has_code(error: &sqlx::Error, expected: u32) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<u32>().ok())
        .is_some_and(|code| code & 0xFF == expected)
}

/// An open store.
#[derive(Clone, Debug)]
pub struct Database {
    /// Connections that only read.
    pub readers: SqlitePool,
    /// The one connection that writes.
    pub writer: Writer,
    probe: Probe,
    /// Keeps the file from being replaced under us.
    _in_use: Arc<File>,
}

impl Database {
    /// Opens a file that is there, and brings it up to this program's version: for commands, which must not take a file that
    /// was mistyped for an empty one.
    ///
    /// # Errors
    /// There is no such file; or what [`open`](Self::open) says.
    pub async fn open_existing(
        setting: &'static str,
        url: &DatabaseUrl,
        migrations: &Migrator,
    ) -> Result<Self, SettingError> {
        must_exist(setting, url)?;
        Self::open(setting, url, migrations).await
    }

    /// Opens the file, makes it if there is none, and brings it up to this program's version.
    ///
    /// # Errors
    /// What is wrong with the setting: the file cannot be written, is something else, or belongs to a newer version.
    pub async fn open(
        setting: &'static str,
        url: &DatabaseUrl,
        migrations: &Migrator,
    ) -> Result<Self, SettingError> {
        let path = &url.0;
        let foreign = || SettingError {
            setting,
            fault: format!("{} is no SQLite database", path.display()),
            remedy: "name another file",
        };
        let unusable = |fault: String| SettingError {
            setting,
            fault: format!("{} {fault}", path.display()),
            remedy: "name a file in a folder that this user can write",
        };
        create_private(path)
            .map_err(|error| unusable(format!("cannot be created or written: {error}")))?;
        let in_use = lock::shared(setting, path)?;
        let options = options(path).journal_mode(SqliteJournalMode::Wal);
        let busy = || held(setting, path);
        let writing = options
            .clone()
            .pragma("wal_autocheckpoint", checkpoint::WRITER_DOES_IT_AT)
            .optimize_on_close(true, None);
        let mut connection = connect(&writing).await.map_err(|error| match error {
            error if is_busy(&error) => busy(),
            error if has_code(&error, NOT_A_DATABASE) => foreign(),
            error => unusable(format!("cannot be opened: {error}")),
        })?;
        migrate(&mut connection, migrations).await.map_err(|error| match error {
            MigrateError::VersionMissing(version) => SettingError {
                setting,
                fault: format!("{} was written by a newer version (its migration {version} is not known here)", path.display()),
                remedy: "start the version that wrote it, or name another file",
            },
            MigrateError::VersionMismatch(version) => SettingError {
                setting,
                fault: format!("{} was written by a different build (its migration {version} differs)", path.display()),
                remedy: "start the build that wrote it, or name another file",
            },
            MigrateError::Execute(error) if is_busy(&error) => busy(),
            MigrateError::Execute(error) if has_code(&error, NOT_A_DATABASE) => foreign(),
            error => unusable(format!("cannot be written: {}", root_cause(&error))),
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            // A statement that finds no connection within this time is answered as busy, not held for ever.
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .connect_with(options.clone().read_only(true))
            .await
            .map_err(|error| unusable(format!("cannot be opened: {error}")))?;
        let writer = Writer::start(connection, options)
            .map_err(|error| unusable(format!("has no thread to be written by: {error}")))?;
        Ok(Self {
            readers,
            writer,
            probe: Probe::default(),
            _in_use: Arc::new(in_use),
        })
    }

    /// Whether both the readers and the writer can do their work, or could a few seconds ago. Something is written to the disk for it,
    /// and those who ask at the same time share that.
    ///
    /// # Errors
    /// They cannot.
    pub async fn ping(&self) -> Result<(), StorageError> {
        self.probe.ask(&self.readers, &self.writer).await
    }

    /// Lets the last changes be kept and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// How every file of ours is opened.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        // An answered logout or rotation is on the disk: NORMAL would lose the last ones in a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

fn must_exist(setting: &'static str, url: &DatabaseUrl) -> Result<(), SettingError> {
    if url.0.exists() {
        return Ok(());
    }
    Err(SettingError {
        setting,
        fault: format!("there is no {}", url.0.display()),
        remedy: "name the file of a service that was started before",
    })
}

fn held(setting: &'static str, path: &Path) -> SettingError {
    SettingError {
        setting,
        fault: format!("{} is held by another program", path.display()),
        remedy: "stop that program, or name another file",
    }
}

/// Connects, and makes the file a WAL database. For that it must be held alone for a moment, which SQLite does not wait
/// for: two programs that make one file at the same time are let in one after the other here.
async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let started = Instant::now();
    loop {
        match options.connect().await {
            Err(error) if is_busy(&error) && started.elapsed() < BUSY_TIMEOUT => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}

/// Both the migrations and a proof that the file can be written, under one lock: two programs may start at once.
async fn migrate(
    connection: &mut SqliteConnection,
    migrations: &Migrator,
) -> Result<(), MigrateError> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    // SQLite opens a file that may only be read without a word, and even begins to write it: this is the proof.
    sqlx::query("pragma user_version = 1")
        .execute(&mut *transaction)
        .await?;
    // `run` asks for `Acquire`, which makes a future that is not `Send`: sqlx keeps `run_direct` for that.
    migrations
        .run_direct(None, &mut *transaction, false)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// The store holds the secrets of sessions: it is for its user alone, and so are the files that SQLite puts beside it,
/// which take over its mode.
fn create_private(path: &Path) -> io::Result<()> {
    create_folder_of(path)?;
    // An existing file is not opened: closing it again would drop the locks that SQLite has on it in this process.
    match OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_a_sqlite_file() {
        assert_eq!(
            "sqlite://data/auth.db".parse(),
            Ok(DatabaseUrl::file("data/auth.db"))
        );
        assert_eq!(
            "sqlite:///var/lib/auth.db".parse(),
            Ok(DatabaseUrl::file("/var/lib/auth.db"))
        );
        assert_eq!(
            "sqlite:auth.db?mode=rwc".parse(),
            Ok(DatabaseUrl::file("auth.db"))
        );
        for text in [
            "",
            "auth.db",
            "postgres://localhost/auth",
            "sqlite://",
            "sqlite::memory:",
            "sqlite://auth.db?mode=ro",
        ] {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text}");
        }
    }
}
