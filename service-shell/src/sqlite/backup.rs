//! A copy of a store, as it is at one moment, while the service goes on.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::NamedTempFile;

use super::{CORRUPT, NOT_A_DATABASE};
use super::{DatabaseUrl, has_code, held, is_busy, lock, must_exist, options};
use crate::files::{folder_of, sync_folder_of};

/// Where a copy of the database goes to.
#[derive(Args, Clone, Debug)]
pub struct Backup {
    /// New file for the copy; -: standard output
    file: PathBuf,
}

impl Backup {
    /// Writes the copy: everything that was answered before, whole and on the disk before it has its name, for its user alone.
    ///
    /// # Errors
    /// There is no such store, it is damaged, or the copy cannot be written; then there is none.
    pub async fn run(&self, setting: &'static str, url: &DatabaseUrl) -> anyhow::Result<()> {
        must_exist(setting, url)?;
        let _in_use = lock::shared(setting, &url.0)?;
        let to_stdout = self.file == Path::new("-");
        ensure!(
            !(to_stdout && io::stdout().is_terminal()),
            "standard output is a terminal; name a file, or redirect it to one"
        );
        let near = if to_stdout { &url.0 } else { &self.file };
        let unwritable = || format!("{} cannot be written", folder_of(near).display());
        let copy = tempfile::Builder::new()
            .prefix(".backup-")
            .tempfile_in(folder_of(near))
            .with_context(unwritable)?;
        vacuum_into(setting, &url.0, copy.path()).await?;
        check(copy.path())
            .await
            .with_context(|| format!("{setting}: {} is damaged", url.0.display()))?;
        copy.as_file().sync_all().with_context(unwritable)?;
        if to_stdout {
            let mut bytes = File::open(copy.path()).with_context(unwritable)?;
            io::copy(&mut bytes, &mut io::stdout().lock())
                .context("cannot write to standard output")?;
            return Ok(());
        }
        self.keep(copy)
    }

    fn keep(&self, copy: NamedTempFile) -> anyhow::Result<()> {
        let kept = copy.persist_noclobber(&self.file);
        match kept.map_err(|error| error.error) {
            Ok(_) => sync_folder_of(&self.file).context("the backup may not be on the disk yet"),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!(
                    "there is a {} already; name a new file",
                    self.file.display()
                )
            }
            Err(error) => {
                Err(error).with_context(|| format!("{} cannot be written", self.file.display()))
            }
        }
    }
}

/// Copies all that is committed. It reads as any other reader does: nobody waits for it.
async fn vacuum_into(setting: &'static str, store: &Path, copy: &Path) -> anyhow::Result<()> {
    let copy = copy
        .to_str()
        .context("the name of the backup's folder is not UTF-8 text")?;
    let copied = async {
        let mut connection = options(store).connect().await?;
        sqlx::query("vacuum into $1")
            .bind(copy)
            .execute(&mut connection)
            .await?;
        connection.close().await
    };
    copied.await.map_err(|error: sqlx::Error| match error {
        error if is_busy(&error) => held(setting, store).into(),
        error if has_code(&error, CORRUPT) || has_code(&error, NOT_A_DATABASE) => {
            anyhow::Error::from(error).context(format!("{setting}: {} is damaged", store.display()))
        }
        error => anyhow::Error::from(error).context("the backup could not be written"),
    })
}

/// Reads every page of a file that nobody else uses and finds nothing wrong with it.
pub(super) async fn check(file: &Path) -> anyhow::Result<()> {
    let mut connection = options(file).read_only(true).connect().await?;
    let found = faults(&mut connection).await?;
    connection.close().await?;
    match found {
        None => Ok(()),
        Some(fault) => bail!("{fault}"),
    }
}

async fn faults(connection: &mut SqliteConnection) -> sqlx::Result<Option<String>> {
    let said: Vec<String> = sqlx::query_scalar("pragma integrity_check(1)")
        .fetch_all(&mut *connection)
        .await?;
    if let Some(fault) = said.into_iter().find(|line| line != "ok") {
        return Ok(Some(fault));
    }
    let dangling = sqlx::query("pragma foreign_key_check")
        .fetch_optional(connection)
        .await?;
    Ok(dangling.map(|_| "a row refers to one that is not there".to_owned()))
}
