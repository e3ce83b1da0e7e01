//! A copy of a store, put in its place.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use shared_claims::Clock;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteJournalMode;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;

use super::{CORRUPT, NOT_A_DATABASE};
use super::{DatabaseUrl, backup, connect, has_code, held, is_busy, lock, migrate, options};
use crate::files::{create_folder_of, folder_of, sync_folder_of, take_over};

/// Where a copy of the database comes from.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Restore {
    /// File that 'database backup' wrote; -: standard input
    file: PathBuf,
}

/// A copy that was found good and brought up to this program's version, beside the store that it is to replace. Until it is put in
/// place nothing has changed, and nobody can open the store.
#[derive(Debug)]
pub struct Prepared {
    setting: &'static str,
    store: PathBuf,
    /// Holds the copy and what SQLite puts beside it; removed at the end.
    folder: TempDir,
    _alone: File,
}

impl Restore {
    /// Copies the file, which is only read, and checks the copy.
    ///
    /// # Errors
    /// The store is in use, or the file is damaged, none of ours, or of a newer version.
    pub async fn prepare(
        &self,
        setting: &'static str,
        url: &DatabaseUrl,
        migrations: &Migrator,
    ) -> anyhow::Result<Prepared> {
        let store = url.0.clone();
        let unwritable = || {
            format!(
                "{setting}: {} cannot be written",
                folder_of(&store).display()
            )
        };
        create_folder_of(&store).with_context(unwritable)?;
        let alone = lock::alone(setting, &store)?;
        let folder = tempfile::Builder::new()
            .prefix(".restore-")
            .tempdir_in(folder_of(&store))
            .with_context(unwritable)?;
        let prepared = Prepared {
            setting,
            folder,
            _alone: alone,
            store,
        };
        let copy = prepared.copy();
        self.read_into(&copy)?;
        let name = self.file.display();
        bring_up(&copy, migrations)
            .await
            .with_context(|| format!("{name} cannot be restored"))?;
        Ok(prepared)
    }

    fn read_into(&self, copy: &Path) -> anyhow::Result<()> {
        let mut written = private(copy).context("the copy cannot be written")?;
        let read = if self.file == Path::new("-") {
            io::copy(&mut io::stdin().lock(), &mut written)
        } else {
            let unreadable = || format!("{} cannot be read", self.file.display());
            let mut file = File::open(&self.file).with_context(unreadable)?;
            ensure!(
                file.metadata().with_context(unreadable)?.is_file(),
                "{} is no file",
                self.file.display()
            );
            io::copy(&mut file, &mut written)
        };
        read.with_context(|| format!("{} cannot be copied", self.file.display()))?;
        Ok(())
    }
}

impl Prepared {
    /// The copy, to be changed before it is put in place.
    #[must_use]
    pub fn url(&self) -> DatabaseUrl {
        DatabaseUrl(self.copy())
    }

    /// Puts the copy in the place of the store; what was there is kept beside it, under the name that is returned.
    ///
    /// # Errors
    /// Another program holds the store, or the folder cannot be written; then the store is what it was.
    pub async fn put_in_place(self) -> anyhow::Result<Option<PathBuf>> {
        let (store, copy) = (&self.store, self.copy());
        let unwritable = || format!("{}: {} cannot be replaced", self.setting, store.display());
        fold_log(&copy).await.with_context(unwritable)?;
        let written = File::open(&copy).with_context(unwritable)?;
        let before = fs::metadata(store).ok();
        if let Some(before) = &before {
            take_over(&written, before).with_context(unwritable)?;
        }
        written.sync_all().with_context(unwritable)?;
        let kept = match before {
            Some(_) => Some(self.keep_aside().await?),
            None => None,
        };
        fs::rename(&copy, store).with_context(unwritable)?;
        sync_folder_of(store).with_context(unwritable)?;
        Ok(kept)
    }

    /// Gives what is there a second name.
    async fn keep_aside(&self) -> anyhow::Result<PathBuf> {
        let store = &self.store;
        let unwritable = || format!("{}: {} cannot be kept", self.setting, store.display());
        let whole = fold_log(store).await;
        let damaged = match whole {
            Ok(()) => false,
            Err(error) if is_busy(&error) => bail!(held(self.setting, store)),
            Err(error) if has_code(&error, CORRUPT) || has_code(&error, NOT_A_DATABASE) => true,
            Err(error) => return Err(error).with_context(unwritable),
        };
        let now = Clock::system().now().strftime("%Y%m%dT%H%M%S%.3fZ");
        let kept = beside(store, &format!(".replaced-{now}"));
        fs::hard_link(store, &kept).with_context(unwritable)?;
        if damaged {
            // Its log cannot be folded into it, and must not be taken for that of the file that comes.
            for (suffix, log) in [
                ("-wal", beside(store, "-wal")),
                ("-shm", beside(store, "-shm")),
            ] {
                match fs::rename(log, beside(&kept, suffix)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error).with_context(unwritable);
                    }
                    _ => {}
                }
            }
        }
        Ok(kept)
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("database")
    }
}

/// Brings what is in the write-ahead log into the file, so that the file alone is all of it. SQLite does so only while nobody
/// else, not even a program that knows nothing of our lock, has the file open.
async fn fold_log(store: &Path) -> sqlx::Result<()> {
    let mut connection = options(store).connect().await?;
    sqlx::query("pragma journal_mode = delete")
        .execute(&mut connection)
        .await?;
    connection.close().await
}

/// Checks a copy and brings it up to this program's version.
async fn bring_up(copy: &Path, migrations: &Migrator) -> anyhow::Result<()> {
    let is_none = |error: sqlx::Error| {
        if has_code(&error, NOT_A_DATABASE) {
            anyhow::anyhow!("it is no SQLite database")
        } else {
            anyhow::Error::from(error)
        }
    };
    let options = options(copy).journal_mode(SqliteJournalMode::Wal);
    let mut connection = connect(&options).await.map_err(is_none)?;
    is_ours(&mut connection, migrations).await?;
    migrate(&mut connection, migrations).await?;
    connection.close().await?;
    backup::check(copy).await.context("it is damaged")
}

/// Whether every migration that made the file is one that this program knows.
async fn is_ours(connection: &mut SqliteConnection, migrations: &Migrator) -> anyhow::Result<()> {
    let damaged = |error: sqlx::Error| anyhow::Error::from(error).context("it is damaged");
    let tables =
        "select count(*) from sqlite_master where type = 'table' and name = '_sqlx_migrations'";
    let tables: i64 = sqlx::query_scalar(tables)
        .fetch_one(&mut *connection)
        .await
        .map_err(damaged)?;
    ensure!(tables == 1, "it was not written by this service");
    let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "select version, checksum from _sqlx_migrations where success order by version",
    )
    .fetch_all(connection)
    .await
    .map_err(damaged)?;
    ensure!(!applied.is_empty(), "it was not written by this service");
    for (version, checksum) in applied {
        let known = migrations
            .iter()
            .find(|migration| migration.version == version);
        match known {
            None => bail!(
                "it was written by a newer version (its migration {version} is not known here)"
            ),
            Some(known) if *known.checksum != *checksum => bail!(
                "it was written by another service or a different build (its migration {version} differs)"
            ),
            Some(_) => {}
        }
    }
    Ok(())
}

fn private(file: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
